"""The benchmarks of `tools/benchmark.py`: every file in this folder without a leading underscore in its name.

A benchmark has a function `cases(args)`, which returns a dict from the title of a case to a function without arguments.
This function builds a `Duel`, a `Profile`, or another object with their method `measure`. It is called just before the
case is measured, after `torch.manual_seed(0)`, and its objects are freed afterwards. `args` has `device`, a
`torch.device`, `threads`, `overrides` (key=value), and the benchmark's own options. These are defined in
`_arguments.py`, so that they can be parsed without importing torch.
"""
