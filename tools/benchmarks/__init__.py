"""What `tools/benchmark.py` measures. Every file beside this one is a benchmark, found by its name.

A benchmark has `cases(args)`: title -> a function without arguments that builds a `Duel`, a `Profile`, or whatever else
has their `measure`. What a case needs is built when its turn comes, after `torch.manual_seed(0)`, and freed after it.
`args` has `device` (torch.device), `threads` and `overrides` (key=value of the command line); a benchmark that wants
more has `add_arguments(parser)`.
"""

from ._duel import Duel
from ._profile import Profile
from ._runs import Clock, inference, training_step

__all__ = ["Clock", "Duel", "Profile", "inference", "training_step"]
