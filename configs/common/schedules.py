"""The lengths of trainings. The length in a function's name is also at the end of the file names of its configs.

These are functions instead of dicts, since every dict that a config imports becomes a key of the config.
"""

from functools import partial


def _train_for(train, *, max_iter):
    """Set the number of iterations in `train`, with an evaluation after every tenth of them."""
    train.update(max_iter=max_iter, eval_period=max_iter // 10)


train_for_60k = partial(_train_for, max_iter=60_000)
train_for_80k = partial(_train_for, max_iter=80_000)
train_for_160k = partial(_train_for, max_iter=160_000)
train_for_270k = partial(_train_for, max_iter=270_000)
