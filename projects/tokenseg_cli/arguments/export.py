"""Export a whole segmentor to one file, ONNX or torch's own format, that runs without the code of the model.

The input of the file is any number of images (N, C, H, W), float32 in grey levels. Its output is the class of each
pixel, or the scores of all classes; the file contains the normalisation, padding and resizing. C is the config.yaml in
the folder of a run, and W one of the run's checkpoints. Without W the weights are random, which suffices to measure
speed.

The file also contains class names, colours, the channel order and the size, which `tools/demo.py --weights FILE` uses.
projects/EXPORT.md says what is supported.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..overrides import parse_with_overrides
from ..paths import check_file

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of the command; `size` becomes (height, width) or None."""
    parser.add_argument("--config-file", required=True, metavar="C", help="config of the model")
    parser.add_argument("--weights", default="", metavar="W", help="checkpoint of the model (default: random weights)")
    parser.add_argument("--format", required=True, choices=SUFFIXES, help="onnx, or torch for a file of torch.export")
    parser.add_argument(
        "--output", required=True, type=Path, metavar="F", help="file to write: .onnx, or .pt2 for torch"
    )
    parser.add_argument(
        "--output-kind",
        default="ids",
        choices=("ids", "scores"),
        help="ids for the class of each pixel (default), or scores of all classes",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--size",
        nargs=2,
        type=int,
        metavar=("H", "W"),
        help="height and width of the images in pixels (default: the config's training crop)",
    )
    size.add_argument("--dynamic-size", action="store_true", help="accept images of any height and width")
    parser.add_argument("--verify", action="store_true", help="run the file and compare it with the model")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    args = parse_with_overrides(parser, words)
    check_file("--output", args.output)
    if args.output.suffix != SUFFIXES[args.format]:
        raise ValueError(
            f"--output is {args.output}, and --format is {args.format}; wanted a file name that ends in "
            f"{SUFFIXES[args.format]}"
        )
    if args.output.exists() and not args.overwrite:
        raise ValueError(f"--output {args.output} exists already; wanted another name, or --overwrite")
    if args.size and min(args.size) < 1:
        raise ValueError(f"--size is {args.size[0]} {args.size[1]}; wanted 1 pixel or more")
    return args
