#!/usr/bin/env python
"""Train a small model, evaluate it, and draw its predictions; see --help."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("quickstart", sys.argv))
