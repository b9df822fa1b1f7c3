#!/usr/bin/env python
"""Turn a checkpoint that a method's authors published into one of ours; --help says how."""

import sys

from tokenseg_cli.run import run

if __name__ == "__main__":
    sys.exit(run("convert_weights", sys.argv))
