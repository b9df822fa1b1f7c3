"""The rules of the layout: allowed imports, unique names, and the maximum length of files and functions."""

import ast
import graphlib
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

import pytest

PROJECTS = Path(__file__).resolve().parents[1] / "projects"
PACKAGE, COMMAND_LINE = PROJECTS / "tokenseg", PROJECTS / "tokenseg_cli"
FILES = sorted(PACKAGE.rglob("*.py"))

ANYTHING = {""}
# The modules that a method or a host may import: parts of heads, losses, batch norms, rules for published weights.
METHOD = {"backbones.norm", "d2_compat", "layers", "losses", "weight_rules"}
# Folder or file of the package -> the other modules that it may import, beside its own files and contracts.py. A folder
# that is not listed here is a method.
ROOMS = {
    "__init__.py": ANYTHING,  # it imports everything that `import tokenseg` registers
    "alarms": {"d2_compat", "data.stream", "engine.precision", "layers.attention", "segmentor"},
    "archives": {"data.labels"},
    "backbones": {"checkpoint_file", "layers", "weight_rules", "weight_sources"},
    "atomic_file.py": set(),
    "backbone_file.py": {"atomic_file", "backbone_parts", "checkpoint_file"},
    "backbone_parts.py": {"sgr.plug"},
    "checkpoint_file.py": set(),
    "commands": ANYTHING,
    "comparison.py": {"config.safe_yaml", "engine.metrics_file", "evaluation"},
    "config": {"datasets.annotation_file"},
    "contracts.py": set(),
    "d2_compat.py": set(),
    "deployment": {"data.image_reader", "data.transforms", "datasets.stored_ids", "layers", "segmentor"},
    "data": {"datasets.records"},
    "datasets": {
        "data.errors",
        "data.image_reader",
        "data.images",
        "data.labels",
        "data.mapper",
        "plain_text",
        "visualize",
    },
    "engine": {
        "checkpoint_file",
        "config.changes",
        "config.instantiate",
        "d2_compat",
        "data",
        "datasets.records",
        "inference",
        "visualize",
        "weight_sources",
        "atomic_file",
        "backbone_file",
    },
    "evaluation": {"data.labels", "datasets.records", "datasets.stored_ids", "plain_text"},
    "explorer.py": {
        "data.images",
        "inspection",
        "plain_text",
        "predictor",
        "visualize",
        "visualize_instances",
        "visualize_names",
    },
    "hosts": METHOD,
    "hub.py": {"config.shipped", "predictor", "weight_sources"},
    "inference": {"layers"},
    "inspection.py": {"d2_compat", "layers", "regions", "segmentor"},
    "layers": set(),
    "losses": {"layers"},
    "meta_arch.py": ANYTHING,  # it imports the parts of each method
    "plain_text.py": set(),
    "predictor.py": {"config", "data", "datasets", "engine", "inspection", "rasters", "regions", "segmentor"},
    "rasters.py": {"data.image_reader", "inference", "segmentor"},
    "report": {
        "config.load",
        "data.labels",
        "datasets.ground_truth",
        "engine.metrics_file",
        "evaluation",
        "inspection",
        "predictor",
        "visualize",
        "visualize_instances",
    },
    "regions.py": set(),
    "segmentor.py": {"d2_compat", "inference", "layers", "losses.counts", "regions"},
    "solver.py": set(),
    "tables": {"comparison", "engine.metrics_file", "engine.stopping", "evaluation.statistics", "plain_text"},
    "visualize.py": set(),
    "video.py": set(),
    "visualize_instances.py": {"datasets.ground_truth", "plain_text", "visualize_names"},
    "visualize_names.py": {"plain_text", "visualize"},
    "weight_rules.py": set(),
    "weight_sources.py": set(),
}
OUTSIDE = {"configs", "tests", "tokenseg_cli", "tools", "train_net"}


def imports(path: Path, *, root: Path = PROJECTS, at_once: bool = False) -> Iterator[str]:
    """Yield the dotted names that a file below `root` imports, with `at_once` only those outside of functions."""
    package = path.relative_to(root).parent.parts
    for node in _nodes(ast.parse(path.read_text()), functions=not at_once):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _nodes(node: ast.AST, *, functions: bool) -> Iterator[ast.AST]:
    """Yield a node and all nodes below it, with or without the bodies of functions."""
    yield node
    if functions or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        for child in ast.iter_child_nodes(node):
            yield from _nodes(child, functions=functions)


def complaints(place: PurePath, names: Iterable[str]) -> list[str]:
    """List the violations of the rules by the imports of a file, which is given by its path in the package."""
    room = place.parts[0]
    allowed, rule = ROOMS.get(room), f"{room} may import"
    if allowed is None and len(place.parts) == 1:
        return [f"{room} is in no rule: add it, and what it may import, to ROOMS in tests/test_layout.py"]
    if allowed is None:
        allowed, rule = METHOD, f"a method ({room}; if it is none, add it to ROOMS in tests/test_layout.py) may import"
    own = room.removesuffix(".py")
    found = []
    for name in names:
        package, _, inside = name.partition(".")
        if package in OUTSIDE:
            found.append(f"{place} imports {name}, which uses the package; the package must not use it in turn")
        elif package == "tokenseg" and not any(_lies_in(inside, part) for part in allowed | {own, "contracts"}):
            found.append(f"{place} imports {name}; {rule} {', '.join(sorted(allowed)) or 'nothing'}")
    return found


def _lies_in(name: str, part: str) -> bool:
    return not part or name == part or name.startswith(f"{part}.")


