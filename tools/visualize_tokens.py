#!/usr/bin/env python
"""Draw what the tokens of trained models see; see --help."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("visualize_tokens", sys.argv))
