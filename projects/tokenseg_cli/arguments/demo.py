"""Segment any images, or detect what is in them: the config's model tells which.

For every image, by the name of its file: `overlay` draws the classes over the image with their names; of a detector,
boxes and masks with class names and scores. `ids` is a PNG of class ids, `palette` the same with the classes' colours
as palette.

With --annotations the overlay stands beside the ground truth of every image that has one.

--video takes a video file, or the number of a camera until Ctrl-C, and writes a video file; sound is not kept. --web
opens a page in which an image is explored by clicks; it needs the extra `web` (pip install 'tokenseg[web]').
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..overrides import parse_with_overrides
from ..paths import check_file, check_folder

KINDS = ("overlay", "ids", "palette")


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read the arguments of the command; `save` becomes a list."""
    parser.add_argument(
        "--config-file", required=True, metavar="C", help="config of the model; a run leaves its own as config.yaml"
    )
    parser.add_argument("--weights", required=True, metavar="W", help="checkpoint of that model")
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
    args = parse_with_overrides(parser, words)
    _check_output(args)
    if args.confidence_threshold is not None and not 0 <= args.confidence_threshold <= 1:
        raise ValueError(f"--confidence-threshold is {args.confidence_threshold}; wanted a number from 0 to 1")
    args.save = args.save.split(",")
    wrong = set(args.save) - set(KINDS)
    if wrong:
        raise ValueError(f"--save has {', '.join(sorted(wrong))}; wanted some of {','.join(KINDS)}")
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
