#!/usr/bin/env python3
"""Install Detectron2 0.5 on current Python, NumPy, Pillow and PyTorch.

PyPI has no project named ``detectron2``. The source archive ``detectron2-cdo`` 0.5 there holds the Python files of
Facebook AI Research's Detectron2 v0.5, without its C++ and CUDA sources. That code belongs to its authors and is under
the Apache License 2.0; its licence travels inside the wheel built here, and every file changed here says so on its last
line. This script fetches the archive with pip, or takes Detectron2's own source archive of v0.5, compares the files
that it changes with the SHA-256 sums of the release (``detectron2_0.5.sha256``), applies the substitutions listed in
``SUBSTITUTIONS`` (each with the exact number of places it must find), builds a wheel named ``detectron2`` and installs
it with pip. It stops at the first thing that differs from what it expects.

Run it with the Python of the environment that is to have Detectron2; torch and torchvision must be there already::

    python tools/install_detectron2.py                    # install
    python tools/install_detectron2.py --skip-if-present  # leave a Detectron2 that is there alone, exit code 0
    python tools/install_detectron2.py --wheel-dir DIR    # only build the wheel, into DIR
    python tools/install_detectron2.py --source FILE      # from https://github.com/facebookresearch/detectron2, v0.5

What 0.5 without compiled code cannot do: rotated boxes, modulated deformable convolution on the CPU, the fast COCO
evaluation (pycocotools' own is used instead) and the Caffe2 export. A later installation of upstream's ``detectron2``
replaces this one like any other version.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

SOURCE = "detectron2-cdo"
SOURCE_VERSION = "0.5"
SHA256 = "53c9e79e9cc943e80419c588ea44b5479507a8628ed14a4e06bd093e29311b18"
OWN_VERSION = "0.5+py"
WHEEL_VERSION = OWN_VERSION + "1"
# pip 26.3 and newer refuse the archive's metadata; both are fixed so that the build stays the same.
BUILD_TOOLS = ("pip==25.3", "setuptools==80.9.0")
MARK = "# Changed by TokenSeg's tools/install_detectron2.py.\n"
# Where upstream's setup.py puts the projects that belong to the package.
PROJECTS = {
    "projects/PointRend/point_rend": "detectron2/projects/point_rend",
    "projects/DeepLab/deeplab": "detectron2/projects/deeplab",
    "projects/Panoptic-DeepLab/panoptic_deeplab": "detectron2/projects/panoptic_deeplab",
}
# Lines of sha256sum: the files of the release that SUBSTITUTIONS changes.
SUMS = Path(__file__).with_name("detectron2_0.5.sha256")
# What the wheel is built from; all else in an archive, such as tests and C++ sources, is removed.
KEPT = {"detectron2", "LICENSE", "README.md"}
EXPECTED_CONFIGS = {".py": 34, ".yaml": 92}
# torch and torchvision are not listed, as upstream does not: which build fits is the user's choice.
DEPENDENCIES = """
    Pillow>=7.1 matplotlib pycocotools>=2.0.2 termcolor>=1.1 yacs>=0.1.8 tabulate cloudpickle tqdm>4.29.0 tensorboard
    fvcore>=0.1.5 iopath>=0.1.9 omegaconf>=2.1,<2.4 hydra-core>=1.1 black packaging
"""
# What the last step imports. Left out is what needs cv2 or panopticapi: Detectron2 does not depend on them.
SMOKE_MODULES = """
    checkpoint config data engine evaluation export layers model_zoo modeling projects.deeplab solver structures
    utils.events
"""


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


def say(text: str) -> None:
    """Print at once, so that the line keeps its place among those of pip."""
    print(text, flush=True)


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


def installed_detectron2() -> str | None:
    """Return where a Detectron2 stands that this Python would import, with its version if known; None if there is none.

    Two things do not count, and installing again replaces them: what an earlier form of this script installed, and a
    package folder in this environment without metadata, which is what an interrupted installation leaves.
    """
    try:
        distribution = importlib.metadata.distribution("detectron2")
    except importlib.metadata.PackageNotFoundError:
        pass
    else:
        version = distribution.version
        if version.startswith(OWN_VERSION) and version != WHEEL_VERSION:
            say(f"Detectron2 {version} is from another form of this script; replacing it by {WHEEL_VERSION}.")
            return None
        return f"{version} at {distribution.locate_file('')}"
    spec = importlib.util.find_spec("detectron2")
    if spec is None:
        return None
    folders = [Path(folder) for folder in spec.submodule_search_locations or []]
    site_packages = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    if folders and all(folder.parent in site_packages and not folder.is_symlink() for folder in folders):
        say(f"{folders[0]} is the rest of an interrupted installation; installing again.")
        return None
    return str(spec.origin or folders)


def check_torch() -> None:
    """Raise ``InstallError`` unless torch and torchvision are installed; Detectron2 needs both at import."""
    missing = [name for name in ("torch", "torchvision") if importlib.util.find_spec(name) is None]
    if missing:
        raise InstallError(
            f"{' and '.join(missing)} not found in {sys.prefix}: install torch and torchvision first, "
            "for example with 'pip install torch torchvision'"
        )


def run_pip(*arguments: str, tools: Path | None = None) -> None:
    """Run pip with this Python; with ``tools``, the pip and setuptools installed in that folder.

    Raises:
        InstallError: pip failed; what it said stands above the message.
    """
    environment = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1")
    if tools is not None:
        environment["PYTHONPATH"] = str(tools)
    command = [sys.executable, "-m", "pip", *arguments]
    code = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False).returncode
    if code:
        raise InstallError(f"'pip {arguments[0]}' failed with exit code {code}; its messages stand above")


def fetch_source(folder: Path, tools: Path) -> Path:
    """Download PyPI's archive, and let pip and ourselves check its SHA-256.

    Returns:
        The archive, in ``folder``.

    Raises:
        InstallError: pip failed, or the archive is not the one expected.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{SOURCE}=={SOURCE_VERSION} --hash=sha256:{SHA256}\n", encoding="utf-8")
    # pip prepares the metadata of what it downloads; the archive's setup.py imports torch, hence no build isolation.
    options = ("--no-deps", "--no-build-isolation", "--no-binary", SOURCE, "--require-hashes")
    run_pip("download", *options, "--dest", str(folder), "--requirement", str(requirements), tools=tools)
    archives = sorted(folder.glob("*.tar.gz"))
    if len(archives) != 1:
        raise InstallError(f"pip downloaded {[path.name for path in archives]}, wanted one .tar.gz")
    check_sha256(archives[0], SHA256)
    return archives[0]


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


