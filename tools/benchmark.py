#!/usr/bin/env python
"""Measure speed and memory, of our code against another implementation or of a whole model; see --help."""

import sys

from tokenseg_cli.run import run_modules

if __name__ == "__main__":
    sys.exit(run_modules("benchmarks._arguments", "benchmarks._command", sys.argv))
