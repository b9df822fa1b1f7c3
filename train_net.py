#!/usr/bin/env python
"""Train or evaluate the model of a config; see --help."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("train", sys.argv))
