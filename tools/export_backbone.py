#!/usr/bin/env python
"""Write the backbone of a trained model, with its component, to a file of its own; --help says how."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("export_backbone", sys.argv))
