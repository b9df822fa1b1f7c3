"""Freezing of the first stages of a pretrained backbone during fine-tuning."""

from timm.layers import freeze_batch_norm_2d
from timm.models import group_parameters
from torch import nn

from .timm_models import TimmModel

# The stem, and the stages res2 to res5.
_PARTS = 5


def freeze_first_parts(model: TimmModel, count: int, *, pretrained: bool) -> None:
    """Freeze the stem and the first stages of a hierarchical timm model, like `freeze_at` of Detectron2's ResNet.

    Their parameters get no gradients, and their batch norms keep their statistics. timm's own grouping of parameters
    determines which parameter belongs to which part.

    Args:
        model: The timm model, which is modified in place. The names and values of its weights are kept.
        count: The number of frozen parts: 0 for none, 1 for the stem, 2 for the stem and res2, and so on up to 5.
        pretrained: Whether the model starts from pretrained weights.

    Raises:
        ValueError: The count is out of range, or the frozen parts would keep their random weights.
    """
    if not 0 <= count <= _PARTS:
        raise ValueError(f"freeze_at is {count}; wanted 0 (none), 1 (the stem), 2 (and res2), up to {_PARTS}")
    if count and not pretrained:
        raise ValueError(
            f"freeze_at is {count}, but pretrained is false: the frozen parts would stay random; wanted freeze_at=0 or "
            "pretrained=true (which also accepts a checkpoint that is loaded before the first step)"
        )
    places = group_parameters(model, model.group_matcher(coarse=True), reverse=True)
    frozen = {name for name, place in places.items() if place < count}
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.modules.batchnorm._NormBase) and f"{path}.weight" in frozen:
            parent, _, name = path.rpartition(".")
            model.get_submodule(parent).add_module(name, freeze_batch_norm_2d(module))
