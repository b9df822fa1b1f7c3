#!/usr/bin/env python
"""Segment any images; --help says how."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("demo", sys.argv))
