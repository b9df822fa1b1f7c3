#!/usr/bin/env python
"""Look at images and labels before a training does; --help says how."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("check_dataset", sys.argv))
