#!/usr/bin/env python
"""Count the parameters and GFLOPs of a model, or compare them with the papers' tables; see --help."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("analyze_model", sys.argv))
