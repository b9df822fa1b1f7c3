#!/usr/bin/env python3
"""Install Detectron2 0.5 on current Python, NumPy, Pillow and PyTorch.

PyPI has no project named ``detectron2``. The source archive ``detectron2-cdo`` 0.5 there holds the Python files of
Facebook AI Research's Detectron2 v0.5, without its C++ and CUDA sources. That code belongs to its authors and is under
the Apache License 2.0; its licence travels inside the wheel built here, and every file changed here says so on its last
line. This script fetches the archive with pip, or takes Detectron2's own source archive of v0.5, compares the files
that it changes with the SHA-256 sums of the release, applies the substitutions listed in ``detectron2_release`` (each
with the exact number of places it must find), builds a wheel named ``detectron2`` and installs it with pip. It stops at
the first thing that differs from what it expects.

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
# pip 26.3 and newer refuse the archive's metadata; both are fixed so that the build stays the same.
BUILD_TOOLS = ("pip==25.3", "setuptools==80.9.0")
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


def say(text: str) -> None:
    """Print at once, so that the line keeps its place among those of pip."""
    print(text, flush=True)


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
    changed = adapt_source(root)
    (root / "pyproject.toml").write_text(project_file(), encoding="utf-8")
    say(f"Adapted {changed} files by {len(SUBSTITUTIONS)} substitutions.")
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
