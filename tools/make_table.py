#!/usr/bin/env python
"""Make all runs of a table file and write its tables; see --help."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("make_table", sys.argv))
