#!/usr/bin/env python
"""Count parameters and GFLOPs of a model, or of every row of the papers' tables; --help says how."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("analyze_model", sys.argv))