def project_file() -> str:
    """Return the pyproject.toml that turns the sources into the wheel."""
    dependencies = "".join(f'    "{dependency}",\n' for dependency in DEPENDENCIES.split())
    return f"""[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "detectron2"
version = "{WHEEL_VERSION}"
description = "Detectron2 {SOURCE_VERSION} by Facebook AI Research, Python files only, adapted by TokenSeg's installer"
requires-python = ">=3.11"
license = "Apache-2.0"
license-files = ["LICENSE"]
dependencies = [
{dependencies}]

[tool.setuptools.packages.find]
include = ["detectron2*"]
exclude = ["detectron2.model_zoo.configs*"]
namespaces = false

[tool.setuptools.package-data]
"detectron2.model_zoo" = ["configs/**/*.py", "configs/**/*.yaml"]
"""


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


def adapt_source(root: Path) -> None:
    """Change the unpacked sources in place into those of the wheel.

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
    (root / "pyproject.toml").write_text(project_file(), encoding="utf-8")
    say(f"Adapted {len(changed)} files by {len(SUBSTITUTIONS)} substitutions.")


def build_wheel(folder: Path, wheel_dir: Path, source: Path | None) -> Path:
    """Fetch, adapt and build, with everything temporary in ``folder``.

    Args:
        folder: an empty folder.
        wheel_dir: the folder of the wheel.
        source: a source archive; None fetches PyPI's.

    Returns:
        The wheel, in ``wheel_dir``.

    Raises:
        InstallError: a step failed.
    """
    tools = folder / "tools"
    run_pip("install", "--quiet", "--target", str(tools), *BUILD_TOOLS)
    root = unpack(source or fetch_source(folder, tools), folder / "source")
    adapt_source(root)
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheel_dir))
    run_pip("wheel", *options, str(root), tools=tools)
    wheels = sorted(wheel_dir.glob(f"detectron2-{WHEEL_VERSION}-*.whl"))
    if len(wheels) != 1:
        raise InstallError(f"the build made {[path.name for path in wheels]} in {wheel_dir}, wanted one wheel")
    return wheels[0]


def smoke_check(folder: Path) -> None:
    """Import Detectron2's main modules in a new process, started in ``folder`` so that no checkout is in the way.

    Raises:
        InstallError: an import failed; its traceback stands above the message.
    """
    names = ", ".join(f"detectron2.{name}" for name in SMOKE_MODULES.split())
    code = f"import {names}; print('detectron2', detectron2.__version__, 'at', detectron2.__path__[0])"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-W", "ignore", "-c", code]
    if subprocess.run(command, cwd=folder, env=environment, check=False).returncode:
        raise InstallError("Detectron2 is installed but does not import; the traceback stands above")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code, 1 where something is not as needed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--skip-if-present",
        action="store_true",
        help="end with exit code 0, changing nothing, if a Detectron2 is installed",
    )
    parser.add_argument("--wheel-dir", type=Path, metavar="DIR", help="only build the wheel, into this folder")
    parser.add_argument(
        "--source", type=Path, metavar="FILE", help="Detectron2's source archive of v0.5, .tar.gz or .zip"
    )
    options = parser.parse_args(arguments)
    try:
        if options.wheel_dir is None and (present := installed_detectron2()):
            if options.skip_if_present:
                say(f"Detectron2 is there already ({present}); left as it is.")
                return 0
            raise InstallError(f"Detectron2 is there already ({present}); uninstall it first to have this one instead")
        check_torch()
        with tempfile.TemporaryDirectory(prefix="install-detectron2-") as name:
            folder = Path(name)
            wheel_dir = folder / "wheel" if options.wheel_dir is None else options.wheel_dir
            wheel = build_wheel(folder, wheel_dir, options.source)
            if options.wheel_dir is None:
                run_pip("install", str(wheel))
                smoke_check(folder)
            else:
                say(f"Built {wheel}")
    except InstallError as error:
        print(f"install_detectron2.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
