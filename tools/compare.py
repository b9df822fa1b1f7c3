#!/usr/bin/env python
"""Train several configs with several seeds and compare their results; see --help."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("compare", sys.argv))
