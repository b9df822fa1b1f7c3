#!/usr/bin/env python
"""Convert a checkpoint that a method's authors published to one of TokenSeg; see --help."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("convert_weights", sys.argv))
