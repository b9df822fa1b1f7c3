"""Unpacks and checks Detectron2's source archives, and changes them into the sources of the wheel."""

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
# The projects that belong to the package, and the folders into which upstream's setup.py copies them.
PROJECTS = {
    "projects/PointRend/point_rend": "detectron2/projects/point_rend",
    "projects/DeepLab/deeplab": "detectron2/projects/deeplab",
    "projects/Panoptic-DeepLab/panoptic_deeplab": "detectron2/projects/panoptic_deeplab",
}
# The sums of those files of the release that SUBSTITUTIONS changes, as sha256sum writes them.
SUMS = Path(__file__).with_name("v0.5.sha256")
# The wheel is built from these; everything else in an archive, such as tests and C++ sources, is removed.
KEPT = {"detectron2", "LICENSE", "README.md"}
EXPECTED_CONFIGS = {".py": 34, ".yaml": 92}


class InstallError(Exception):
    """A requirement of this script is not met. The message says what was found and what was wanted."""


@dataclasses.dataclass(frozen=True)
class Substitution:
    """One change to Detectron2's sources.

    Attributes:
        files: The glob pattern of the files to search, relative to the root of the sources.
        count: The number of matches that there must be in all files together.
        pattern: The regular expression, which is matched with ``re.MULTILINE``.
        replacement: The replacement of a match, with the back references of ``re.sub``.
    """

    files: str
    count: int
    pattern: str
    replacement: str


# If you change this table, increase WHEEL_VERSION, so that existing environments are updated.
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
    # Since Python 3.11, random.sample does not accept a set, with which MapDataset replaces samples that its function
    # rejects.
    Substitution(
        "detectron2/data/common.py", 1, r"\.sample\((self\._fallback_candidates), k=1\)", r".sample(sorted(\1), k=1)"
    ),
    # Since torch 2.0, the built-in schedulers derive from LRScheduler instead of _LRScheduler, so hooks.LRScheduler
    # would neither save nor restore their state.
    Substitution("**/*.py", 9, r"\blr_scheduler\._LRScheduler\b", "lr_scheduler.LRScheduler"),
    # The wheel has no compiled extension.
    Substitution(
        "**/*.py",
        4,
        r"^from detectron2 import _C$",
        "try:\n    from detectron2 import _C\nexcept ImportError:\n    _C = None",
    ),
    # The fast COCO evaluation needs the compiled extension.
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
    # torch no longer includes Caffe2, and onnx may not be installed.
    Substitution(
        "detectron2/export/__init__.py",
        1,
        r"^from \.api import \*$",
        "try:\n    from .api import *\nexcept ImportError:\n    pass",
    ),
    # launch() also works without CUDA, with gloo. With CUDA, each process selects its GPU before the first barrier
    # instead of after it, since the barrier of current torch versions runs on the current device.
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
    """Apply the substitutions, one after the other, to the files under ``root``.

    Returns:
        The files that were changed.

    Raises:
        InstallError: The number of matches of a substitution differs from its ``count``. This substitution is then not
            written.
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
    """Raise ``InstallError`` unless the file's SHA-256, in hexadecimal, is the wanted one."""
    got = hashlib.sha256(path.read_bytes()).hexdigest()
    if got != wanted:
        raise InstallError(f"{path.name}: its SHA-256 is {got}, wanted {wanted}")


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a .tar.gz or a .zip into the new folder ``folder``.

    Returns:
        The root of the unpacked sources.

    Raises:
        InstallError: The file is not such an archive, or does not contain one folder with a package ``detectron2``.
    """
    if not archive.is_file():
        raise InstallError(f"{archive} does not exist; wanted Detectron2's source archive, a .tar.gz or a .zip")
    folder.mkdir()
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                file.extractall(folder)
        else:
            with tarfile.open(archive) as file:
                file.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.0 to 3.11.3 lack it
                file.extractall(folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InstallError(f"{archive} cannot be unpacked ({reason}); wanted a .tar.gz or a .zip") from error
    roots = [path for path in folder.iterdir() if (path / "detectron2" / "__init__.py").is_file()]
    if len(roots) != 1:
        raise InstallError(f"{archive.name} has no folder with a package detectron2; wanted the sources of v0.5")
    return roots[0]


def check_files(root: Path, sums: str) -> set[Path]:
    """Compare files with their SHA-256 sums.

    Args:
        root: The folder to which the file names are relative.
        sums: The sums and file names, as sha256sum writes them.

    Returns:
        The files that were compared.

    Raises:
        InstallError: Files are missing or differ. The message names all of them.
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
    """Arrange unpacked sources, PyPI's or Detectron2's own, in the layout of the wheel, and remove all other files.

    Raises:
        InstallError: The sources are not the expected ones.
    """
    configs = root / "detectron2" / "model_zoo" / "configs"
    if not configs.exists() and (root / "configs").is_dir():  # upstream's setup.py puts them there
        shutil.move(root / "configs", configs)
    for suffix, wanted in EXPECTED_CONFIGS.items():
        got = len(list(configs.rglob(f"*{suffix}")))
        if got != wanted:
            raise InstallError(f"detectron2/model_zoo/configs has {got} {suffix} files, wanted {wanted}")
    for source, target in PROJECTS.items():
        shutil.move(root / source, root / target)
    for path in root.iterdir():
        if path.name not in KEPT:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def adapt_source(root: Path) -> int:
    """Change the unpacked sources in place into those of the wheel.

    Returns:
        The number of changed files.

    Raises:
        InstallError: The sources are not the expected ones.
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
