"""The commands on a page in Markdown, as a shell reads them, and a check of each that runs nothing."""

import argparse
import contextlib
import copy
import io
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from loaded_configs import loaded
from tokenseg.commands.analyze_model import read_paper_rows
from tokenseg.config.overrides import apply_overrides
from tokenseg.config.settings import check_settings
from tokenseg.config.shipped import config_file, table_file
from tokenseg.tables.table_file import chosen_rows, read_table_file
from tokenseg_cli.__main__ import COMMANDS
from tokenseg_cli.run import parse

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("projects/**/*.md"), *ROOT.glob("tools/**/*.md")])
PROGRAMS = ("make", "pip", "pytest", "python", "sbatch", "srun", "tokenseg", "torchrun")
# Prints the words of every command instead of running it: a restricted shell with an empty PATH finds no program.
SHELL = r"""command_not_found_handle() { printf '%s\037' "$@"; printf '\036'; }; exit() { :; }"""
# Configs that the reader of a page writes, and the shipped ones that they begin with.
WRITTEN = {"configs/coins.py": "configs/own_data.py", "configs/stamps.py": "configs/own_detection.py"}
# What a placeholder such as C, or the config.yaml of a run, is taken for.
ANY_CONFIG = "quickstart"
PLACEHOLDER = re.compile(r"[A-Z]$|.*\.yaml$")
# Other placeholders, and what is checked in their place.
STANDS_FOR = {"R": "1", "tools/prepare_datasets/X.py": "tools/prepare_datasets/ade20k.py"}
# What `...` leaves out of a command, by the word that follows it.
LEFT_OUT = {"--web": "--config-file C --weights W"}
LEFT_OUT["--save"] = f"{LEFT_OUT['--web']} --input photo.jpg --output out"


def blocks(text: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page: language and content, without the indentation of a list."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [(language, re.sub(f"^{indent}", "", content, flags=re.MULTILINE)) for indent, language, content in found]


def inline(text: str) -> list[str]:
    """The pieces of code inside of prose and tables."""
    prose = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [code.replace(r"\|", "|") for code in re.findall(r"`([^`\n]+)`", prose)]


def commands(text: str) -> list[list[str]]:
    """The words of every command of a page, with its loops, variables and braces filled in.

    Args:
        text: The page.
    """
    begins = re.compile(rf"^ *(?:\w+=\S+ )*(?:{'|'.join(PROGRAMS)}) ", re.MULTILINE)
    scripts = [content for language, content in blocks(text) if language in ("", "bash")] + inline(text)
    script = "\n".join([SHELL, *filter(begins.search, scripts)])
    # the last words are what a script on a page passes on by "$@"
    shell = [shutil.which("bash") or "bash", "-r", "-c", script, "page", "--config-file", "C"]
    done = subprocess.run(shell, capture_output=True, text=True, cwd=ROOT, env={"PATH": "/none", "HOME": "/home/me"})
    if re.search("syntax error|unexpected EOF", done.stderr):
        raise ValueError(done.stderr)
    found = [command.split("\037")[:-1] for command in done.stdout.split("\036")]
    return [words for words in found if words and words[0] in PROGRAMS]


def check(words: Sequence[str], written: Sequence[str]) -> None:
    """Check that a command can begin: its script, its arguments, and the configs, settings and rows that they name.

    Args:
        words: The words of the command.
        written: Names of the scripts that pages let their readers write.

    Raises:
        ValueError: Something that the command names is not there.
    """
    program, *rest = (STANDS_FOR.get(word, word) for word in words)
    scripts = [place for place, word in enumerate(rest) if word.endswith(".py") and "=" not in word]
    if program == "make":
        _check_make(rest)
    elif program == "pip":
        _check_extras(rest)
    elif program == "tokenseg":
        _check_tokenseg(rest)
    elif program == "sbatch":
        _check_arguments("train_net.py", rest[1:])
    elif program == "pytest" or rest[:2] == ["-m", "pytest"]:
        _check_there(*(word for word in rest if word.startswith("tests")))
    elif scripts and rest[scripts[0]] not in written:
        _check_there(rest[scripts[0]])
        _check_arguments(rest[scripts[0]], rest[scripts[0] + 1 :])


def check_overrides(name: str, overrides: Sequence[str]) -> None:
    """Check that there is a config, and that overrides apply to it.

    Args:
        name: The path or name of a config, or a placeholder.
        overrides: `key=value` each.

    Raises:
        ValueError: There is no such config, or one of the overrides does not apply.
    """
    path = Path(config_file(WRITTEN.get(name, ANY_CONFIG if PLACEHOLDER.match(name) else name)))
    _check_there(path)
    if overrides:
        # a copy of what all tests share: loading takes ten times as long
        config, changes = copy.deepcopy(loaded(ROOT / path)), [re.sub("=@.*", "=[a,b]", word) for word in overrides]
        # class names would be read from the reader's files
        check_settings(apply_overrides(config, [*changes, *["dataset.classes=[a,b]"] * ("data=own_coco" in overrides)]))


def _check_there(*paths: str | Path) -> None:
    missing = [str(path) for path in paths if not (ROOT / path).exists()]
    if missing:
        raise ValueError(f"there is no {', '.join(missing)}")


def _check_make(words: Sequence[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for word in words:
        name, equals, _ = word.partition("=")
        if f"({name})" not in makefile if equals else not re.search(rf"^{name}:", makefile, re.MULTILINE):
            raise ValueError(f"the Makefile has no {name}")


def _check_extras(words: Sequence[str]) -> None:
    for extra in re.findall(r"\[(\w+)\]", " ".join(words)):
        if f'"{extra}": ' not in (ROOT / "setup.py").read_text():
            raise ValueError(f"setup.py has no extra {extra}")


def _check_tokenseg(words: Sequence[str]) -> None:
    name, *rest = words
    if name in COMMANDS:
        command, *flags = COMMANDS[name]
        if rest:
            _check_parsed(command, [*flags, *rest])
    elif name not in ("--help", "NAME", "COMMAND"):
        raise ValueError(f"tokenseg has no command {name}")


def _check_arguments(script: str, words: Sequence[str]) -> None:
    """Check the arguments of a script of this project; a page may name a script alone."""
    started = re.search(r'run(?:_modules)?\("([\w.]+)"', (ROOT / script).read_text())
    words = [word for word in words if not re.search(r"^\[|\]$", word)]
    if "..." in words:
        place = words.index("...")
        words[place : place + 1] = LEFT_OUT[words[place + 1]].split()
    if words and started:
        _check_parsed(started[1], words)


def _check_parsed(command: str, words: Sequence[str]) -> None:
    module = command if command.startswith("benchmarks.") else f"tokenseg_cli.arguments.{command}"
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
            args = parse(module, [command, *words])
    except SystemExit as stop:
        if stop.code:
            raise ValueError(told.getvalue().splitlines()[-1]) from stop
        return  # --help
    for config, overrides in _configs(args):
        check_overrides(config, overrides)
    if getattr(args, "paper", None):
        read_paper_rows(args.paper)
    if "table" in args:
        chosen_rows(read_table_file(table_file(args.table)), args.rows, args.seeds)


def _configs(args: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    """The configs that a command names, each with all its overrides."""
    given = getattr(args, "config_file", None) or []
    overrides = [*getattr(args, "overrides", []), *getattr(args, "opts", [])]
    key, *values = getattr(args, "vary", None) or [None]
    for config in [given] if isinstance(given, str) else given:
        yield config, [*overrides, *(f"{key}={value}" for value in values)]
