"""Measure speed and memory, of our code against another implementation, by part, or of a whole model.

    benchmark.py NAME --help       # what the benchmark measures, and its options
    benchmark.py NAME --list       # the cases of the benchmark

NAME is the name of a file in benchmarks/. The two sides of a comparison run alternately. CPU time of one thread is
measured or, on a GPU, wall time; the ratio is the median over all pairs. The outputs of both sides are compared first,
and a case fails if they differ.
"""

import argparse
import ast
from collections.abc import Callable, Sequence
from pathlib import Path

from tokenseg_cli.overrides import parse_with_overrides, split_overrides

FOLDER = Path(__file__).resolve().parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem[0] != "_")


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments, including those of the chosen benchmark; `args.words` are the original words."""
    others, _ = split_overrides(words)
    name = others[0] if others else ""
    if name in NAMES:
        parser.description = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text()))
    elif not {"-h", "--help"} & set(others):
        raise ValueError(f"there is no benchmark '{name}'; wanted one of {', '.join(NAMES)}")
    parser.add_argument("name", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="WORD", help="measure only cases with all these words in their title"
    )
    parser.add_argument("--list", action="store_true", help="print the titles of the cases, and exit")
    parser.add_argument("--pairs", type=int, default=5, help="number of measured rounds (default: 5)")
    parser.add_argument(
        "--memory", action="store_true", help="also measure peak memory, with each side in a separate process"
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON per row")
    parser.add_argument("--device", default="auto", help="device: auto (default), cpu or cuda")
    parser.add_argument(
        "--threads", type=int, default=1, help="number of CPU threads (default: 1); with more, wall time is measured"
    )
    parser.add_argument("--peak-of", choices=("ours", "rival"), help=argparse.SUPPRESS)
    OPTIONS.get(name, lambda _: None)(parser)
    args = parse_with_overrides(parser, words)
    for flag in ("pairs", "threads", "batch", "classes", "size", "pictures"):
        given = getattr(args, flag, None)
        if given is not None and min(given if isinstance(given, list) else [given]) < 1:
            raise ValueError(f"--{flag} is {given}; wanted 1 or more")
    args.words = list(words)
    return args


def _batch(parser: argparse.ArgumentParser, default: int) -> None:
    parser.add_argument("--batch", type=int, default=default, help=f"number of images (default: {default})")


def _classes(parser: argparse.ArgumentParser, default: int, what: str = "a label map") -> None:
    parser.add_argument(
        "--classes", type=int, default=default, help=f"number of classes in {what} (default: {default})"
    )


def _side(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, default=512, help="side of an image, a multiple of 32 (default: 512)")


def _methods(parser: argparse.ArgumentParser) -> None:
    _batch(parser, 2)
    parser.add_argument("--size", type=int, default=512, help="side of an image in pixels (default: 512)")
    parser.add_argument("--amp", action="store_true", help="use mixed precision in bfloat16")


def _compiled(parser: argparse.ArgumentParser) -> None:
    _methods(parser)
    parser.add_argument("--backend", default="inductor", help="backend of torch.compile (default: inductor)")


def _ecenet(parser: argparse.ArgumentParser) -> None:
    _batch(parser, 1)


def _hosts(parser: argparse.ArgumentParser) -> None:
    _batch(parser, 2)
    _side(parser)
    _classes(parser, 10)


def _rivals(parser: argparse.ArgumentParser) -> None:
    _batch(parser, 1)
    _side(parser)
    parser.add_argument("--amp", action="store_true", help="use mixed precision in bfloat16 on both sides")


def _loader(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config-file", required=True, metavar="C", help="config of the training")
    parser.add_argument(
        "--pictures",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="read generated files of this size instead of the config's data",
    )


def _ids(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        default=[768, 1024],
        metavar=("H", "W"),
        help="size of the image (default: 768 1024)",
    )
    _classes(parser, 10, "the image of `trained`")
    parser.add_argument("--single", action="store_true", help="use single precision instead of mixed precision")


def _segvit(parser: argparse.ArgumentParser) -> None:
    _batch(parser, 2)
    _classes(parser, 10)


def _sgr(parser: argparse.ArgumentParser) -> None:
    _batch(parser, 2)
    _classes(parser, 12)


def _start(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config-file", default="quickstart", metavar="C", help="config (default: quickstart)")
    parser.add_argument("--checkout", type=Path, metavar="DIR", help="another checkout to compare with this one")


def _structtoken(parser: argparse.ArgumentParser) -> None:
    _batch(parser, 2)
    parser.add_argument(
        "--attention",
        choices=("fused", "products"),
        default="fused",
        help="attention of our whole model in inference: torch's fused kernel (default), or matrix products and a "
        "softmax in bfloat16",
    )


def _throughput(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config-file", required=True, metavar="C", help="config of the model")
    _batch(parser, 2)
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="size of the input in pixels (default: the crop)"
    )
    parser.add_argument("--amp", action="store_true", help="use mixed precision in bfloat16")
    parser.add_argument("--compile", action="store_true", help="compile backbone and head")


# The functions that add a benchmark's own options, by the name of the benchmark.
OPTIONS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "compiled": _compiled,
    "ecenet": _ecenet,
    "hosts": _hosts,
    "ids": _ids,
    "loader": _loader,
    "operations": _side,
    "profile": _methods,
    "rivals": _rivals,
    "segvit": _segvit,
    "sgr": _sgr,
    "start": _start,
    "structtoken": _structtoken,
    "throughput": _throughput,
}
