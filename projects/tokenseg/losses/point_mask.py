"""Mask2Former's loss: masks compared at sampled points, queries matched to the masks of an image.

Paper: Cheng et al.: Masked-attention Mask Transformer for Universal Image Segmentation (CVPR 2022), section 3.3. The
loss differs from the authors' in three ways. Ignored pixels and padding are left out, whereas the authors treat them as
background; a point next to them is weighted by its valid share. Class terms are divided by the weights of the whole
step. A fully ignored image does not contribute to the class term. All terms are computed in single precision.

Letters: N images, S stages, Q queries, K classes, T masks of an image, P points, C channels, h x w the size of the
predicted masks, H x W that of the labels.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F

from ..contracts import Counts, Targets
from ..layers.embedded_masks import EmbeddedMasks
from ..layers.single_precision import at_least_single
from .counts import divide
from .mask import class_loss, count_masks, dice, token_weights
from .mask_targets import MaskTargets, SemanticMasks
from .points import PointSampling, at_points, at_shared_points, uniform_points

_TERMS = ("cross_entropy", "dice", "class")


@dataclass(frozen=True)
class ImageMasks:
    """The target masks of an image, created on demand to save memory, and the image's random number generator."""

    found: MaskTargets
    image: int
    places: Tensor  # (T,) indices of the image's masks among those of the batch
    generator: torch.Generator
    dtype: torch.dtype  # of the masks

    @property
    def classes(self) -> Tensor:
        """The class ids (T,) of the masks."""
        return self.found.classes[self.places]

    def masks(self) -> Tensor:
        """The masks (T, H, W), 1 inside and 0 outside."""
        return self.found.masks(self.places).to(self.dtype)

    def valid_at(self, points: Tensor) -> Tensor:
        """The valid share of each point (..., 2), 0 to 1; beyond the edges the border is repeated."""
        ignored = (~self.found.valid[self.image])[None].to(self.dtype)
        return 1 - at_shared_points(ignored, points, beyond="border")[0]


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
        find_masks: Callable[[Targets], MaskTargets] | None = None,
        no_object_weight: float = 0.1,
        ignore_value: int = 255,
    ) -> None:
        """
        Args:
            num_classes: The number of classes K.
            num_queries: The number of queries Q.
            weights: The weights of the terms `cross_entropy`, `dice` and `class`.
            cost_weights: The weights of the same terms in the matching costs; by default those of the loss.
            sampling: The points at which masks are compared; 12544 points by default.
            find_masks: The function that extracts the target masks of a batch; by default one mask per class present.
            no_object_weight: The weight of an unmatched query in the class term; matched queries have weight 1.
            ignore_value: The label of the pixels to ignore.

        Raises:
            ValueError: A term is missing or unknown.
        """
        super().__init__()
        cost_weights = weights if cost_weights is None else cost_weights
        for each in (weights, cost_weights):
            if set(each) != set(_TERMS):
                raise ValueError(f"weights name the terms {', '.join(each)}; wanted {', '.join(_TERMS)}")
        self.num_classes, self.num_queries, self.ignore_value = num_classes, num_queries, ignore_value
        self.weights, self.cost_weights = dict(weights), dict(cost_weights)
        self.sampling = PointSampling() if sampling is None else sampling
        self.find_masks = self._semantic_masks if find_masks is None else find_masks
        self.no_object_weight = no_object_weight

    def _semantic_masks(self, targets: Targets) -> MaskTargets:
        return SemanticMasks.of(targets, num_classes=self.num_classes, ignore_value=self.ignore_value)

    def count(self, targets: Targets) -> Counts:
        """Count the supervised masks, `masks`, and sum the queries' weights in the class term, `tokens`."""
        return count_masks(
            self.find_masks(targets),
            num_tokens=self.num_queries,
            no_object_weight=self.no_object_weight,
            class_weights=targets.class_weights,
        )

    # `train.compile` would compile it again for every number of masks in an image, and cannot draw from generators.
    @torch.compiler.disable
    def forward(self, predictions: Sequence[EmbeddedMasks], targets: Targets) -> dict[str, Tensor]:
        """
        Args:
            predictions: The predictions of all supervised stages, which share one mask feature map.
            targets: The labels (N, H, W) and the counts from `count`. If a record has an integer `seed`, the points
                drawn for its image depend on this seed alone and not on the rest of the batch.

        Returns:
            The weighted losses `loss_cross_entropy`, `loss_dice` and `loss_class`, summed over the stages and divided
            by the masks or queries of the step. They are zero, still with gradients, if there is no mask.

        Raises:
            ValueError: There is no prediction, or a prediction has a wrong number of queries.
        """
        if not predictions:
            raise ValueError("there is no prediction; wanted one or more")
        wrong = {each.embeddings.shape[1] for each in predictions} - {self.num_queries}
        if wrong:
            raise ValueError(f"a prediction has {wrong.pop()} queries; wanted num_queries, {self.num_queries}")
        found = self.find_masks(targets)
        with torch.autocast(targets.labels.device.type, enabled=False):
            embeddings = at_least_single(torch.stack([each.embeddings for each in predictions], dim=1))  # (N, S, Q, C)
            class_logits = at_least_single(torch.stack([each.class_logits for each in predictions], dim=1))
            features = at_least_single(predictions[0].features)
            images = _images(found, _generators(targets), features.dtype)
            matches = self._match(embeddings, class_logits, features, images)
            parts = zip(embeddings, features, images, matches, strict=True)
            weights = targets.class_weights
            entropies, dices = zip(*(self._mask_terms(*each, weights) for each in parts), strict=True)
            terms = {
                "cross_entropy": divide(sum(entropies), targets.counts["masks"]),
                "dice": divide(sum(dices), targets.counts["masks"]),
                "class": divide(
                    self._class_term(class_logits, images, matches, found, weights), targets.counts["tokens"]
                ),
            }
        return {f"loss_{name}": self.weights[name] * value for name, value in terms.items()}

    @torch.no_grad()
    def _match(
        self, embeddings: Tensor, class_logits: Tensor, features: Tensor, images: Sequence[ImageMasks]
    ) -> list[Tensor]:
        """Match queries to masks: for each image (S, 2, min(Q, T)), query and mask indices, with masks ascending."""
        costs = [self._costs(*each) for each in zip(embeddings, class_logits, features, images, strict=True)]
        # The solver would fail on a cost that is not finite, with an error that does not mention the diverged loss.
        flat = torch.cat([each.flatten() for each in costs]).nan_to_num().cpu()
        matches = []
        for each, own in zip(flat.split([each.numel() for each in costs]), costs, strict=True):
            pairs = [linear_sum_assignment(stage.T.numpy()) for stage in each.view(own.shape)]
            found = [torch.stack([torch.as_tensor(queries), torch.as_tensor(masks)]) for masks, queries in pairs]
            matches.append(torch.stack(found).to(own.device, non_blocking=True))
        return matches

    def _costs(self, embeddings: Tensor, class_logits: Tensor, features: Tensor, image: ImageMasks) -> Tensor:
        """Compute the costs (S, Q, T) of an image at points shared by all its masks and drawn anew for each stage."""
        points = uniform_points((len(embeddings), self.sampling.num_points), image.generator)
        inside = at_shared_points(image.masks(), points)
        valid = image.valid_at(points)
        costs = []
        for stage, place in enumerate(points):
            masks = (embeddings[stage] @ features.flatten(1)).unflatten(1, features.shape[1:])
            each = point_costs(at_shared_points(masks, place), inside[:, stage], valid[stage])
            costs.append(functools.reduce(torch.add, (self.cost_weights[name] * value for name, value in each.items())))
        return torch.stack(costs) - self.cost_weights["class"] * class_logits.softmax(dim=-1)[:, :, image.classes]

    def _mask_terms(
        self, embeddings: Tensor, features: Tensor, image: ImageMasks, match: Tensor, class_weights: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Compute the cross entropy and dice loss of an image's masks, summed over masks and stages."""
        queries, wanted = match.unbind(1)
        stages = torch.arange(len(embeddings), device=match.device)[:, None].expand_as(queries)
        masks = image.masks()
        if len(masks) == queries.shape[1]:
            # All masks are matched, in their order, so each mask is sampled once for all stages.
            queries, stages, wanted = queries.T, stages.T, wanted.T
        else:
            masks = masks[wanted.flatten()]
        chosen = embeddings[stages.flatten(), queries.flatten()]
        logits = (chosen @ features.flatten(1)).unflatten(1, features.shape[1:])
        points = self.sampling.near_borders(logits.detach(), image.generator)
        repeats = len(points) // max(len(masks), 1)
        inside = at_points(masks, points.reshape(len(masks), repeats * points.shape[1], 2)).view(points.shape[:2])
        valid = image.valid_at(points)
        weights = None if class_weights is None else class_weights[image.classes[wanted.flatten()]]
        return point_losses(at_points(logits, points), inside, valid, weights=weights)

    def _class_term(
        self,
        class_logits: Tensor,
        images: Sequence[ImageMasks],
        matches: Sequence[Tensor],
        found: MaskTargets,
        class_weights: Tensor | None,
    ) -> Tensor:
        labels = torch.full(class_logits.shape[:3], self.num_classes, device=class_logits.device)
        for own, image, match in zip(labels, images, matches, strict=True):
            own.scatter_(1, match[:, 0], image.classes[match[:, 1]])
        weights = found.shown[:, None, None] * token_weights(
            labels, self.num_classes, no_object_weight=self.no_object_weight, class_weights=class_weights
        )
        return class_loss(class_logits.flatten(0, 1), labels.flatten(0, 1), weights.flatten(0, 1))


def _images(found: MaskTargets, generators: Sequence[torch.Generator], dtype: torch.dtype) -> list[ImageMasks]:
    places = torch.arange(len(found.classes), device=found.classes.device).split(list(found.per_image))
    pairs = zip(places, generators, strict=True)
    return [ImageMasks(found, image, own, generator, dtype) for image, (own, generator) in enumerate(pairs)]


def _generators(targets: Targets) -> list[torch.Generator]:
    """Create a random number generator for each image, seeded by its record if the record has a seed."""
    device, count = targets.labels.device, len(targets.labels)
    drawn = torch.randint(2**62, (count,)).tolist()
    seeds = [record.get("seed", own) for record, own in zip(targets.inputs or [{}] * count, drawn, strict=True)]
    return [torch.Generator(device).manual_seed(seed) for seed in seeds]


def point_losses(
    logits: Tensor, inside: Tensor, valid: Tensor, *, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Cross entropy averaged over the points of each mask, and dice loss of each mask, both summed over the masks.

    Args:
        logits: The predicted masks (M, P) at the points, before the sigmoid.
        inside: The share of each point that lies inside the target mask, (M, P) from 0 to 1.
        valid: The valid share of each point, (M, P), at least `inside`.
        weights: The weights (M,) of the masks; None weights all alike.
    """
    counts = valid.sum(dim=1).clamp(min=1e-6)
    entropies = (valid * F.softplus(logits) - inside * logits).sum(dim=1) / counts
    shown = logits.sigmoid()
    areas = (shown * valid).sum(dim=1) + inside.sum(dim=1)
    dices = dice((shown * inside).sum(dim=1), areas)
    if weights is not None:
        entropies, dices = entropies * weights, dices * weights
    return entropies.sum(), dices.sum()


def point_costs(logits: Tensor, inside: Tensor, valid: Tensor) -> dict[str, Tensor]:
    """Compute the terms of `point_losses` for every pair of query and target mask, by name, (Q, T) each.

    Args:
        logits: The predicted masks (Q, P) at the points, before the sigmoid.
        inside: The share of each point that lies inside the target mask, (T, P) from 0 to 1.
        valid: The valid share of each point, (P,).
    """
    entropy = (F.softplus(logits) @ valid)[:, None] - logits @ inside.T
    shown = logits.sigmoid()
    areas = (shown @ valid)[:, None] + inside.sum(dim=1)
    return {"cross_entropy": entropy / valid.sum().clamp(min=1e-6), "dice": dice(shown @ inside.T, areas)}
