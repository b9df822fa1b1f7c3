#!/usr/bin/env python3
"""Install Detectron2 0.5 on current Python, NumPy, Pillow and PyTorch.

PyPI has no project named ``detectron2``. Its source archive ``detectron2-cdo`` 0.5 contains the Python files of
Facebook AI Research's Detectron2 v0.5, without the C++ and CUDA sources. That code belongs to its authors and is
licensed under the Apache License 2.0. The wheel built here contains the licence, and every changed file says on its
last line that it was changed.

This script downloads the archive with pip, or reads Detectron2's own source archive of v0.5. It compares the files that
it will change with the SHA-256 sums of the release, applies the substitutions listed in ``detectron2_release`` (each
states the exact number of places to change), builds a wheel named ``detectron2``, and installs it with pip. It stops at
the first unexpected difference.

Run it with the Python of the environment in which Detectron2 is needed. torch and torchvision must already be
installed there::

    python tools/install_detectron2.py                    # install
    python tools/install_detectron2.py --skip-if-present  # do nothing if a Detectron2 is installed, exit code 0
    python tools/install_detectron2.py --wheel-dir DIR    # only build the wheel, into DIR
    python tools/install_detectron2.py --source FILE      # from https://github.com/facebookresearch/detectron2, v0.5

Without compiled code, version 0.5 lacks rotated boxes, modulated deformable convolution on the CPU, the fast COCO
evaluation (that of pycocotools is used instead) and the Caffe2 export. Installing upstream's ``detectron2`` later
replaces this version like any other one.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from detectron2_release.sources import SOURCE_VERSION, SUBSTITUTIONS, InstallError, adapt_source, check_sha256, unpack

SOURCE = "detectron2-cdo"
SHA256 = "53c9e79e9cc943e80419c588ea44b5479507a8628ed14a4e06bd093e29311b18"
OWN_VERSION = "0.5+py"
WHEEL_VERSION = OWN_VERSION + "1"
# pip 26.3 and newer reject the archive's metadata. Both versions are pinned so that the build is reproducible.
BUILD_TOOLS = ("pip==25.3", "setuptools==80.9.0")
# Like upstream, this does not list torch and torchvision, since users choose the build that fits their machine.
DEPENDENCIES = """
    Pillow>=7.1 matplotlib pycocotools>=2.0.2 termcolor>=1.1 yacs>=0.1.8 tabulate cloudpickle tqdm>4.29.0 tensorboard
    fvcore>=0.1.5 iopath>=0.1.9 omegaconf>=2.1,<2.4 hydra-core>=1.1 black packaging
"""
# The modules that the last step imports, without those that need cv2 or panopticapi, which Detectron2 does not require.
SMOKE_MODULES = """
    checkpoint config data engine evaluation export layers model_zoo modeling projects.deeplab solver structures
    utils.events
"""


def say(text: str) -> None:
    """Print a line without buffering, so that it appears in the right order among the lines of pip."""
    print(text, flush=True)


def installed_detectron2() -> str | None:
    """Return the location of the Detectron2 that this Python would import, with its version if known, or None.

    Two kinds of installation are treated as absent, so that this script replaces them: those of an earlier version of
    this script, and package folders without metadata in this environment, which an interrupted installation leaves.
    """
    try:
        distribution = importlib.metadata.distribution("detectron2")
    except importlib.metadata.PackageNotFoundError:
        pass
    else:
        version = distribution.version
        if version.startswith(OWN_VERSION) and version != WHEEL_VERSION:
            say(f"Detectron2 {version} is from another version of this script; replacing it by {WHEEL_VERSION}.")
            return None
        return f"{version} at {distribution.locate_file('')}"
    spec = importlib.util.find_spec("detectron2")
    if spec is None:
        return None
    folders = [Path(folder) for folder in spec.submodule_search_locations or []]
    site_packages = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    if folders and all(folder.parent in site_packages and not folder.is_symlink() for folder in folders):
        say(f"{folders[0]} is left over from an interrupted installation; installing again.")
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
        InstallError: pip failed. Its own messages appear before this one.
    """
    environment = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1")
    if tools is not None:
        environment["PYTHONPATH"] = str(tools)
    command = [sys.executable, "-m", "pip", *arguments]
    code = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False).returncode
    if code:
        raise InstallError(f"'pip {arguments[0]}' failed with exit code {code}; see its messages above")


