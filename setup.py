"""Packaging of TokenSeg.

Detectron2 is not among the requirements: PyPI has no project of that name. ``tools/install_detectron2.py`` installs it.
"""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

CONFIGS = Path(__file__).parent / "configs"
INIT = Path(__file__).parent / "projects" / "tokenseg" / "__init__.py"
# The packages that write and run ONNX files.
EXPORT = ["onnx>=1.18", "onnxruntime>=1.20", "onnxscript>=0.5"]


class BuildWithConfigs(build_py):
    """Copies the configs into the wheel; an editable installation reads them from the checkout instead."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            shutil.copytree(
                CONFIGS,
                Path(self.build_lib, "tokenseg", "configs"),
                ignore=shutil.ignore_patterns("__pycache__"),
                dirs_exist_ok=True,
            )


setup(
    name="tokenseg",
    version=re.search(r'^__version__ = "(.+)"$', INIT.read_text(encoding="utf-8"), re.MULTILINE).group(1),
    description="Token-based semantic segmentation on Detectron2: StructToken, SegViT, ECENet and SGR",
    license="Apache-2.0",
    license_files=["LICENSE"],
    package_dir={"": "projects"},
    packages=find_packages(where="projects"),
    package_data={"tokenseg": ["**/*.csv", "**/*.txt", "report/page.*"]},
    cmdclass={"build_py": BuildWithConfigs},
    entry_points={"console_scripts": ["tokenseg = tokenseg_cli.__main__:main"]},
    python_requires=">=3.11",
    install_requires=[
        "torch>=2.8",
        "torchvision",
        "timm>=1.0.31",
        "filelock>=3.12",
        "fvcore>=0.1.5",
        "huggingface-hub>=0.23",
        "hydra-core>=1.3",
        "jinja2>=3.1",
        "numpy>=1.26",
        "omegaconf>=2.3,<2.4",
        # Not opencv-python, which needs the system's libGL and libxcb; servers often do not have them.
        "opencv-python-headless>=4.8",
        "Pillow>=10",
        "pycocotools>=2.0.7",
        "safetensors>=0.4",
        "scipy>=1.11.2",
        "tabulate>=0.9",
        "tensorboard>=2.15",
        # Reads TIFFs with any number of bands and any depth, unlike Pillow and OpenCV; LZW and JPEG need imagecodecs.
        "tifffile>=2023.8.12",
        "tqdm>=4.66",
    ],
    # ruff and mypy are pinned, since formatting and findings change between minor versions. Tests compare some heads
    # with those of transformers.
    extras_require={
        "dev": ["mypy==2.4.*", "pytest>=8", "pytest-timeout>=2.3.1", "ruff==0.17.*", "transformers==5.*", *EXPORT],
        "export": EXPORT,
        "wandb": ["wandb>=0.19"],
        # For the page of `demo --web`; playwright controls the browser of `make test-web`.
        "web": ["gradio>=6.31,<7", "playwright>=1.49"],
        # For the site that `make docs` builds; mkdocs 2 supports neither hooks nor this theme.
        "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.5,<10"],
        "cityscapes": ["cityscapesscripts>=2.2"],
        "tiff": ["imagecodecs"],
    },
)
