"""Speed and memory: ours against a named rival, part by part, or of a whole model.

    benchmark.py NAME --help       # what it measures, and its own options
    benchmark.py NAME --list       # its cases

NAME is a file of benchmarks/. Two sides run in turns, timed by CPU time of one thread, or by wall time on a GPU; the
ratio is the median over the pairs. First their outputs are compared: a case whose sides differ fails.
"""

import argparse
import ast
from collections.abc import Callable, Sequence
from pathlib import Path

from tokenseg_cli.overrides import parse_with_overrides, split_overrides

FOLDER = Path(__file__).resolve().parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem[0] != "_")


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read the arguments, those of the benchmark that they name among them; `words` keeps them as they were typed."""
    others, _ = split_overrides(words)
    name = others[0] if others else ""
    if name in NAMES:
        parser.description = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text()))
    elif not {"-h", "--help"} & set(others):
        raise ValueError(f"there is no benchmark '{name}'; wanted one of {', '.join(NAMES)}")
    parser.add_argument("name", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="cases with all these in their title")
    parser.add_argument("--list", action="store_true", help="print the titles of the cases, and nothing else")
    parser.add_argument("--pairs", type=int, default=5, help="rounds that are measured (default 5)")
    parser.add_argument("--memory", action="store_true", help="peak memory too, each side in a process of its own")
    parser.add_argument("--json", action="store_true", help="one line of JSON a row")
    parser.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU (default 1); with more, wall time counts")
    parser.add_argument("--peak-of", choices=("ours", "rival"), help=argparse.SUPPRESS)
    OPTIONS.get(name, lambda _: None)(parser)
    args = parse_with_overrides(parser, words)
    if args.pairs < 1:
        raise ValueError(f"--pairs is {args.pairs}; wanted 1 or more")
    args.words = list(words)
    return args


def _methods(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=2, help="images (default 2)")
    parser.add_argument("--size", type=int, default=512, help="side of an image in pixels (default 512)")
    parser.add_argument("--amp", action="store_true", help="mixed precision in bfloat16")


def _compiled(parser: argparse.ArgumentParser) -> None:
    _methods(parser)
    parser.add_argument("--backend", default="inductor", help="of torch.compile (default inductor)")


def _ecenet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=1, help="images (default 1)")


def _hosts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=2, help="images (default 2)")
    parser.add_argument("--size", type=int, default=512, help="side of an image, a multiple of 32 (default 512)")
    parser.add_argument("--classes", type=int, default=10, help="that a label map shows (default 10)")


def _rivals(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=1, help="images (default 1)")
    parser.add_argument("--size", type=int, default=512, help="side of an image, a multiple of 32 (default 512)")
    parser.add_argument("--amp", action="store_true", help="mixed precision in bfloat16, on both sides")


def _loader(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config-file", required=True, metavar="C", help="config of the training")
    parser.add_argument(
        "--pictures", type=int, nargs=2, metavar=("H", "W"), help="generated files of this size, not the config's data"
    )


def _ids(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, nargs=2, default=[768, 1024], metavar=("H", "W"), help="of the image")
    parser.add_argument("--classes", type=int, default=10, help="that are there in `trained` (default 10)")
    parser.add_argument("--single", action="store_true", help="single precision in place of mixed precision")


def _segvit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=2, help="images (default 2)")
    parser.add_argument("--classes", type=int, default=10, help="that a label map shows (default 10)")


def _sgr(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=2, help="images (default 2)")
    parser.add_argument("--classes", type=int, default=12, help="classes of a label map (default 12)")


def _start(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config-file", default="quickstart", metavar="C", help="config (default quickstart)")
    parser.add_argument("--checkout", type=Path, metavar="DIR", help="another checkout, started in turns with this one")


def _structtoken(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=2, help="images (default 2)")
    parser.add_argument(
        "--attention",
        choices=("fused", "products"),
        default="fused",
        help="of our whole model in inference: torch's fused kernel, or matrix products and a softmax in bfloat16",
    )


def _throughput(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config-file", required=True, metavar="C", help="config of the model")
    parser.add_argument("--batch", type=int, default=2, help="images (default 2)")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="input in pixels; default the crop")
    parser.add_argument("--amp", action="store_true", help="mixed precision in bfloat16")
    parser.add_argument("--compile", action="store_true", help="backbone and head compiled")


# Adds the own options of a benchmark, by its name; one that has none is left out.
OPTIONS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "compiled": _compiled,
    "ecenet": _ecenet,
    "hosts": _hosts,
    "ids": _ids,
    "loader": _loader,
    "profile": _methods,
    "rivals": _rivals,
    "segvit": _segvit,
    "sgr": _sgr,
    "start": _start,
    "structtoken": _structtoken,
    "throughput": _throughput,
}
