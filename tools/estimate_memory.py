#!/usr/bin/env python
"""Calculate the GPU memory of a training step; see --help."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("estimate_memory", sys.argv))
