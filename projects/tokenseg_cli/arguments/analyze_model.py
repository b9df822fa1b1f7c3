"""Parameters and GFLOPs of the model of a config, by part; or of every row of the papers' tables.

GFLOPs are those of fvcore, one multiply-add each, for one image in evaluation mode with attention written out as matrix
products (fvcore sees no fused attention). `gflops` follows the method's paper, so that it can be set beside the
published figure; `gflops_fvcore` is the plain count with the last resize of the scores to the input's size, the honest
cost. They differ for StructToken, whose paper leaves out the attention of the backbone and that resize, and for
MaskFormer and Mask2Former, whose authors' code makes the masks of all stages in inference too, where ours makes the
last ones alone.

Of a detector that proposes regions, backbone and proposal network count on the input, the box head on as many
proposals as the config lets through in inference, and the mask head on as many detections: the most that an image can
cost. The input is padded as in the model.

--paper sets each published row beside ours, and exits with 1 if one lies outside its tolerance. The rows and their
tolerances are those of tokenseg/commands/paper_rows/METHOD.csv. It takes minutes.
"""

import argparse
from collections.abc import Sequence

from ..overrides import add_trust_config


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read the arguments of the command."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config-file", metavar="C", help="count the model of this config")
    what.add_argument("--paper", nargs="*", metavar="METHOD", help="all published rows of these methods, or of all")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="input in pixels; default the crop, or the largest test image",
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    add_trust_config(parser)
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="change the config")
    return parser.parse_args(words)