def test_imports_are_found(tmp_path):
    path = tmp_path / "tokenseg/new_method/head.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import torch.nn as nn, json\nfrom . import blocks\nfrom ..losses.mask import MaskLoss\nif nn:\n"
        "    from tokenseg import data\ndef build():\n    from ..segmentor import Segmentor\n"
    )
    first = ["torch.nn", "json", "tokenseg.new_method.blocks", "tokenseg.losses.mask.MaskLoss", "tokenseg.data"]
    found = list(imports(path, root=tmp_path))
    assert found == [*first, "tokenseg.segmentor.Segmentor"]
    assert list(imports(path, root=tmp_path, at_once=True)) == first
    assert len(complaints(path.relative_to(tmp_path / "tokenseg"), found)) == 2  # of data and segmentor


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("engine/loop.py", "tokenseg.segvit.head.SegViTHead"),
        ("hosts/fcn.py", "tokenseg.segmentor.Segmentor"),
        ("segvit/head.py", "tokenseg.engine.build.build_model"),
        ("segvit/head.py", "tokenseg.ecenet.blocks.MaskBlock"),
        ("new_method/head.py", "tokenseg.segvit.head.SegViTHead"),
        ("new_method/head.py", "tokenseg.segmentor.Segmentor"),
        ("new_method/deep/er.py", "tokenseg.Predictor"),
        ("losses/mask.py", "tokenseg.data.labels.read_label"),
        ("layers/conv.py", "tokenseg.losses"),
        ("evaluation/sem_seg.py", "tokenseg.data.mapper.SemSegMapper"),
        ("contracts.py", "tokenseg.layers.conv"),
        ("commands/demo.py", "tools.demo"),
        ("new_file.py", "torch"),
    ],
)
def test_wrong_imports_are_caught(place, name):
    (complaint,) = complaints(PurePath(place), [name])
    assert place.split("/")[0] in complaint


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("new_method/head.py", "tokenseg.losses.mask.MaskLoss"),
        ("new_method/head.py", "tokenseg.new_method.blocks.Block"),
        ("new_method/head.py", "tokenseg.contracts"),
        ("new_method/head.py", "detectron2.layers.Conv2d"),
        ("engine/loop.py", "tokenseg.inference.policy"),
        ("commands/demo.py", "tokenseg.segvit.head"),
    ],
)
def test_right_imports_are_not(place, name):
    assert complaints(PurePath(place), [name]) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    assert complaints(path.relative_to(PACKAGE), imports(path)) == []


def test_no_module_imports_itself_in_the_end():
    modules = {".".join(path.relative_to(PROJECTS).with_suffix("").parts): path for path in FILES}
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    graph = {}
    for module, path in modules.items():
        parts = (name if name in modules else name.rpartition(".")[0] for name in imports(path))
        graph[module] = {part for part in parts if part in modules}
    assert "tokenseg.segmentor" in graph["tokenseg.meta_arch"]
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


def test_the_command_line_imports_nothing_heavy():
    """When they are imported, modules that read arguments only import the standard library and one another."""
    light = {*sys.stdlib_module_names, COMMAND_LINE.name}
    names = {name for path in COMMAND_LINE.rglob("*.py") for name in imports(path, at_once=True)}
    assert {name for name in names if name.partition(".")[0] not in light} == set()


def test_matplotlib_is_imported_where_a_picture_is_drawn():
    """The import takes half a second, for which no training should have to wait."""
    draws = {"matplotlib", "detectron2.utils.visualizer", "detectron2.utils.video_visualizer"}
    files = [path for path in FILES if any(word in path.read_text() for word in ("matplotlib", "visualizer"))]
    found = [(str(path), name) for path in files for name in imports(path, at_once=True)]
    assert files and [(path, name) for path, name in found if any(_lies_in(name, part) for part in draws)] == []


def test_files_have_names_of_their_own():
    """Only methods may share file names, since they have the same structure: head.py, blocks.py or convert.py."""
    places = defaultdict(set)
    for path in FILES:
        room = path.relative_to(PACKAGE).parts[0]
        if path.name != "__init__.py":
            places[path.name].add(room if room in ROOMS else "a method")
    assert {name: rooms for name, rooms in places.items() if len(rooms) > 1} == {}


def test_files_of_tests_are_short():
    files = Path(__file__).parent.rglob("*.py")
    assert [str(path) for path in files if len(path.read_text().splitlines()) > 400] == []


def test_functions_and_classes_have_names_of_their_own():
    """Only commands may share names, since each of them has a `main`."""
    places = defaultdict(list)
    for path in FILES:
        if path.relative_to(PACKAGE).parts[0] != "commands":
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
                    places[node.name].append(str(path.relative_to(PACKAGE)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_progress_bars_are_for_terminals():
    """In a log, a bar would be a line for every step. With `disable=None` tqdm shows bars only on terminals."""
    nodes = [(path, node) for path in FILES for node in ast.walk(ast.parse(path.read_text()))]
    calls = [(path, node) for path, node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "tqdm"]
    assert calls and [str(path) for path, call in calls if "disable=None" not in ast.unparse(call)] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_are_short_and_silent(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    nodes = list(ast.walk(ast.parse(text)))
    functions = [node for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    assert [node.name for node in functions if node.end_lineno - node.lineno >= 60] == []
    calls = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    talks = path.relative_to(PACKAGE).parts[0] == "commands"  # commands print their results for the user
    assert talks or [call.lineno for call in calls if call.func.id == "print"] == []
