"""Segment any images, or detect what is in them: the config's model tells which.

For every image, by the name of its file: `overlay` draws the classes over the image with their names; of a detector,
boxes and masks with class names and scores. `ids` is a PNG of class ids, `palette` the same with the classes' colours
as palette. `stored` has what the label maps of own data store, ids or colours. `submission` writes PNGs in the format
of the server of ADE20K or Cityscapes, with the names of the images, into a folder of that name.

With --annotations the overlay stands beside the ground truth of every image that has one.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..overrides import parse_with_overrides
from ..paths import check_folder

KINDS = ("overlay", "ids", "palette", "stored", "submission")


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read the arguments of the command; `save` becomes a list."""
    parser.add_argument(
        "--config-file", required=True, metavar="C", help="config of the model; a run leaves its own as config.yaml"
    )
    parser.add_argument("--weights", required=True, metavar="W", help="checkpoint of that model")
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
    parser.add_argument(
        "--windows",
        type=int,
        nargs="?",
        const=0,
        metavar="SIDE",
        help="for large images: read and segment each window by window as it is stored, with windows of SIDE pixels, "
        "by default those of the config; not with --save overlay",
    )
    args = parse_with_overrides(parser, words)
    check_folder("--output", args.output)
    if args.confidence_threshold is not None and not 0 <= args.confidence_threshold <= 1:
        raise ValueError(f"--confidence-threshold is {args.confidence_threshold}; wanted a number from 0 to 1")
    args.save = args.save.split(",")
    wrong = set(args.save) - set(KINDS)
    if wrong:
        raise ValueError(f"--save has {', '.join(sorted(wrong))}; wanted some of {','.join(KINDS)}")
    if args.windows is not None and ("overlay" in args.save or args.windows < 0 or args.annotations is not None):
        raise ValueError(
            "--windows reads no image whole, so that nothing can be drawn over it; wanted a SIDE above 0 or none, no "
            f"--annotations, and --save with some of {','.join(KINDS[1:])}"
        )
    return args
