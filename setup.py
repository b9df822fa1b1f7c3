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
# What writes ONNX files and what runs them.
EXPORT = ["onnx>=1.18", "onnxruntime>=1.20", "onnxscript>=0.5"]


class BuildWithConfigs(build_py):
    """Copies the configs into a wheel, where the package looks for them; an editable installation reads those here."""

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
        "torch>=2.11",
        "torchvision",
        "timm>=1.0.31",
        "filelock>=3.12",
        "fvcore>=0.1.5",
        "huggingface-hub>=0.23",
        "hydra-core>=1.3",
        "jinja2>=3.1",
        "numpy>=1.26",
        "omegaconf>=2.3,<2.4",
        # Not opencv-python: that one needs the system's libGL and libxcb, which a server often lacks.
        "opencv-python-headless>=4.8",
        "Pillow>=10",
        "pycocotools>=2.0.7",
        "safetensors>=0.4",
        "scipy>=1.11.2",
        "tabulate>=0.9",
        "tensorboard>=2.15",
        # Reads TIFFs of any bands and depth, as Pillow and OpenCV do not; with LZW or JPEG it wants imagecodecs too.
        "tifffile>=2023.8.12",
        "tqdm>=4.66",
    ],
    # ruff's formatting and mypy's findings change between minor versions. Some heads are compared with those of
    # transformers.
    extras_require={
        "dev": ["mypy==2.4.*", "pytest>=8", "pytest-timeout>=2.3.1", "ruff==0.17.*", "transformers==5.*", *EXPORT],
        "export": EXPORT,
        "wandb": ["wandb>=0.19"],
        # the page of `demo --web`; playwright drives a browser in `make test-web`
        "web": ["gradio>=6.31,<7", "playwright>=1.49"],
        # the site that `make docs` builds; mkdocs 2 has no hooks and no themes such as this one
        "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.5,<10"],
        "cityscapes": ["cityscapesscripts>=2.2"],
        "tiff": ["imagecodecs"],
    },
)
