#!/usr/bin/env python
"""Pretrain a backbone for segmentation, and detect with it; --help says how."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("transfer", sys.argv))
