"""The rules of the house: who may import whom, and how long files and functions may be."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "projects/tokenseg"
FILES = sorted(PACKAGE.rglob("*.py"))
METHODS = {"structtoken", "segvit", "ecenet", "sgr"}
MODEL = {"backbones", "hosts", "segmentor", "meta_arch", "predictor", *METHODS}

FORBIDDEN = {
    "data": MODEL | {"engine", "losses", "inference", "evaluation"},
    "evaluation": MODEL | {"engine", "losses", "inference"},
    "losses": MODEL | {"engine", "data", "evaluation"},
    "layers": MODEL | {"engine", "data", "evaluation", "inference", "losses"},
    "inference": MODEL | {"engine", "data", "evaluation"},
    "weight_rules.py": MODEL | {"engine", "data", "losses", "inference", "evaluation"},
    "backbones": MODEL - {"backbones"} | {"engine", "data", "evaluation"},
    **{method: METHODS - {method} | {"hosts", "segmentor", "meta_arch", "predictor"} for method in METHODS},
}


def imports(path):
    """Dotted names that a file of the package imports, anywhere in it."""
    package = path.relative_to(PACKAGE.parent).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def test_imports_are_found():
    found = set(imports(PACKAGE / "structtoken/head.py"))
    assert {"torch", "torch.nn", "tokenseg.losses.pixel.pixel_cross_entropy"} <= found
    assert "tokenseg.datasets.builtin" in set(imports(PACKAGE / "__init__.py"))


@pytest.mark.parametrize("part", FORBIDDEN)
def test_imports_go_one_way(part):
    files = [path for path in FILES if path.relative_to(PACKAGE).parts[0] == part]
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in files
        for name in imports(path)
        if name.startswith("tokenseg.") and name.split(".")[1] in FORBIDDEN[part]
    ]
    assert wrong == []


def test_the_package_knows_no_config_no_tool_and_no_command_line():
    outside = {"configs", "tools", "train_net", "tests", "tokenseg_cli"}
    found = [(path.name, name) for path in FILES for name in imports(path)]
    assert [pair for pair in found if pair[1].split(".")[0] in outside] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_are_short_and_silent(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    nodes = list(ast.walk(ast.parse(text)))
    functions = [node for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    assert [node.name for node in functions if node.end_lineno - node.lineno >= 60] == []
    calls = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    talks = path.relative_to(PACKAGE).parts[0] == "commands"  # to whoever runs it
    assert talks or [call.lineno for call in calls if call.func.id == "print"] == []
