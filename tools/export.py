#!/usr/bin/env python
"""Export a whole segmentor to one file; see --help."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("export", sys.argv))
