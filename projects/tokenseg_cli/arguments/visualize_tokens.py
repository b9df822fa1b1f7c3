"""What the tokens of trained models see: the maps of chosen classes, stage by stage.

A row for every class and model: the image, the model's stages from left to right, and what it segments as that class;
with a label map, the class's outline and its IoU in this image. Each map has its own scale, from dark blue (lowest) to
yellow. Classes are names or ids; without --classes they are the three largest of the label map or the prediction. The
image runs through the model as a whole, resized as in the evaluation of its config.

With --regions, a row for every model instead: the image, and the N regions of its tokens that have the largest part of
all regions' weight in it, each lit up over the image, with its number and that part. It is for models whose tokens have
regions, such as SGR's and GloRe's, and for detectors with such a component in their backbone.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..overrides import parse_with_overrides
from ..paths import check_file

# How the names of pictures end.
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read the arguments of the command; `names` has one for every model."""
    parser.add_argument(
        "--config-file", nargs="+", required=True, metavar="C", help="a run leaves its own as config.yaml"
    )
    parser.add_argument("--weights", nargs="+", required=True, metavar="W", help="a checkpoint for every config")
    parser.add_argument(
        "--names", nargs="+", metavar="N", help="what the models are called; default their output folders"
    )
    parser.add_argument("--input", required=True, metavar="IMAGE", help="an image file")
    parser.add_argument("--label", help="its label map")
    parser.add_argument("--classes", metavar="A,B", help="names or ids, joined by commas")
    parser.add_argument("--regions", type=int, metavar="N", help="draw regions of tokens instead of classes")
    parser.add_argument("--output", required=True, type=Path, metavar="PNG", help="picture to write")
    args = parse_with_overrides(parser, words)
    check_file("--output", args.output)
    if args.output.suffix.lower() not in PICTURES:
        raise ValueError(f"--output is {args.output}; wanted a name that ends in {', '.join(PICTURES)}")
    args.names = args.names or [Path(weights).resolve().parent.name for weights in args.weights]
    if not len(args.config_file) == len(args.weights) == len(args.names):
        raise ValueError(
            f"there are {len(args.config_file)} --config-file, {len(args.weights)} --weights and {len(args.names)} "
            "--names; wanted one of each for every model"
        )
    if args.regions is not None and (args.regions < 1 or args.classes):
        raise ValueError(f"--regions is {args.regions}; wanted 1 or more, and no --classes with it")
    return args
