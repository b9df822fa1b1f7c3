"""Whole models from `transformers` with random weights, with which our models are compared, for images of one size.

They are built from configs, without network access. `transformers` is only imported when a model is built, since this
takes many seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# The published sizes of Swin-S and Swin-B; depths and num_heads are those of the four stages.
SWIN = {
    "S": {"embed_dim": 96, "depths": [2, 2, 18, 2], "num_heads": [3, 6, 12, 24], "window_size": 7},
    "B": {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32], "window_size": 12},
}


@dataclass(frozen=True, kw_only=True)
class RivalModel:
    """A model from `transformers`, and the functions that its documentation applies to inputs and outputs.

    Attributes:
        model: The model.
        ids: The function that computes class ids (N, H, W) from the model's output and the image size (H, W).
        targets: The function that computes the arguments of the model's loss from label maps (N, H, W).
        least_batch: The least number of images of a training step. A batch norm after pooling to one cell needs two.
    """

    model: nn.Module
    ids: Callable[[object, tuple[int, int]], Tensor]
    targets: Callable[[Tensor], dict]
    least_batch: int = 1

    def infer(self, images: Tensor) -> Tensor:
        """Predict the class ids (N, H, W) of images (N, 3, H, W)."""
        return self.ids(self.model(pixel_values=images), tuple(images.shape[-2:]))

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Compute the loss of images (N, 3, H, W) with label maps (N, H, W)."""
        return self.model(pixel_values=images, **self.targets(labels)).loss


def mask2former_swin_s(num_classes: int, size: int) -> RivalModel:
    """Build Mask2Former with 100 queries on Swin-S."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, Mask2FormerImageProcessor

    config = Mask2FormerConfig(backbone_config=_swin("S", size), num_labels=num_classes)
    return _mask_classifier(Mask2FormerForUniversalSegmentation(config), Mask2FormerImageProcessor())


def eomt_l(num_classes: int, size: int) -> RivalModel:
    """Build EoMT with 100 queries in the last four blocks of a ViT-L with patches of 16 pixels."""
    from transformers import EomtConfig, EomtForUniversalSegmentation, EomtImageProcessor

    config = EomtConfig(image_size=size, num_queries=100, num_labels=num_classes)
    processor = EomtImageProcessor(size={"shortest_edge": size, "longest_edge": size})
    return _mask_classifier(EomtForUniversalSegmentation(config), processor)


def uper_net_swin_b(num_classes: int, size: int) -> RivalModel:
    """Build UperNet with 512 channels on Swin-B, with its auxiliary head."""
    from transformers import UperNetConfig, UperNetForSemanticSegmentation

    swin = _swin("B", size)
    channels = 4 * swin.embed_dim
    config = UperNetConfig(backbone_config=swin, auxiliary_in_channels=channels, num_labels=num_classes)
    return RivalModel(
        model=UperNetForSemanticSegmentation(config),
        ids=lambda output, _: output.logits.argmax(dim=1),
        targets=lambda labels: {"labels": labels},
        least_batch=2,
    )


def _swin(name: str, size: int) -> object:
    from transformers import SwinConfig

    return SwinConfig(image_size=size, out_indices=[1, 2, 3, 4], **SWIN[name])


def _mask_classifier(model: nn.Module, processor: object) -> RivalModel:
    def ids(output: object, size: tuple[int, int]) -> Tensor:
        sizes = [size] * len(output.class_queries_logits)
        return torch.stack(processor.post_process_semantic_segmentation(output, target_sizes=sizes))

    return RivalModel(model=model, ids=ids, targets=mask_targets)


def mask_targets(labels: Tensor) -> dict[str, list[Tensor]]:
    """Return the arguments of a mask classifier's loss: the classes in each label map (N, H, W), and their masks."""
    classes = [label.unique() for label in labels]
    masks = [(label == own[:, None, None]).float() for label, own in zip(labels, classes, strict=True)]
    return {"mask_labels": masks, "class_labels": classes}
