"""Count the parameters and GFLOPs of a model by part, or compare them with the papers' tables.

fvcore counts the GFLOPs, where a multiply-add is one FLOP, for one image in evaluation mode. Attention is computed as
matrix products, since fvcore does not count fused attention. `gflops_fvcore` is this count of the whole model,
including the last resize of the scores to the input size: the real cost. `gflops` counts as the method's paper does, so
that it can be compared with the published figure. The two differ for StructToken, whose paper leaves out that resize
and the attention of the backbone, and for MaskFormer and Mask2Former, whose official code computes the masks of all
stages in inference, while ours only computes those of the last stage.

For a detector with region proposals, the result is the highest cost of an image: the box head processes as many
proposals as the config allows in inference, and the mask head as many detections. The input is padded as in the model.

--paper compares our counts with each published row, and exits with code 1 if a figure is outside its tolerance. The
rows and tolerances are in tokenseg/commands/paper_rows/METHOD.csv. This takes minutes.
"""

import argparse
from collections.abc import Sequence

from ..overrides import add_trust_config


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of the command."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config-file", metavar="C", help="count the model of this config")
    what.add_argument(
        "--paper", nargs="*", metavar="METHOD", help="compare with the published rows of these methods (default: all)"
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="size of the input in pixels (default: the training crop or, without one, the largest test image)",
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    add_trust_config(parser)
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="change the config")
    return parser.parse_args(words)
