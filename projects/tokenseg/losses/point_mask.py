"""Mask2Former's loss: masks compared at sampled points, queries matched to the masks of an image.

Paper: Cheng et al.: Masked-attention Mask Transformer for Universal Image Segmentation (CVPR 2022), section 3.3. It
differs from the authors' in three ways. Ignored pixels and padding count nowhere, where they have background: a
point beside them counts by the share of it that is valid. Class terms are divided by the weights of the whole step. An
image without any valid pixel says nothing of classes. All of it runs in single precision under autocast.

Letters: N images, S stages, Q queries, K classes, T masks of an image, P points, C channels, h x w the size of the
predicted masks, H x W that of the labels.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from detectron2.utils.logger import log_first_n
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F

from ..contracts import Targets
from ..layers.embedded_masks import EmbeddedMasks
from .mask import class_loss, dice, present_classes
from .points import PointSampling, at_points, at_shared_points, uniform_points

# A normaliser of a step without masks: the sums that it divides are zero.
_TINY = 1e-6
_TERMS = ("cross_entropy", "dice", "class")


class ImageMasks(NamedTuple):
    """What an image shows.

    Attributes:
        classes: (T,) ids.
        masks: (T, H, W) of single precision, 1 inside.
        ignored: (1, H, W) of single precision, 1 where a pixel does not count.
    """

    classes: Tensor
    masks: Tensor
    ignored: Tensor


class PointMaskLoss(nn.Module):
    """Cross entropy and dice of matched masks at points, and cross entropy of all queries' classes."""

    def __init__(
        self,
        *,
        num_classes: int,
        num_queries: int,
        weights: Mapping[str, float],
        cost_weights: Mapping[str, float] | None = None,
        sampling: PointSampling | None = None,
        no_object_weight: float = 0.1,
        ignore_value: int = 255,
    ) -> None:
        """
        Args:
            num_classes: The number of classes K.
            num_queries: The number of queries Q.
            weights: The weights of the terms `cross_entropy`, `dice` and `class`.
            cost_weights: The weights of the same terms in the matching; those of the loss by default.
            sampling: Where masks are compared; 12544 points by default.
            no_object_weight: The weight of a query without a mask in the class term, where one with a mask has 1.
            ignore_value: The label of pixels that do not count.

        Raises:
            ValueError: A term is missing or unknown.
        """
        super().__init__()
        cost_weights = weights if cost_weights is None else cost_weights
        for each in (weights, cost_weights):
            if set(each) != set(_TERMS):
                raise ValueError(f"weights name the terms {list(each)}; wanted {', '.join(_TERMS)}")
        self.num_classes, self.num_queries, self.ignore_value = num_classes, num_queries, ignore_value
        self.weights, self.cost_weights = dict(weights), dict(cost_weights)
        self.sampling = PointSampling() if sampling is None else sampling
        self.no_object_weight = no_object_weight

    def count(self, targets: Targets) -> dict[str, Tensor]:
        """The masks to learn, and the sum of the queries' weights in the class term.

        Args:
            targets: Labels alone.
        """
        present = present_classes(targets.labels, num_classes=self.num_classes, ignore_value=self.ignore_value)
        masks = present.sum(dim=1).clamp(max=self.num_queries)
        weights = masks + self.no_object_weight * (self.num_queries - masks)
        return {"masks": masks.sum().float(), "class": weights[masks > 0].sum().float()}

    def forward(self, predictions: Sequence[EmbeddedMasks], targets: Targets) -> dict[str, Tensor]:
        """
        Args:
            predictions: Those of every supervised stage, with one map of the masks for all.
            targets: Labels (N, H, W), and in `counts` what `count` has counted. A record's `seed`, an integer, says
                which points are drawn for the image, whatever the batch around it; without it they are drawn anew.

        Returns:
            `loss_cross_entropy`, `loss_dice` and `loss_class`, weighted, each summed over the stages; zero, with
            gradients, where there is no mask.

        Raises:
            ValueError: There is no prediction.
        """
        if not predictions:
            raise ValueError("there is no prediction; wanted one or more")
        with torch.autocast(targets.labels.device.type, enabled=False):
            embeddings = torch.stack([each.embeddings for each in predictions], dim=1).float()  # (N, S, Q, C)
            class_logits = torch.stack([each.class_logits for each in predictions], dim=1).float()
            features = predictions[0].features.float()
            images, generators = self._images(targets), _generators(targets)
            matches = self._match(embeddings, class_logits, features, images, generators)
            masks = [
                self._mask_terms(*each) for each in zip(embeddings, features, images, matches, generators, strict=True)
            ]
            count = targets.counts["masks"].clamp(min=_TINY)
            terms = {
                "cross_entropy": sum(each[0] for each in masks) / count,
                "dice": sum(each[1] for each in masks) / count,
                "class": self._class_term(class_logits, images, matches, targets.counts["class"].clamp(min=_TINY)),
            }
        return {f"loss_{name}": self.weights[name] * value for name, value in terms.items()}

    def _images(self, targets: Targets) -> list[ImageMasks]:
        present = present_classes(targets.labels, num_classes=self.num_classes, ignore_value=self.ignore_value)
        found = []
        for labels, each in zip(targets.labels, present.cpu(), strict=True):
            classes = each.nonzero()[:, 0].to(labels.device)
            if len(classes) > self.num_queries:
                log_first_n(
                    logging.WARNING,
                    f"an image shows {len(classes)} classes and there are {self.num_queries} queries: the costliest "
                    "go without, here and in further images",
                    key="caller",
                )
            ignored = (labels == self.ignore_value)[None].float()
            found.append(ImageMasks(classes, (labels == classes[:, None, None]).float(), ignored))
        return found

    @torch.no_grad()
    def _match(
        self,
        embeddings: Tensor,
        class_logits: Tensor,
        features: Tensor,
        images: Sequence[ImageMasks],
        generators: Sequence[torch.Generator],
    ) -> list[Tensor]:
        """For each image (S, 2, min(Q, T)): queries, and the masks they are to show, from the first mask on."""
        costs = [
            self._costs(*each) for each in zip(embeddings, class_logits, features, images, generators, strict=True)
        ]
        # A cost that is not finite would end the matching without a word on the loss that it comes from.
        flat = torch.cat([each.flatten() for each in costs]).nan_to_num().cpu()
        matches = []
        for each, own in zip(flat.split([each.numel() for each in costs]), costs, strict=True):
            pairs = [linear_sum_assignment(stage.T.numpy()) for stage in each.view(own.shape)]
            found = [torch.stack([torch.as_tensor(queries), torch.as_tensor(masks)]) for masks, queries in pairs]
            matches.append(torch.stack(found).to(own.device, non_blocking=True))
        return matches

    def _costs(
        self,
        embeddings: Tensor,
        class_logits: Tensor,
        features: Tensor,
        image: ImageMasks,
        generator: torch.Generator,
    ) -> Tensor:
        """Costs (S, Q, T) of an image, at points that all its masks share, drawn anew for each stage."""
        points = uniform_points((len(embeddings), self.sampling.num_points), generator)
        inside = at_shared_points(image.masks, points)
        valid = 1 - at_shared_points(image.ignored, points)[0]
        classes = class_logits.softmax(dim=-1)[:, :, image.classes]
        costs = []
        for stage, place in enumerate(points):
            masks = (embeddings[stage] @ features.flatten(1)).unflatten(1, features.shape[1:])
            each = point_costs(at_shared_points(masks, place), inside[:, stage], valid[stage])
            costs.append(sum(self.cost_weights[name] * value for name, value in each.items()))
        return torch.stack(costs) - self.cost_weights["class"] * classes

    def _mask_terms(
        self, embeddings: Tensor, features: Tensor, image: ImageMasks, match: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Cross entropy and dice of an image's masks, summed over masks and stages."""
        queries, wanted = match.unbind(1)
        stages = torch.arange(len(embeddings), device=match.device)[:, None].expand_as(queries)
        # Where all masks are learnt, each is sampled for all stages at once.
        order = (queries.T, stages.T) if len(image.classes) == queries.shape[1] else (queries, stages)
        wanted = None if len(image.classes) == queries.shape[1] else wanted.flatten()
        chosen = embeddings[order[1].flatten(), order[0].flatten()]
        logits = (chosen @ features.flatten(1)).unflatten(1, features.shape[1:])
        points = self.sampling.near_borders(logits.detach(), generator)
        groups = image.masks if wanted is None else image.masks[wanted]
        inside = at_points(groups, points.view(len(groups), -1, points.shape[1], 2)).view(points.shape[:2])
        valid = 1 - at_shared_points(image.ignored, points)[0]
        return point_losses(at_points(logits, points), inside, valid)

    def _class_term(
        self, class_logits: Tensor, images: Sequence[ImageMasks], matches: Sequence[Tensor], normaliser: Tensor
    ) -> Tensor:
        labels = torch.full(class_logits.shape[:3], self.num_classes, device=class_logits.device)
        for own, image, match in zip(labels, images, matches, strict=True):
            own.scatter_(1, match[:, 0], image.classes[match[:, 1]])
        counted = torch.tensor([len(image.classes) > 0 for image in images], device=labels.device)
        weights = torch.where(labels == self.num_classes, self.no_object_weight, 1.0) * counted[:, None, None]
        return class_loss(
            class_logits.flatten(0, 1), labels.flatten(0, 1), weights.flatten(0, 1), normaliser=normaliser
        )


def point_losses(logits: Tensor, inside: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy averaged over the points of each mask, and its dice loss, both summed over masks.

    Args:
        logits: (M, P) before the sigmoid.
        inside: (M, P), how much of a point lies inside the wanted mask, 0 to 1.
        valid: (M, P), how much of a point counts, no less than what is inside.
    """
    counts = valid.sum(dim=1).clamp(min=_TINY)
    entropy = ((valid * F.softplus(logits) - inside * logits).sum(dim=1) / counts).sum()
    shown = logits.sigmoid()
    areas = (shown * valid).sum(dim=1) + inside.sum(dim=1)
    return entropy, dice((shown * inside).sum(dim=1), areas).sum()


def point_costs(logits: Tensor, inside: Tensor, valid: Tensor) -> dict[str, Tensor]:
    """The terms of `point_losses` of every query for every wanted mask, by name, (Q, T) each.

    Args:
        logits: (Q, P) before the sigmoid.
        inside: (T, P), how much of a point lies inside the wanted mask, 0 to 1.
        valid: (P,), how much of a point counts.
    """
    entropy = (F.softplus(logits) @ valid)[:, None] - logits @ inside.T
    shown = logits.sigmoid()
    areas = (shown @ valid)[:, None] + inside.sum(dim=1)
    return {"cross_entropy": entropy / valid.sum().clamp(min=_TINY), "dice": dice(shown @ inside.T, areas)}


def _generators(targets: Targets) -> list[torch.Generator]:
    """A source of random numbers for each image."""
    device, count = targets.labels.device, len(targets.labels)
    drawn = torch.randint(2**62, (count,)).tolist()
    seeds = [record.get("seed", own) for record, own in zip(targets.inputs or [{}] * count, drawn, strict=True)]
    return [torch.Generator(device).manual_seed(seed) for seed in seeds]
