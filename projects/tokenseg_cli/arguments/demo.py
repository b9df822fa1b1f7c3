"""Segment any images, or detect what is in them: the config's model tells which.

For every image, by the name of its file: `overlay` draws the classes over the image with their names; of a detector,
boxes and masks with class names and scores. `ids` is a PNG of class ids, `palette` the same with the classes' colours
as palette. `stored` has what the label maps of own data store, ids or colours. `submission` writes PNGs in the format
of the server of ADE20K or Cityscapes, with the names of the images, into a folder of that name.

With --annotations the overlay stands beside the ground truth of every image that has one.

--video takes a video file, or the number of a camera until Ctrl-C, and writes a video file; sound is not kept. --web
opens a page in which an image is explored by clicks; it needs the extra `web` (pip install 'tokenseg[web]').

W may be an ONNX file of `tools/export.py`, which wants no config.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..overrides import parse_with_overrides
from ..paths import check_file, check_folder

KINDS = ("overlay", "ids", "palette", "stored", "submission")
# How the names of exported files end, which need no config.
EXPORTED = ".onnx"


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read the arguments of the command; `save` becomes a list."""
    parser.add_argument("--config-file", metavar="C", help="config of the model; a run leaves its own as config.yaml")
    parser.add_argument("--weights", required=True, metavar="W", help="checkpoint of that model, or an ONNX file")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", nargs="+", metavar="IMAGES", help="files, folders or globs")
    source.add_argument("--video", metavar="FILE|N", help="a video file, or the number of a camera, such as 0")
    source.add_argument("--web", action="store_true", help="explore images in a browser")
    parser.add_argument("--output", type=Path, metavar="PATH", help="folder for images, or file for a video")
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
    parser.add_argument("--port", type=int, metavar="P", help="port of the page (--web); default: a free one")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address at which the page is served (--web); default: this machine alone"
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
    _check_output(args)
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
    if args.windows is not None and ("overlay" in args.save or args.windows < 0 or args.annotations is not None):
        raise ValueError(
            "--windows reads no image whole, so that nothing can be drawn over it; wanted a SIDE above 0 or none, no "
            f"--annotations, and --save with some of {','.join(KINDS[1:])}"
        )
    return args


def _check_output(args: argparse.Namespace) -> None:
    """Refuse an output that does not fit what is asked for."""
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
