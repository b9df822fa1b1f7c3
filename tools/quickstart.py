#!/usr/bin/env python
"""Train a small model from nothing, evaluate it, and draw what it sees; --help says how."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("quickstart", sys.argv))
