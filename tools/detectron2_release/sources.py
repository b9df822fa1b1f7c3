"""Detectron2's source archives: unpacked, checked, and changed into what the wheel of install_detectron2.py holds."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shutil
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

SOURCE_VERSION = "0.5"
MARK = "# Changed by TokenSeg's tools/install_detectron2.py.\n"
# Where upstream's setup.py puts the projects that belong to the package.
PROJECTS = {
    "projects/PointRend/point_rend": "detectron2/projects/point_rend",
    "projects/DeepLab/deeplab": "detectron2/projects/deeplab",
    "projects/Panoptic-DeepLab/panoptic_deeplab": "detectron2/projects/panoptic_deeplab",
}
# Lines of sha256sum: the files of the release that SUBSTITUTIONS changes.
SUMS = Path(__file__).with_name("v0.5.sha256")
# What the wheel is built from; all else in an archive, such as tests and C++ sources, is removed.
KEPT = {"detectron2", "LICENSE", "README.md"}
EXPECTED_CONFIGS = {".py": 34, ".yaml": 92}


class InstallError(Exception):
    """Something is not as this script needs it; the message says what, and what was wanted."""


@dataclasses.dataclass(frozen=True)
class Substitution:
    """One change to Detectron2's sources.

    Args:
        files: glob, relative to the root of the sources, of the files to search.
        count: how many matches there must be in all files together.
        pattern: regular expression, matched with ``re.MULTILINE``.
        replacement: what a match becomes, with ``re.sub``'s back references.
    """

    files: str
    count: int
    pattern: str
    replacement: str


# Whoever changes this table raises WHEEL_VERSION, so that environments made before are brought up to date.
SUBSTITUTIONS = (
    # NumPy 1.24 removed its aliases of the builtin types.
    Substitution("**/*.py", 18, r"\bnp\.(bool|int|float|str)\b", r"\1"),
    # Pillow 10 removed LINEAR, an old name of BILINEAR.
    Substitution("detectron2/data/transforms/transform.py", 1, r"\bImage\.LINEAR\b", "Image.BILINEAR"),
    # setuptools 82 removed pkg_resources.
    Substitution("detectron2/model_zoo/model_zoo.py", 1, r"^import pkg_resources\n", ""),
    Substitution(
        "detectron2/model_zoo/model_zoo.py",
        1,
        r'pkg_resources\.resource_filename\(\s*"detectron2\.model_zoo", ',
        "os.path.join(\n        os.path.dirname(os.path.abspath(__file__)), ",
    ),
    # random.sample takes no set since Python 3.11: MapDataset could not replace a sample that its function refused.
    Substitution(
        "detectron2/data/common.py", 1, r"\.sample\((self\._fallback_candidates), k=1\)", r".sample(sorted(\1), k=1)"
    ),
    # Since torch 2.0 the builtin schedulers derive from LRScheduler, no longer from _LRScheduler: hooks.LRScheduler
    # neither saved nor restored their state.
    Substitution("**/*.py", 9, r"\blr_scheduler\._LRScheduler\b", "lr_scheduler.LRScheduler"),
    # There is no compiled part...
    Substitution(
        "**/*.py",
        4,
        r"^from detectron2 import _C$",
        "try:\n    from detectron2 import _C\nexcept ImportError:\n    _C = None",
    ),
    # ...which the fast COCO evaluation needs.
    Substitution(
        "detectron2/evaluation/coco_evaluation.py",
        1,
        r"^from detectron2\.evaluation\.fast_eval_api import COCOeval_opt$",
        "from detectron2.evaluation.fast_eval_api import _C, COCOeval_opt",
    ),
    Substitution(
        "detectron2/evaluation/coco_evaluation.py",
        1,
        r"\bCOCOeval_opt if use_fast_impl else\b",
        "COCOeval_opt if use_fast_impl and _C is not None else",
    ),
    # torch no longer has Caffe2, and onnx may be absent.
    Substitution(
        "detectron2/export/__init__.py",
        1,
        r"^from \.api import \*$",
        "try:\n    from .api import *\nexcept ImportError:\n    pass",
    ),
    # launch() without CUDA, by gloo. With CUDA, each process takes its GPU before the first barrier instead of after
    # it: the barrier of current torch runs on the current device.
    Substitution(
        "detectron2/engine/launch.py",
        1,
        r"^    assert torch\.cuda\.is_available\(\), .*$",
        "    has_gpu = torch.cuda.is_available()\n"
        "    if has_gpu:\n"
        "        assert num_gpus_per_machine <= torch.cuda.device_count()\n"
        "        torch.cuda.set_device(local_rank)",
    ),
    Substitution("detectron2/engine/launch.py", 1, r'backend="NCCL"', 'backend="NCCL" if has_gpu else "GLOO"'),
    Substitution(
        "detectron2/engine/launch.py",
        1,
        r"^    assert num_gpus_per_machine <= .*\n    torch\.cuda\.set_device\(local_rank\)\n\n",
        "",
    ),
)


def apply_substitutions(root: Path, substitutions: Iterable[Substitution]) -> set[Path]:
    """Apply each substitution in turn to the files under ``root``.

    Returns:
        The files that were changed.

    Raises:
        InstallError: a substitution matched another number of times than it states; nothing of it is written.
    """
    changed = set()
    for substitution in substitutions:
        pattern = re.compile(substitution.pattern, re.MULTILINE)
        texts, found = {}, {}
        for path in sorted(root.glob(substitution.files)):
            text, count = pattern.subn(substitution.replacement, path.read_text(encoding="utf-8"))
            if count:
                texts[path], found[path] = text, count
        total = sum(found.values())
        if total != substitution.count:
            where = ", ".join(f"{path.relative_to(root)}: {count}" for path, count in found.items()) or "none"
            raise InstallError(
                f"{substitution.files}: pattern {substitution.pattern!r} matched {total} times ({where}), "
                f"wanted {substitution.count}"
            )
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
        changed |= texts.keys()
    return changed


def check_sha256(path: Path, wanted: str) -> None:
    """Raise ``InstallError`` unless the file's SHA-256 is the wanted one (in hexadecimal)."""
    got = hashlib.sha256(path.read_bytes()).hexdigest()
    if got != wanted:
        raise InstallError(f"{path.name}: its SHA-256 is {got}, wanted {wanted}")


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a .tar.gz or a .zip into the new folder ``folder``.

    Returns:
        The root of the unpacked sources.

    Raises:
        InstallError: the file is no such archive, or does not hold one folder with a package ``detectron2``.
    """
    if not archive.is_file():
        raise InstallError(f"{archive} is not there; wanted Detectron2's source archive, a .tar.gz or a .zip")
    folder.mkdir()
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                file.extractall(folder)
        else:
            with tarfile.open(archive) as file:
                file.extraction_filter = getattr(tarfile, "data_filter", None)  # not in Python 3.11.0 to 3.11.3
                file.extractall(folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InstallError(f"{archive} cannot be unpacked ({reason}); wanted a .tar.gz or a .zip") from error
    roots = [path for path in folder.iterdir() if (path / "detectron2" / "__init__.py").is_file()]
    if len(roots) != 1:
        raise InstallError(
            f"{archive.name} holds no folder with a package detectron2 in it; wanted the sources of v0.5"
        )
    return roots[0]


def check_files(root: Path, sums: str) -> set[Path]:
    """Compare files with their SHA-256 sums.

    Args:
        root: the folder that the names are relative to.
        sums: lines as sha256sum writes them.

    Returns:
        The files.

    Raises:
        InstallError: files are missing or differ; all of them are named.
    """
    wanted = {root / name: digest for digest, name in (line.split() for line in sums.splitlines())}
    missing = [path for path in wanted if not path.is_file()]
    differ = [
        path
        for path, digest in wanted.items()
        if path not in missing and hashlib.sha256(path.read_bytes()).hexdigest() != digest
    ]
    for paths, what in ((missing, "missing"), (differ, f"not those of Detectron2 v{SOURCE_VERSION}")):
        if paths:
            names = ", ".join(str(path.relative_to(root)) for path in paths)
            raise InstallError(f"files of the sources are {what}: {names}; wanted the unchanged release")
    return set(wanted)


def arrange(root: Path) -> None:
    """Bring unpacked sources, PyPI's or Detectron2's own, into the layout of the wheel, and remove what is not in it.

    Raises:
        InstallError: the sources are not the ones expected.
    """
    configs = root / "detectron2" / "model_zoo" / "configs"
    if not configs.exists() and (root / "configs").is_dir():  # upstream's setup.py puts them there
        shutil.move(root / "configs", configs)
    for suffix, wanted in EXPECTED_CONFIGS.items():
        got = len(list(configs.rglob(f"*{suffix}")))
        if got != wanted:
            raise InstallError(f"detectron2/model_zoo/configs holds {got} {suffix} files, wanted {wanted}")
    for source, target in PROJECTS.items():
        shutil.move(root / source, root / target)
    for path in root.iterdir():
        if path.name not in KEPT:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def adapt_source(root: Path) -> int:
    """Change the unpacked sources in place into those of the wheel.

    Returns:
        How many files were changed.

    Raises:
        InstallError: the sources are not the ones expected.
    """
    arrange(root)
    wanted = check_files(root, SUMS.read_text(encoding="utf-8"))
    changed = apply_substitutions(root, SUBSTITUTIONS)
    if changed != wanted:
        names = ", ".join(sorted(str(path.relative_to(root)) for path in changed ^ wanted))
        raise InstallError(f"{SUMS.name} and SUBSTITUTIONS do not name the same files: {names}")
    for path in changed:
        with path.open("a", encoding="utf-8") as file:
            file.write(MARK)
    return len(changed)
