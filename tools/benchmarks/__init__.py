"""What `tools/benchmark.py` measures. Every file beside this one whose name has no leading underscore is a benchmark.

A benchmark has `cases(args)`: title -> a function without arguments that builds a `Duel`, a `Profile`, or whatever else
has their `measure`. What a case needs is built when its turn comes, after `torch.manual_seed(0)`, and freed after it.
`args` has `device` (torch.device), `threads`, `overrides` (key=value of the command line), and the options that the
benchmark has in `_arguments.py`; these stand apart so that no torch is needed to read them.
"""
