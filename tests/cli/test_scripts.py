"""Every script, started by a user in a new process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = {
    path.relative_to(ROOT).as_posix(): path
    for path in [ROOT / "train_net.py", *ROOT.glob("tools/*.py"), *ROOT.glob("tools/prepare_datasets/*.py")]
}
# Packages that take seconds to import, and must only be imported after the arguments have been checked.
HEAVY = {"detectron2", "numpy", "omegaconf", "tokenseg", "torch"}
# Runs a script like `python SCRIPT WORDS`, and prints the modules that it has imported.
START = """
import runpy, sys
sys.argv = sys.argv[1:]
sys.path[0] = sys.argv[0].rpartition("/")[0]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("MODULES", *sys.modules)
"""


def start(path, *words):
    """Run a script and return its exit code, its output, its errors and the modules that it has imported."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "projects")}
    command = [sys.executable, "-c", START, str(path), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    said, _, modules = done.stdout.partition("MODULES ")
    return done.returncode, said, done.stderr, set(modules.split())


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_needs_no_torch(script):
    code, said, told, modules = start(SCRIPTS[script], "--help")
    assert (code, told) == (0, "") and said.startswith(f"usage: {SCRIPTS[script].name} ")
    assert "argparse" in modules and not modules & HEAVY


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_mistyped_flag_is_refused_without_torch(script):
    # The name of a benchmark comes first, since each has its own flags.
    words = ["structtoken"] if script == "tools/benchmark.py" else []
    code, said, told, modules = start(SCRIPTS[script], *words, "--no-such-flag")
    assert (code, said) == (2, "") and told.splitlines()[-1].startswith(f"{SCRIPTS[script].name}: error: ")
    assert "argparse" in modules and not modules & HEAVY


def test_every_command_has_arguments_a_body_and_a_script():
    arguments, bodies = (
        {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}
        for folder in (ROOT / "projects/tokenseg_cli/arguments", ROOT / "projects/tokenseg/commands")
    )
    # Files without `main` are parts of a command and not its body.
    commands_folder = ROOT / "projects/tokenseg/commands"
    assert arguments == {
        name for name in bodies if "__init__" in name or "def main(" in (commands_folder / name).read_text()
    }
    commands = {path.removesuffix(".py").replace("/", ".") for path in arguments if "__init__" not in path}
    called = {name for name in commands for path in SCRIPTS.values() if f'run("{name}", sys.argv)' in path.read_text()}
    assert called == commands
