#!/usr/bin/env python
"""Show runs on one page; --help says how."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("report", sys.argv))
