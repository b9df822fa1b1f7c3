"""ECENet's head: class embeddings are extracted from masks and refined stage by stage.

Paper: Boosting Semantic Segmentation from the Perspective of Explicit Class Embeddings, "ECENet" (ICCV 2023), section 3
and Fig. 3. DIFFERENCES.md beside this file lists what the paper leaves open. Letters: N images, K classes, D channels
of all maps and embeddings, H x W the map of the finest stage. Stages are counted from 1, the finest.
"""

import copy
import functools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from ..backbones.norm import convert_batch_norm
from ..contracts import Counts, Targets, given
from ..d2_compat import refuse_yacs
from ..layers.feature_maps import select_maps
from ..layers.memory_order import channels_last
from ..layers.point_conv import PointConv2d
from ..layers.resize import resize
from ..layers.single_precision import at_least_single
from ..losses.counts import divide
from ..losses.mask import MaskLoss, MaskPrediction
from ..losses.pixel import count_pixels, pixel_cross_entropy
from .blocks import NORM_EPS, ClassConfidence, FirstMask, JointConvolution, combined_prediction, ghost_upscales
from .readings import read
from .reconstruction import diversity_loss


class Decoded(NamedTuple):
    """The outputs of `ECENetHead.decode`."""

    scores: Tensor  # (N, K, H, W)
    masks: list[Tensor]  # (N, K, H_i, W_i) of every stage, the coarsest first, before any activation
    supervised_masks: Tensor  # (N, K, H, W): their sum without the finest stage's, which the mask losses see
    summed_masks: Tensor  # (N, K, H, W): their sum
    diverse: list[Tensor]  # (N, C_i / 2, H_i, W_i) of every stage, the finest first; empty without reconstruction


