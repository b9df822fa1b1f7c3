"""Writing a traced model to a file, and running that file: ONNX with onnxruntime, or torch's own format."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch.export import ExportedProgram

from .file_facts import FileFacts
from .tracing import INPUT

# A function from images (N, C, h, w) float32 to class ids or scores.
RunFile = Callable[[np.ndarray], np.ndarray]
# The key of the facts in the metadata of an ONNX file, and the name of the extra file with the facts in a torch file.
_FACTS_KEY, _FACTS_FILE = "tokenseg", "tokenseg.json"


def write_file(program: ExportedProgram, path: Path, *, facts: FileFacts) -> None:
    """Write a traced model to a file, in the format of its suffix.

    An ONNX file cannot hold more than 2 GB. Larger weights are written next to it, to a file with the suffix `.data`.

    Args:
        program: The traced model, from `trace`.
        path: The path of the file, which ends in `.onnx` or `.pt2`.
        facts: The facts to store in the file.

    Raises:
        ValueError: The packages that write ONNX files are not installed, or torch cannot write a `.pt2` of the model
            for images of any size.
    """
    with _quiet():
        if path.suffix == ".onnx":
            _write_onnx(program, path, facts)
        else:
            _write_torch(program, path, facts)


def open_file(path: Path, *, allow_pickle: bool = False) -> tuple[RunFile, FileFacts]:
    """Load an exported file.

    Args:
        path: The path of the file, which ends in `.onnx` or `.pt2`.
        allow_pickle: Whether a `.pt2` may be read. `torch.export.load` unpickles parts of it, which can run any code.

    Returns:
        A function that runs the file, and the facts stored in it.

    Raises:
        ValueError: The file does not exist, was not written by `write_file` or may not be read, or the package that
            runs it is missing.
    """
    if not path.is_file():
        raise ValueError(f"'{path}' does not exist; wanted a file that tools/export.py has written")
    if path.suffix == ".onnx":
        return _open_onnx(path)
    if not allow_pickle:
        raise ValueError(f"'{path}' is not an ONNX file, and reading it can run any code; wanted allow_pickle=True")
    return _open_torch(path)


def _write_onnx(program: ExportedProgram, path: Path, facts: FileFacts) -> None:
    for package in ("onnx", "onnxscript"):
        _optional(package)
    exported = torch.onnx.export(
        program, dynamo=True, input_names=[INPUT], output_names=[facts.output_kind], verbose=False, optimize=False
    )
    assert exported is not None  # for the type checker: the dynamo exporter always returns a program
    exported.model.metadata_props[_FACTS_KEY] = facts.to_json()
    exported.save(str(path))


def _write_torch(program: ExportedProgram, path: Path, facts: FileFacts) -> None:
    try:
        torch.export.save(program, path, extra_files={_FACTS_FILE: facts.to_json()})
    except Exception as error:  # torch.export raises errors of many types
        if facts.size or isinstance(error, OSError):
            raise
        # torch supports fewer operations on sizes when it writes a program than when it traces one. The further lines
        # of the error are a traceback.
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"torch traced the model for images of any size, but cannot write it to a {path.suffix} file ({reason}); "
            "wanted --size H W instead of --dynamic-size, or --format onnx"
        ) from error


def _open_onnx(path: Path) -> tuple[RunFile, FileFacts]:
    onnxruntime = _optional("onnxruntime")
    try:
        session = onnxruntime.InferenceSession(str(path), providers=onnxruntime.get_available_providers())
    except Exception as error:  # onnxruntime's errors have no common base class
        raise ValueError(f"onnxruntime cannot read '{path}': {error}") from error
    facts = FileFacts.from_json(session.get_modelmeta().custom_metadata_map.get(_FACTS_KEY), path=str(path))
    return lambda images: session.run(None, {INPUT: images})[0], facts


def _open_torch(path: Path) -> tuple[RunFile, FileFacts]:
    extra = {_FACTS_FILE: ""}
    with _quiet():
        model = torch.export.load(path, extra_files=extra).module()
    facts = FileFacts.from_json(extra[_FACTS_FILE], path=str(path))

    def run_program(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(torch.from_numpy(images)).numpy()

    return run_program, facts


def _optional(package: str) -> ModuleType:
    try:
        return __import__(package)
    except ImportError as error:
        raise ValueError(
            f"ONNX files need the package {package} ({error}); install it with: pip install 'tokenseg[export]'"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the exporters' warnings, which are about their own internals."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
