#!/usr/bin/env python
"""Create the folder of PASCAL-Context from its official archives; see --help."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("prepare_datasets.pascal_context", sys.argv))
