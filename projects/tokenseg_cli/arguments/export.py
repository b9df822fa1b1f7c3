"""Write a whole segmentor to one file, ONNX or torch's own, that runs without the code of the model.

The file takes images (N, C, H, W) of float32 in grey levels, any number of them, and gives the class of each pixel, or
the scores of all classes: normalising, padding and resizing are inside. C is the config.yaml that a run leaves in its
folder, and W one of its checkpoints; without W the weights are random, which is enough to measure speed.

Class names, colours, the order of the channels and the size are in the file; `tools/demo.py --weights FILE` reads them
there. What is supported stands in projects/EXPORT.md.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..overrides import parse_with_overrides
from ..paths import check_file

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read the arguments of the command; `size` becomes (height, width) or None."""
    parser.add_argument("--config-file", required=True, metavar="C", help="config of the model")
    parser.add_argument("--weights", default="", metavar="W", help="checkpoint of the model; random weights without it")
    parser.add_argument("--format", required=True, choices=SUFFIXES, help="onnx, or torch for a file of torch.export")
    parser.add_argument(
        "--output", required=True, type=Path, metavar="F", help="file to write: .onnx, or .pt2 of torch"
    )
    parser.add_argument(
        "--output-kind", default="ids", choices=("ids", "scores"), help="class of each pixel, or scores of all classes"
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--size",
        nargs=2,
        type=int,
        metavar=("H", "W"),
        help="height and width of the images in pixels; by default the config's training crop",
    )
    size.add_argument("--dynamic-size", action="store_true", help="leave height and width of the images open")
    parser.add_argument("--verify", action="store_true", help="run the file and compare it with the model")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it is there")
    args = parse_with_overrides(parser, words)
    check_file("--output", args.output)
    if args.output.suffix != SUFFIXES[args.format]:
        raise ValueError(
            f"--output is {args.output}, and --format {args.format}; wanted a file name that ends in "
            f"{SUFFIXES[args.format]}"
        )
    if args.output.exists() and not args.overwrite:
        raise ValueError(f"--output {args.output} is there already; wanted another name, or --overwrite")
    if args.size and min(args.size) < 1:
        raise ValueError(f"--size is {args.size[0]} {args.size[1]}; wanted 1 pixel or more")
    return args
