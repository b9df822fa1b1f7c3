#!/usr/bin/env python
"""Check images and labels before a training; see --help."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("check_dataset", sys.argv))
