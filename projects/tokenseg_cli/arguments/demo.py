"""Segment any images, or detect what is in them: the config's model tells which.

For every image, by the name of its file: `overlay` draws the classes over the image with their names; of a detector,
boxes and masks with class names and scores. `ids` is a PNG of class ids, `palette` the same with the classes' colours
as palette.

With --annotations the overlay stands beside the ground truth of every image that has one.

W may be an ONNX file of `tools/export.py`, which wants no config.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..overrides import parse_with_overrides
from ..paths import check_folder

KINDS = ("overlay", "ids", "palette")
# How the names of exported files end, which need no config.
EXPORTED = ".onnx"


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read the arguments of the command; `save` becomes a list."""
    parser.add_argument("--config-file", metavar="C", help="config of the model; a run leaves its own as config.yaml")
    parser.add_argument("--weights", required=True, metavar="W", help="checkpoint of that model, or an ONNX file")
    parser.add_argument("--input", required=True, nargs="+", metavar="IMAGES", help="files, folders or globs")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to write to")
    parser.add_argument("--save", default="overlay", help=f"one or more of {','.join(KINDS)}, joined by commas")
    parser.add_argument(
        "--annotations",
        nargs="?",
        const="",
        metavar="FILE",
        help="draw the ground truth too: that of the config's test data, or of a FILE in COCO's format (detectors)",
    )
    parser.add_argument(
        "--confidence-threshold",
        type=float,
        metavar="S",
        help="lowest score of an instance that is drawn (detectors); default 0.5",
    )
    args = parse_with_overrides(parser, words)
    check_folder("--output", args.output)
    if args.confidence_threshold is not None and not 0 <= args.confidence_threshold <= 1:
        raise ValueError(f"--confidence-threshold is {args.confidence_threshold}; wanted a number from 0 to 1")
    args.exported = args.weights.endswith(EXPORTED)
    if args.exported and (args.config_file or args.overrides or args.annotations is not None):
        raise ValueError(
            f"--weights {args.weights} holds a whole model; wanted no --config-file, overrides or --annotations"
        )
    if not args.exported and not args.config_file:
        raise ValueError(
            f"there is no --config-file, and --weights {args.weights} does not end in {EXPORTED}; wanted "
            "the config of the model"
        )
    args.save = args.save.split(",")
    wrong = set(args.save) - set(KINDS)
    if wrong:
        raise ValueError(f"--save has {', '.join(sorted(wrong))}; wanted some of {','.join(KINDS)}")
    return args
