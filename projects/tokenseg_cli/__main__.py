"""The program `tokenseg COMMAND ...`, which can also be called as `python -m tokenseg_cli COMMAND ...`.

Each command does the same as a script of the checkout; for instance, `tokenseg train` is `train_net.py`.
`tokenseg COMMAND --help` explains a command.
"""

import ast
import importlib.util
import sys
from collections.abc import Sequence

from .run import run

# The name of a command for the user -> the name of its files, and flags that are always set.
COMMANDS = {
    "train": ("train",),
    "eval": ("train", "--eval-only"),
    "demo": ("demo",),
    "check": ("check_dataset",),
    "analyze": ("analyze_model",),
    "memory": ("estimate_memory",),
    "compare": ("compare",),
    "convert": ("convert_weights",),
    "report": ("report",),
    "tokens": ("visualize_tokens",),
    "export": ("export",),
    "export-backbone": ("export_backbone",),
    "publish": ("publish",),
    "quickstart": ("quickstart",),
    "table": ("make_table",),
    "transfer": ("transfer",),
    "prepare-ade20k": ("prepare_datasets.ade20k",),
    "prepare-cityscapes": ("prepare_datasets.cityscapes",),
    "prepare-coco": ("prepare_datasets.coco",),
    "prepare-coco-stuff-10k": ("prepare_datasets.coco_stuff_10k",),
    "prepare-pascal-context": ("prepare_datasets.pascal_context",),
}


def usage() -> str:
    """Return the usage text, with one line for each command."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {_summary(*words)}" for name, words in COMMANDS.items()]
    return "\n".join(["usage: tokenseg COMMAND ...", "", "Commands, each with its own --help:", *lines])


def _summary(command: str, *flags: str) -> str:
    """Return the first sentence of a command's description, from its source, since importing all would take longer."""
    spec = importlib.util.find_spec(f"tokenseg_cli.arguments.{command}")
    assert spec is not None and spec.origin is not None  # for the type checker: the file is part of this package
    with open(spec.origin, encoding="utf-8") as file:
        paragraph = (ast.get_docstring(ast.parse(file.read())) or command).partition("\n\n")[0]
    sentence = " ".join(paragraph.split()).partition(". ")[0].removesuffix(".") + "."
    return f"{sentence} ({' '.join(flags)})" if flags else sentence


def main(argv: Sequence[str] = sys.argv) -> int | None:
    """Run the command that the first argument names.

    Args:
        argv: The name of the program, followed by its arguments.

    Returns:
        The exit code; None means success.
    """
    words = argv[1:]
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(f"{usage()}\n")
        return 0 if words else 2
    if words[0] not in COMMANDS:
        sys.exit(f"tokenseg: error: there is no command '{words[0]}'; wanted one of {', '.join(COMMANDS)}")
    command, *flags = COMMANDS[words[0]]
    return run(command, [f"tokenseg {words[0]}", *flags, *words[1:]])


if __name__ == "__main__":
    sys.exit(main())
