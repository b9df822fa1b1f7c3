"""The configs and tables that come with TokenSeg, and their names.

In a checkout they are in a folder beside the package; a wheel installs them inside the package.
"""

import difflib
import functools
import os
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = _PACKAGE / "configs"

CONFIGS = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parents[1] / "configs"

# Files with these names are only parts of configs.
_PARTS = {"model.py", "hosts.py"}
# The names of configs for generated data include their folder, since files such as `segvit.py` in it are miniatures.
_GENERATED = {"shape_scenes", "evidence"}


@functools.cache
def _by_name() -> dict[str, Path]:
    files = [path.relative_to(CONFIGS) for path in sorted(CONFIGS.rglob("*.py"))]
    files = [path for path in files if path.parts[0] != "common" and path.name not in _PARTS]
    named = {
        path.with_suffix("").as_posix() if path.parts[0] in _GENERATED else path.stem: CONFIGS / path for path in files
    }
    if len(named) < len(files):
        raise RuntimeError("two configs share a name")
    return named


def list_models(pattern: str = "*") -> list[str]:
    """List the names of the configs that come with TokenSeg.

    Args:
        pattern: A pattern that the names match, with the wildcards `*` and `?`, such as `segvit*`.

    Returns:
        The names, in alphabetical order. `tokenseg.load` and `--config-file` accept them.
    """
    return sorted(name for name in _by_name() if fnmatch(name, pattern))


def config_path(name: str) -> Path:
    """Find the file of a config that comes with TokenSeg.

    Args:
        name: One of the names that `list_models` returns.

    Raises:
        ValueError: There is no config of this name. The message lists similar names.
    """
    return _find(name, _by_name(), "config")


def _find(name: str, files: Mapping[str, Path], kind: str) -> Path:
    if name not in files:
        near = difflib.get_close_matches(name, files, n=3)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise ValueError(f"'{name}' is neither a file nor the name of a {kind} of TokenSeg{hint}")
    return files[name]


def config_file(path: str) -> str:
    """Return the path of a config file.

    Args:
        path: A path, which is returned unchanged, or the name of a config that comes with TokenSeg.

    Raises:
        ValueError: It is neither a file nor such a name.
    """
    return str(config_path(path)) if _is_name(path) else path


def table_file(path: Path) -> Path:
    """Return the path of a table file.

    Args:
        path: A path, which is returned unchanged, or the name of a table that comes with TokenSeg, such as `transfer`.

    Raises:
        ValueError: It is neither a file nor such a name.
    """
    if not _is_name(str(path)):
        return path
    return _find(str(path), {file.stem: file for file in sorted(CONFIGS.glob("tables/*.yaml"))}, "table")


def _is_name(path: str) -> bool:
    # Without a suffix a path that does not exist can only be a name.
    return not os.path.exists(path) and not os.path.splitext(path)[1]
