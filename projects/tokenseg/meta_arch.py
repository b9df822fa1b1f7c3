"""The meta-architectures of the methods, registered with Detectron2: segmentors that require the method's parts."""

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
    """The segmentor of StructToken, whose structure tokens, one per class, become the masks."""

    wanted_parts: ClassVar = {"sem_seg_head": StructTokenHead}


@META_ARCH_REGISTRY.register()
class ECENet(Segmentor):
    """The segmentor of ECENet, which extracts class embeddings from masks and refines them stage by stage."""

    wanted_parts: ClassVar = {"sem_seg_head": ECENetHead}


@META_ARCH_REGISTRY.register()
class SegViT(Segmentor):
    """The segmentor of SegViT, in which the attention of class tokens to the features becomes the masks."""

    wanted_parts: ClassVar = {"sem_seg_head": SegViTHead}


@META_ARCH_REGISTRY.register()
class SGR(RegionSegmentor):
    """The segmentor of SGR: a component behind the backbone reasons over the tokens of concept regions.

    A `RegionLoss` among the `extra_losses` supervises the regions.
    """

    wanted_parts: ClassVar = {"backbone": ReasoningBackbone}
