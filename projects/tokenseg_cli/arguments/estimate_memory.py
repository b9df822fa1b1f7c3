"""The GPU memory of a training step, calculated without a GPU; or recipes for GPUs of 12, 24 and 80 GB.

The step runs forward, backward and through the optimiser on the shapes of its tensors alone, and the bytes of all
tensors that live at once are summed: parameters, gradients, the state of the optimiser, what is kept for the backward
pass, and what operations need on the way. It is a calculation and no measurement. What the allocator of CUDA holds in
reserve, the workspaces of cuDNN and the context of CUDA (about half a GB) are not in it, nor are the buffers of
DistributedDataParallel; a recipe leaves a fifth of the memory for them. Each image shows 16 classes, in one piece each.
"""

import argparse
from collections.abc import Sequence

from ..overrides import add_trust_config


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read the arguments of the command."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config-file", metavar="C", help="the config whose training step is calculated")
    what.add_argument(
        "--recipes", nargs="*", metavar="CONFIG", help="print the table of recipes, for these configs or all of its own"
    )
    parser.add_argument(
        "--images",
        type=_numbers,
        default=[1, 2, 4],
        metavar="N,N",
        help="numbers of images that run at once, which is the share of a process over train.accumulate; default 1,2,4",
    )
    parser.add_argument("--json", action="store_true", help="bytes, in one line of JSON")
    add_trust_config(parser)
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="change the config")
    args = parser.parse_args(words)
    return args


def _numbers(text: str) -> list[int]:
    numbers = [int(word) if word.isdecimal() else 0 for word in text.split(",")]
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' given; wanted whole numbers of 1 or more, such as 1,2,4")
    return numbers
