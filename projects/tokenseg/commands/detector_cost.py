"""The part of the command `analyze_model` that counts the operations of detectors with region proposals."""

import torch
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn


class DetectorCost(nn.Module):
    """Runs a detector on one image with the largest numbers of regions, so that its highest cost is counted.

    The box head processes as many proposals as the config allows, and the mask head as many detections. The regions
    themselves do not influence the cost, so they all have the same size here. They cannot be predicted, since a
    detector with random weights would find none.
    """

    def __init__(self, model: GeneralizedRCNN) -> None:
        """
        Args:
            model: The detector in evaluation mode. It is modified so that it finds no instances any more.

        Raises:
            ValueError: The proposal generator is not Detectron2's RPN.
        """
        super().__init__()
        if not isinstance(model.proposal_generator, RPN):
            got = type(model.proposal_generator).__name__
            raise ValueError(f"the proposal generator is a {got}, whose proposals cannot be counted; wanted an RPN")
        self.backbone, self.proposal_generator, self.roi_heads = (
            model.backbone,
            model.proposal_generator,
            model.roi_heads,
        )
        predictors = [part for part in model.roi_heads.modules() if isinstance(part, FastRCNNOutputLayers)]
        self.proposals = int(model.proposal_generator.post_nms_topk[False])
        self.detections = int(predictors[-1].test_topk_per_image)
        for predictor in predictors:
            # No score is higher than 2, so the mask head only gets the detections that `forward` creates.
            predictor.test_score_thresh = 2.0

    def forward(self, images: Tensor) -> list[Tensor]:
        """Run all parts of the detector, and return outputs that depend on all of them.

        Args:
            images: One image (1, 3, H, W), whose sides the backbone accepts.
        """
        features, size = self.backbone(images), tuple(images.shape[-2:])
        logits, deltas = self.proposal_generator.rpn_head([features[f] for f in self.proposal_generator.in_features])
        proposed = Instances(size, proposal_boxes=_boxes(self.proposals), objectness_logits=torch.zeros(self.proposals))
        self.roi_heads(ImageList(images, [size]), features, [proposed], None)
        classes = torch.zeros(self.detections, dtype=torch.int64)
        found = Instances(size, pred_boxes=_boxes(self.detections), pred_classes=classes)
        (found,) = self.roi_heads.forward_with_given_boxes(features, [found])
        return [*logits, *deltas, *([found.pred_masks] if found.has("pred_masks") else [])]

    def parts(self) -> dict[str, nn.Module]:
        """Return the backbone, the proposal generator, and the single region heads that have weights, by name."""
        heads = {f"roi_heads.{name}": part for name, part in self.roi_heads.named_children()}
        with_weights = {name: part for name, part in heads.items() if any(True for _ in part.parameters())}
        return {"backbone": self.backbone, "proposal_generator": self.proposal_generator, **with_weights}


def _boxes(count: int) -> Boxes:
    return Boxes(torch.tensor([[0.0, 0.0, 32.0, 32.0]]).repeat(count, 1))
