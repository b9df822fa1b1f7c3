#!/usr/bin/env python
"""Create the folder of COCO-Stuff-10K from the official archives; --help says how."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("prepare_datasets.coco_stuff_10k", sys.argv))
