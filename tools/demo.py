#!/usr/bin/env python
"""Segment any images, or detect objects in them; see --help."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("demo", sys.argv))
