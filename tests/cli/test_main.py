"""The program `tokenseg`, which runs all commands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tokenseg_cli.__main__ import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]


def test_every_command_is_there(capsys):
    files = (ROOT / "projects/tokenseg_cli/arguments").rglob("*.py")
    names = {path.relative_to(ROOT / "projects/tokenseg_cli/arguments").with_suffix("") for path in files}
    names = {".".join(name.parts) for name in names if name.name != "__init__"}
    assert {command for command, *_ in COMMANDS.values()} == names
    assert main(["tokenseg", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n  {name} " in said for name in COMMANDS)
    lines = said.split("each with its own --help:\n")[1].splitlines()
    assert len(lines) == len(COMMANDS) and all(line.endswith((".", "(--eval-only)")) for line in lines)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_has_its_help(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["tokenseg", name, "--help"])
    assert stop.value.code == 0 and capsys.readouterr().out.startswith(f"usage: tokenseg {name} ")


def test_an_unknown_command_is_refused():
    with pytest.raises(SystemExit, match="no command 'trian'; wanted one of train, eval"):
        main(["tokenseg", "trian"])
    assert main(["tokenseg"]) == 2


@pytest.mark.slow("the package as a wheel holds it")
def test_the_built_package_brings_its_configs(tmp_path):
    build = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path / "lib")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    ask = "import tokenseg; print(tokenseg.__file__, *tokenseg.list_models('quick*'))"
    done = subprocess.run(
        [sys.executable, "-c", ask],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "lib"), "PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(tmp_path / "lib/tokenseg/__init__.py"), "quickstart"]
    assert done.stderr == ""  # no warning of another package greets the user
    assert (tmp_path / "lib/tokenseg/commands/paper_rows/segvit.csv").exists()
