#!/usr/bin/env python
"""Transfer a backbone from segmentation to detection; see --help."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("transfer", sys.argv))
