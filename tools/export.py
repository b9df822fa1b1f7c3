#!/usr/bin/env python
"""Write a whole segmentor to one file; --help says how."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("export", sys.argv))
