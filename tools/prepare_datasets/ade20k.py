#!/usr/bin/env python
"""Make the folder of ADE20K from its official archives; --help says how."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("prepare_datasets.ade20k", sys.argv))
