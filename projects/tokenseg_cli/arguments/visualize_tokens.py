"""Draw what the tokens of trained models see: the maps of chosen classes, stage by stage.

The picture has a row for every class and model. It shows the image, the maps of the model's stages from left to right,
and the pixels that the model predicts as that class. With a label map, the true outline of the class and its IoU in
this image are drawn too. Each map has its own colour scale, from dark blue (lowest) to yellow (highest). Classes are
given by name or id; without --classes, they are the three largest ones in the label map or the prediction. The image
runs through the model as a whole, resized as in the evaluation of its config.

With --regions, the picture has one row for every model instead. It shows the image and the N regions of tokens with the
largest share of the total weight of all regions, each highlighted in the image, with its number and its share. This is
for models whose tokens have regions, such as those of SGR and GloRe, and for detectors with such a component in their
backbone.

With --prediction, the complete prediction of a model is drawn next to the image, in the colours of the classes. This is
not possible for detectors.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..overrides import parse_with_overrides
from ..paths import check_file

# How the names of pictures end.
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of the command; `names` has the name of every model."""
    parser.add_argument(
        "--config-file",
        nargs="+",
        required=True,
        metavar="C",
        help="configs of the models, such as config.yaml of a run",
    )
    parser.add_argument("--weights", nargs="+", required=True, metavar="W", help="one checkpoint for every config")
    parser.add_argument(
        "--names", nargs="+", metavar="N", help="names of the models in the picture (default: their output folders)"
    )
    parser.add_argument("--input", required=True, metavar="IMAGE", help="an image file")
    parser.add_argument("--label", help="the label map of the image")
    parser.add_argument("--classes", metavar="A,B", help="names or ids of classes, joined by commas")
    parser.add_argument("--regions", type=int, metavar="N", help="draw regions of tokens instead of classes")
    parser.add_argument("--prediction", action="store_true", help="also draw the complete prediction")
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
