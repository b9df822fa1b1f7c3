"""The last stage of a timm ResNet as the per-region network of C4 detectors."""

from collections.abc import Mapping
from typing import Any

import torch
from timm.models.resnet import ResNet
from torch import Tensor, nn

from .norm import convert_batch_norm
from .timm_models import create, plain
from .weights import StartingWeights, note_checkpoint


class RegionStage(nn.Module):
    """The stage res5 of a timm ResNet, as the argument `res5` of Detectron2's Res5ROIHeads.

    The backbone is a `TimmPyramid` that ends with res4. Both start from the weights of the same pretrained model.
    """

    def __init__(
        self,
        *,
        model_name: str,
        norm: str = "FrozenBN",
        pretrained: bool = True,
        weights_file: str = "",
        timm_args: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            model_name: The name of the backbone's ResNet in timm, with the tag of its pretrained weights.
            norm: The kind of batch norm: `BN`, `SyncBN` or `FrozenBN`.
            pretrained: Whether a new training starts from timm's weights on the hub; see `load_pretrained`.
            weights_file: A file of weights to start from instead: .safetensors or .pth.
            timm_args: Extra keyword arguments for `timm.create_model`, equal to those of the backbone.

        Raises:
            ValueError: The model is unknown or not a ResNet, or the norm is unknown.
        """
        super().__init__()
        self._timm_args = {"model_name": model_name, "num_classes": 0, **plain(timm_args)}
        self.pretrained = pretrained or bool(weights_file)
        self.starting_weights = StartingWeights(timm_args=self._timm_args, weights_file=weights_file)
        self.register_load_state_dict_pre_hook(note_checkpoint)
        model = create(**self._timm_args)
        if not isinstance(model, ResNet):
            raise ValueError(f"{model_name} is a {type(model).__name__}; wanted a ResNet")
        self.stage: nn.Module = convert_batch_norm(model.get_submodule("layer4"), norm)

    def load_pretrained(self) -> None:
        """Load pretrained weights; called when a new training starts.

        Raises:
            ValueError: See `load_timm_weights`.
        """
        whole = create(**self._timm_args)
        self.starting_weights.load(whole)
        self.stage.load_state_dict(whole.layer4.state_dict())

    def forward(self, regions: Tensor) -> Tensor:
        """
        Args:
            regions: The regions (R, C, H, W), which are cut out of res4.

        Returns:
            The features (R, 2C, H / 2, W / 2) of the regions, with sizes rounded up.

        Raises:
            ValueError: Training starts from random instead of pretrained weights.
        """
        if self.pretrained and self.training and torch.is_grad_enabled():
            self.starting_weights.check()
        return self.stage(regions)
