#!/usr/bin/env python
"""Publish a trained model; see --help."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("publish", sys.argv))
