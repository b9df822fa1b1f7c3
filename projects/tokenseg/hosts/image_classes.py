"""An image-level pretraining task: predict which classes an image contains, and how many pieces of each.

This task is ours. It replaces the classification with which the papers' backbones are pretrained.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..contracts import Counts, Targets
from ..layers.feature_maps import select_maps
from ..layers.single_precision import at_least_single
from ..losses.counts import divide


class ImageClassesLoss(nn.Module):
    """Predicts the presence of each class and its number of pieces from the mean of a feature map.

    It is one of a segmentor's `extra_losses`.
    """

    def __init__(
        self, *, in_feature: str, channels: int, num_classes: int, key: str = "class_counts", weight: float = 1.0
    ) -> None:
        """
        Args:
            in_feature: The name of the backbone's map.
            channels: The number of channels C of that map.
            num_classes: The number of classes K.
            key: The key of the targets in the inputs: the numbers of pieces (K,), which `ClassCounts` computes.
            weight: The weight of both losses.
        """
        super().__init__()
        self.in_feature, self.num_classes, self.key, self.weight = in_feature, num_classes, key, weight
        self.classify = nn.Linear(channels, 2 * num_classes)

    def count(self, targets: Targets) -> Counts:
        """Count the images, `images`.

        Raises:
            ValueError: An input lacks the numbers of pieces.
        """
        if any(self.key not in x for x in targets.inputs):
            raise ValueError(
                f"the loss of image classes needs `{self.key}` with every image; add label_targets.{self.key} to the "
                "training mapper, or remove the loss"
            )
        return {"images": targets.labels.new_tensor(len(targets.inputs))}

    def forward(self, features: Mapping[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        """
        Args:
            features: The maps of the backbone; `in_feature` is (N, C, H, W).
            targets: The inputs, which hold the numbers of pieces, and the count `images`.

        Returns:
            The binary cross entropy of the classes, `loss_presence`, and the smooth L1 distance between the predicted
            and the true log(1 + number of pieces), `loss_pieces`. Both are weighted means over classes and images.
        """
        [x] = select_maps(features, [self.in_feature])
        presence, pieces = at_least_single(self.classify(x.mean(dim=(2, 3)))).split(self.num_classes, dim=1)
        wanted = torch.stack([one[self.key] for one in targets.inputs]).to(presence)
        losses = {
            "loss_presence": F.binary_cross_entropy_with_logits(presence, (wanted > 0).to(presence), reduction="none"),
            "loss_pieces": F.smooth_l1_loss(pieces, wanted.log1p(), reduction="none"),
        }
        return {
            name: self.weight * divide(each.mean(dim=1).sum(), targets.counts["images"])
            for name, each in losses.items()
        }
