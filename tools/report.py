#!/usr/bin/env python
"""Show runs on one page; see --help."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("report", sys.argv))