def fetch_source(folder: Path, tools: Path) -> Path:
    """Download PyPI's archive into ``folder`` and check its SHA-256.

    Returns:
        The path of the archive.

    Raises:
        InstallError: pip failed, or the archive is not the expected one.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{SOURCE}=={SOURCE_VERSION} --hash=sha256:{SHA256}\n", encoding="utf-8")
    # Even for a download, pip runs the archive's setup.py to get metadata. It imports torch, so it needs this
    # environment instead of an isolated one.
    options = ("--no-deps", "--no-build-isolation", "--no-binary", SOURCE, "--require-hashes")
    run_pip("download", *options, "--dest", str(folder), "--requirement", str(requirements), tools=tools)
    archives = sorted(folder.glob("*.tar.gz"))
    if len(archives) != 1:
        raise InstallError(f"pip downloaded {[path.name for path in archives]}, wanted one .tar.gz")
    check_sha256(archives[0], SHA256)
    return archives[0]


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


def build_wheel(folder: Path, wheel_dir: Path, source: Path | None) -> Path:
    """Download and adapt the sources, and build the wheel.

    Args:
        folder: An empty folder for temporary files.
        wheel_dir: The folder into which the wheel is written.
        source: The path of a source archive; None to download PyPI's.

    Returns:
        The path of the wheel.

    Raises:
        InstallError: A step failed.
    """
    tools = folder / "tools"
    run_pip("install", "--quiet", "--target", str(tools), *BUILD_TOOLS)
    root = unpack(source or fetch_source(folder, tools), folder / "source")
    changed = adapt_source(root)
    (root / "pyproject.toml").write_text(project_file(), encoding="utf-8")
    say(f"Changed {changed} files by {len(SUBSTITUTIONS)} substitutions.")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheel_dir))
    run_pip("wheel", *options, str(root), tools=tools)
    wheels = sorted(wheel_dir.glob(f"detectron2-{WHEEL_VERSION}-*.whl"))
    if len(wheels) != 1:
        raise InstallError(f"the build made {[path.name for path in wheels]} in {wheel_dir}, wanted one wheel")
    return wheels[0]


def smoke_check(folder: Path) -> None:
    """Import Detectron2's main modules in a new process.

    The process runs in ``folder``, so that it cannot import a checkout of Detectron2 in the current folder.

    Raises:
        InstallError: An import failed. Its traceback appears before this message.
    """
    names = ", ".join(f"detectron2.{name}" for name in SMOKE_MODULES.split())
    code = f"import {names}; print('detectron2', detectron2.__version__, 'at', detectron2.__path__[0])"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-W", "ignore", "-c", code]
    if subprocess.run(command, cwd=folder, env=environment, check=False).returncode:
        raise InstallError("Detectron2 is installed but cannot be imported; see the traceback above")


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return the exit code, which is 1 if a requirement is not met or a step fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--skip-if-present",
        action="store_true",
        help="if a Detectron2 is installed, change nothing and return exit code 0",
    )
    parser.add_argument("--wheel-dir", type=Path, metavar="DIR", help="only build the wheel, into this folder")
    parser.add_argument(
        "--source", type=Path, metavar="FILE", help="Detectron2's source archive of v0.5, .tar.gz or .zip"
    )
    options = parser.parse_args(arguments)
    try:
        if options.wheel_dir is None and (present := installed_detectron2()):
            if options.skip_if_present:
                say(f"Detectron2 is already installed ({present}); nothing was changed.")
                return 0
            raise InstallError(f"Detectron2 is already installed ({present}); uninstall it first to replace it")
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
