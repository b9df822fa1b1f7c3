"""Calculate the GPU memory of a training step without a GPU, or recipes for GPUs of 12, 24 and 80 GB.

The command runs a step (forward, backward, optimiser) on tensors that have only shapes, and sums the bytes of all
tensors that are live at the same time: parameters, gradients, optimiser state, tensors kept for the backward pass, and
temporary results of operations. The result is calculated, not measured. It does not contain the reserve of CUDA's
allocator, the workspaces of cuDNN, the CUDA context (about half a GB) and the buffers of DistributedDataParallel;
recipes leave a fifth of the memory for them. Each image shows 16 classes, with one piece of each.
"""

import argparse
from collections.abc import Sequence

from ..overrides import add_trust_config


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of the command."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config-file", metavar="C", help="config of the training step")
    what.add_argument(
        "--recipes",
        nargs="*",
        metavar="CONFIG",
        help="print the table of recipes for these configs (default: a selection of all methods)",
    )
    parser.add_argument(
        "--images",
        type=_numbers,
        default=[1, 2, 4],
        metavar="N,N",
        help="numbers of images that run at once: a process's share of the batch, divided by train.accumulate "
        "(default: 1,2,4)",
    )
    parser.add_argument("--json", action="store_true", help="print bytes, in one line of JSON")
    add_trust_config(parser)
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="change the config")
    args = parser.parse_args(words)
    return args


def _numbers(text: str) -> list[int]:
    numbers = [int(word) if word.isdecimal() else 0 for word in text.split(",")]
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' given; wanted whole numbers of 1 or more, such as 1,2,4")
    return numbers
