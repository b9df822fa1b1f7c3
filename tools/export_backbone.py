#!/usr/bin/env python
"""Export the backbone of a trained model, including its component, to its own file; see --help."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("export_backbone", sys.argv))
