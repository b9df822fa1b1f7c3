"""Segment any images, or detect objects in them, depending on the config's model.

--save lists the kinds of output that are written for every image, named after the image's file. `overlay` draws the
classes and their names over the image or, with a detector, boxes and masks with class names and scores. `ids` is a PNG
of class ids; `palette` is the same with the colours of the classes as its palette. `stored` has the values that the
label maps of your own data store, ids or colours. `submission` writes PNGs in the format of the evaluation servers of
ADE20K or Cityscapes, under the names of the images, into the folder `submission`.

With --annotations, the overlay is drawn next to the ground truth, for every image that has ground truth.

--video reads a video file, or a camera until Ctrl-C, and writes a video file without sound. --web opens a page on which
you explore an image by clicks; it needs the extra `web` (pip install 'tokenseg[web]').

W may be an ONNX file from `tools/export.py`, which needs no config.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..overrides import parse_with_overrides
from ..paths import check_file, check_folder

KINDS = ("overlay", "ids", "palette", "stored", "submission")
# The suffix of exported files, which need no config.
EXPORTED = ".onnx"


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of the command; `save` becomes a list."""
    parser.add_argument("--config-file", metavar="C", help="config of the model; a run leaves its own as config.yaml")
    parser.add_argument("--weights", required=True, metavar="W", help="checkpoint of that model, or an ONNX file")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", nargs="+", metavar="IMAGES", help="files, folders or glob patterns")
    source.add_argument("--video", metavar="FILE|N", help="a video file, or the number of a camera, such as 0")
    source.add_argument("--web", action="store_true", help="explore images in a browser")
    parser.add_argument("--output", type=Path, metavar="PATH", help="folder for images, or file for a video")
    parser.add_argument(
        "--save", default="overlay", help=f"some of {','.join(KINDS)}, joined by commas (default: overlay)"
    )
    parser.add_argument(
        "--annotations",
        nargs="?",
        const="",
        metavar="FILE",
        help="also draw the ground truth, from the config's test data or, for detectors, from a FILE in COCO's format",
    )
    parser.add_argument(
        "--confidence-threshold",
        type=float,
        metavar="S",
        help="lowest score of instances to draw, for detectors (default: 0.5)",
    )
    parser.add_argument("--port", type=int, metavar="P", help="port of the page with --web (default: any free port)")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address of the page with --web (default: 127.0.0.1, which only this machine can reach)",
    )
    parser.add_argument(
        "--windows",
        type=int,
        nargs="?",
        const=0,
        metavar="SIDE",
        help="for large images: read and segment each image window by window at its original size, with windows of "
        "SIDE pixels (default: those of the config); not with --save overlay",
    )
    args = parse_with_overrides(parser, words)
    _check_output(args)
    if args.confidence_threshold is not None and not 0 <= args.confidence_threshold <= 1:
        raise ValueError(f"--confidence-threshold is {args.confidence_threshold}; wanted a number from 0 to 1")
    args.exported = args.weights.endswith(EXPORTED)
    _check_config(args)
    args.save = args.save.split(",")
    _check_save(args)
    return args


def _check_output(args: argparse.Namespace) -> None:
    """Raise a ValueError if --output, --port, --annotations or --save do not fit --input, --video or --web."""
    if args.web:
        if args.output is not None:
            raise ValueError(f"--output is {args.output}, but --web writes nothing; wanted no --output")
    elif args.output is None:
        raise ValueError(f"--output is missing; wanted a {'file for the video' if args.video else 'folder'}")
    elif args.video is None:
        check_folder("--output", args.output)
    else:
        check_file("--output", args.output)
    if args.port is not None and not 0 < args.port < 65536:
        raise ValueError(f"--port is {args.port}; wanted a number from 1 to 65535")
    if args.input is None and args.annotations is not None:
        raise ValueError("--annotations is for images; wanted --input, or no --annotations")
    if args.input is None and args.save != "overlay":
        raise ValueError(f"--save is {args.save}, but --video and --web draw overlays; wanted --input, or no --save")


def _check_config(args: argparse.Namespace) -> None:
    """Raise a ValueError if --config-file is missing for a checkpoint, or given with an exported model."""
    if args.exported and (args.config_file or args.overrides or args.annotations is not None):
        raise ValueError(
            f"--weights {args.weights} is a complete model; wanted no --config-file, overrides or --annotations"
        )
    if not args.exported and not args.config_file:
        raise ValueError(
            f"--config-file is missing, and --weights {args.weights} does not end in {EXPORTED}; wanted the config of "
            "the model"
        )


def _check_save(args: argparse.Namespace) -> None:
    """Raise a ValueError if --save has an unknown kind, or --windows cannot write what it asks for."""
    wrong = set(args.save) - set(KINDS)
    if wrong:
        raise ValueError(f"--save has {', '.join(sorted(wrong))}; wanted some of {','.join(KINDS)}")
    if args.windows is not None and ("overlay" in args.save or args.windows < 0 or args.annotations is not None):
        raise ValueError(
            "--windows never reads an image as a whole, so nothing can be drawn over it; wanted a SIDE above 0 or "
            f"none, no --annotations, and --save with some of {','.join(KINDS[1:])}"
        )
