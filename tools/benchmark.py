#!/usr/bin/env python
"""Measure speed and memory, ours against a named rival or of a whole model; --help says how."""

import sys

from tokenseg_cli.run import run_modules

if __name__ == "__main__":
    sys.exit(run_modules("benchmarks._arguments", "benchmarks._command", sys.argv))
