"""The methods' meta-architectures, registered with Detectron2: the segmentor with the parts that a method demands."""

from typing import ClassVar

from detectron2.modeling import META_ARCH_REGISTRY

from .ecenet.head import ECENetHead
from .inspection import RegionSegmentor
from .segmentor import Segmentor
from .segvit.head import SegViTHead
from .sgr.plug import ReasoningBackbone
from .structtoken.head import StructTokenHead

META_ARCH_REGISTRY.register(Segmentor)
META_ARCH_REGISTRY.register(RegionSegmentor)


@META_ARCH_REGISTRY.register()
class StructToken(Segmentor):
    """Structure tokens, one per class, become the masks."""

    wanted_parts: ClassVar = {"sem_seg_head": StructTokenHead}


@META_ARCH_REGISTRY.register()
class ECENet(Segmentor):
    """Class embeddings are taken from masks and refined stage by stage."""

    wanted_parts: ClassVar = {"sem_seg_head": ECENetHead}


@META_ARCH_REGISTRY.register()
class SegViT(Segmentor):
    """The attention of class tokens to the features becomes the masks."""

    wanted_parts: ClassVar = {"sem_seg_head": SegViTHead}


@META_ARCH_REGISTRY.register()
class SGR(RegionSegmentor):
    """Tokens of concept regions reason behind the backbone, and a `RegionLoss` makes them semantic."""

    wanted_parts: ClassVar = {"backbone": ReasoningBackbone}
