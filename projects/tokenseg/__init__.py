"""TokenSeg: token-based semantic segmentation on Detectron2.

Importing the package registers the data sets, heads and meta-architectures with Detectron2 and loads no data.

Letters in all docstrings: N images, K classes, C channels, H x W a map's height and width, h x w an image's, in pixels.
"""

import importlib.util
import warnings

if importlib.util.find_spec("detectron2") is None:
    raise ImportError(
        "tokenseg needs Detectron2, which is not on PyPI under that name: run tools/install_detectron2.py of the "
        "TokenSeg checkout, or follow https://detectron2.readthedocs.io/tutorials/install.html"
    )
# While they are imported, Detectron2 and fvcore call torch.jit.script, which is deprecated. No user can change that.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    import detectron2.modeling  # noqa: F401

from . import meta_arch
from .backbone_file import load_backbone, save_backbone
from .config.shipped import list_models
from .datasets import builtin, folders
from .deployment.exported_predictor import ExportedPredictor
from .ecenet.head import ECENetHead
from .hosts.fcn import FCNHead
from .hosts.mask2former import Mask2FormerHead
from .hosts.mask_former import MaskFormerHead
from .hosts.per_pixel import PerPixelHead
from .hosts.uper_net import UperNetHead
from .hub import load
from .predictor import Predictor
from .segvit.head import SegViTHead
from .structtoken.head import StructTokenHead

__all__ = [
    "ECENetHead",
    "ExportedPredictor",
    "FCNHead",
    "Mask2FormerHead",
    "MaskFormerHead",
    "PerPixelHead",
    "Predictor",
    "SegViTHead",
    "StructTokenHead",
    "UperNetHead",
    "builtin",
    "folders",
    "list_models",
    "load",
    "load_backbone",
    "meta_arch",
    "save_backbone",
]
__version__ = "0.1.0"