@SEM_SEG_HEADS_REGISTRY.register()
class ECENetHead(nn.Module):
    """Reconstructed features, class embeddings from masks, attention between both, and a prediction from both."""

    gives_probabilities = False

    @refuse_yacs
    def __init__(
        self,
        *,
        in_features: Sequence[str],
        channels: Sequence[int],
        num_classes: int,
        reconstructions: Iterable[nn.Module] | None,
        extraction: nn.Module,
        attention: nn.Module,
        updater: nn.Module,
        mask_loss: MaskLoss,
        width: int = 256,
        mask_groups: int = 4,
        upscale_steps: Sequence[int] = (0, 1, 2, 3),
        dropout: float = 0.1,
        diversity_weight: float = 0.2,
        norm: str = "SyncBN",
        reading: str = "default",
        ignore_value: int = 255,
    ) -> None:
        """
        Args:
            in_features: The names of the stages' maps, the finest first.
            channels: The number of channels C_i of each map.
            num_classes: The number of classes K.
            reconstructions: The FR of each stage, from a map to the reconstructed map and its diverse features; None
                disables FR.
            extraction: The ECE, from masks (N, K, H_i, W_i) to class embeddings (N, K, D). Every stage gets its own
                copy of this and of the next two modules.
            attention: The SA, from a map (N, D, H_i, W_i) and embeddings to an updated map and masks.
            updater: The module that computes updated embeddings from new and old ones.
            mask_loss: The `MaskLoss` of Eq. 12, for one prediction.
            width: The number of channels D.
            mask_groups: The number of groups of the first of the two convolutions that make the coarsest mask.
            upscale_steps: How often each stage's map is doubled in size before all are resized to that of the finest.
            dropout: The probability that a whole channel is dropped before the dense classification.
            diversity_weight: The factor lambda_div of Eq. 11; with 0 the diversity loss is not computed.
            norm: The kind of the batch norms, see `convert_batch_norm`.
            reading: A key of `READINGS`, which here decides the size of the convolution that joins the stages.
            ignore_value: The label of the pixels to ignore.

        Raises:
            ValueError: Lists differ in length, there are fewer than two stages, or the norm or reading is unknown.
        """
        super().__init__()
        _check_lengths(in_features, channels, upscale_steps)
        self.in_features, self.ignore_value = list(in_features), ignore_value
        self.mask_loss, self.diversity_weight = mask_loss, diversity_weight
        self.reconstructions = None if reconstructions is None else nn.ModuleList(reconstructions)
        self.unify = nn.ModuleList([_unification(count, width) for count in channels])
        self.coarsest_mask = FirstMask(num_classes=num_classes, width=width, groups=mask_groups)
        self.extractions = _copies(extraction, len(channels))
        self.attentions, self.updaters = (_copies(part, len(channels) - 1) for part in (attention, updater))
        self.upscales = nn.ModuleList([ghost_upscales(width=width, steps=steps) for steps in upscale_steps])
        self.fuse = _fusion(len(channels), width, size=read(reading).fusion_size)
        self.classify = nn.Sequential(nn.Dropout2d(dropout), PointConv2d(width, num_classes))
        self.confidence = ClassConfidence(num_classes=num_classes, width=width)
        self.apply(_init_weights)
        for name, part in list(self.named_children()):
            self.add_module(name, convert_batch_norm(part, norm))

    def forward(
        self, features: dict[str, Tensor], targets: Targets | None = None
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """
        Args:
            features: The maps of the backbone; each of `in_features` is (N, C_i, H_i, W_i).
            targets: The targets in training, with labels (N, h, w) of any size.

        Returns:
            In training None and the losses of Eq. 11; in inference logits (N, K, H, W) and no losses.
        """
        decoded = self.decode(features)
        if not self.training:
            return decoded.scores, {}
        return None, self.losses(decoded, given(targets))

    def decode(self, features: dict[str, Tensor]) -> Decoded:
        """Compute everything in section 3 except for the losses.

        Args:
            features: The maps of the backbone.
        """
        # Most of the head works on the channels of single pixels, which are contiguous in this memory order.
        maps = [channels_last(x) for x in select_maps(features, self.in_features)]
        diverse = []
        if self.reconstructions is not None:
            pairs = [rebuild(x) for rebuild, x in zip(self.reconstructions, maps, strict=True)]
            maps, diverse = [rebuilt for rebuilt, _ in pairs], [apart for _, apart in pairs]
        stages = [unify(x) for unify, x in zip(self.unify, maps, strict=True)]  # X_1 to X_4

        masks = [self.coarsest_mask(stages[-1])]  # Eq. 4
        embeddings = self.extractions[0](masks[0])  # G, Eq. 5
        enhanced = [stages[-1]]
        for x, attend, extract, update in zip(
            reversed(stages[:-1]), self.attentions, self.extractions[1:], self.updaters, strict=True
        ):
            x, mask = attend(x, embeddings)  # Eqs. 6 and 7
            embeddings = update(extract(mask), embeddings)  # Eqs. 8 to 10
            enhanced.insert(0, x)
            masks.append(mask)

        size = stages[0].shape[-2:]
        upscaled = [resize(upscale(x), size) for upscale, x in zip(self.upscales, enhanced, strict=True)]
        dense_logits = self.classify(self.fuse(upscaled))
        supervised_masks = functools.reduce(torch.add, [resize(at_least_single(mask), size) for mask in masks[:-1]])
        summed_masks = supervised_masks + masks[-1]
        scores = combined_prediction(dense_logits, self.confidence(embeddings), summed_masks)
        return Decoded(scores, masks, supervised_masks, summed_masks, diverse)

    def count(self, targets: Targets) -> Counts:
        """Compute the counts of the valid pixels, of the mask loss, and of the images."""
        images = targets.labels.new_tensor(len(targets.labels))
        own = count_pixels(targets, ignore_value=self.ignore_value)
        return {**own, "images": images, **self.mask_loss.count(targets)}

    def losses(self, decoded: Decoded, targets: Targets) -> dict[str, Tensor]:
        """Compute the weighted terms of Eqs. 11 and 12.

        Args:
            decoded: What `decode` returned.
            targets: The targets, with labels (N, h, w).
        """
        losses = {"loss_sem_seg": pixel_cross_entropy(decoded.scores, targets, ignore_value=self.ignore_value)}
        losses |= self.mask_loss([MaskPrediction(decoded.supervised_masks)], targets)
        if decoded.diverse and self.diversity_weight:
            total = functools.reduce(torch.add, map(diversity_loss, decoded.diverse)) / len(decoded.diverse)
            losses["loss_diversity"] = self.diversity_weight * divide(total, targets.counts["images"])
        return losses

    def token_part(self) -> nn.Module:
        """Return the last updater, whose output is the class embeddings of the finest stage."""
        return self.updaters[-1]

    def class_masks(self, features: dict[str, Tensor]) -> Tensor:
        """Return the region (N, K, H, W) of each class embedding: the masks summed over the stages, as in section 3.5.

        Args:
            features: The maps of the backbone.
        """
        return at_least_single(self.decode(features).summed_masks).sigmoid()

    def token_maps(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """The masks from the coarsest stage to the finest, their sum, and the scores: title -> (N, K, h, w).

        Args:
            features: The maps of the backbone.
        """
        decoded = self.decode(features)
        count = len(decoded.masks)
        stages = {f"mask {count - place}": mask for place, mask in enumerate(decoded.masks)}
        return {**stages, "sum of masks": decoded.summed_masks, "scores": decoded.scores}


def _check_lengths(in_features: Sequence[str], channels: Sequence[int], upscale_steps: Sequence[int]) -> None:
    lengths = len(in_features), len(channels), len(upscale_steps)
    if len(set(lengths)) > 1 or lengths[0] < 2:
        raise ValueError(
            f"in_features, channels and upscale_steps have {lengths} items; wanted two or more, as many in each"
        )


def _unification(channels: int, width: int) -> nn.Sequential:
    """A stage's map normalised and brought to D channels, section 3.3."""
    return nn.Sequential(LayerNorm2d(channels, eps=NORM_EPS), PointConv2d(channels, width, bias=False))


def _fusion(num_stages: int, width: int, *, size: int) -> nn.Sequential:
    """The stages' maps joined to one of D channels, section 3.5, by a convolution of odd size."""
    joint = JointConvolution(num_stages * width, width, size, padding=size // 2, bias=False)
    return nn.Sequential(joint, nn.BatchNorm2d(width), nn.ReLU())


def _copies(part: nn.Module, count: int) -> nn.ModuleList:
    return nn.ModuleList([copy.deepcopy(part) for _ in range(count)])


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
    if isinstance(module, (nn.Linear, nn.Conv2d)) and module.bias is not None:
        nn.init.zeros_(module.bias)
