"""The methods' meta-architectures, registered with Detectron2.

What sets a method apart lies in its head and its config; the segmentor is the same for all.
"""

from detectron2.modeling import META_ARCH_REGISTRY

from .segmentor import Segmentor

META_ARCH_REGISTRY.register(Segmentor)


@META_ARCH_REGISTRY.register()
class StructToken(Segmentor):
    """Segmentor with a `StructTokenHead`: structure tokens, one per class, become the masks."""


@META_ARCH_REGISTRY.register()
class ECENet(Segmentor):
    """Segmentor with an `ECENetHead`: class embeddings are taken from masks."""


@META_ARCH_REGISTRY.register()
class SegViT(Segmentor):
    """Segmentor with a `SegViTHead`: the attention of class tokens to the features becomes the masks."""


@META_ARCH_REGISTRY.register()
class SGR(Segmentor):
    """Segmentor with a `ReasoningBackbone`: tokens of concept regions, which a `RegionLoss` makes semantic, reason."""
