"""Counts parameters and operations of detectors that propose regions, for the command `analyze_model`."""

import torch
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn


class DetectorCost(nn.Module):
    """A detector on one image with fixed numbers of regions: what it does in inference is counted at its most.

    The box head sees as many proposals as the config lets through, and the mask head as many detections. Which regions
    they are makes no difference: all are made the same size here. A detector with random weights would find none.
    """

    def __init__(self, model: GeneralizedRCNN) -> None:
        """
        Args:
            model: The detector in evaluation mode. It finds nothing from then on.

        Raises:
            ValueError: Its proposals come from something else than Detectron2's RPN.
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
            predictor.test_score_thresh = 2.0  # no score is higher, so that the mask head sees our detections alone

    def forward(self, images: Tensor) -> list[Tensor]:
        """Run what takes operations.

        Args:
            images: One image, (1, 3, H, W), of sides that the backbone takes.
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
        """The parts of the detector by their names in it; the heads of the regions one by one."""
        heads = {f"roi_heads.{name}": part for name, part in self.roi_heads.named_children()}
        with_weights = {name: part for name, part in heads.items() if any(True for _ in part.parameters())}
        return {"backbone": self.backbone, "proposal_generator": self.proposal_generator, **with_weights}


def _boxes(count: int) -> Boxes:
    return Boxes(torch.tensor([[0.0, 0.0, 32.0, 32.0]]).repeat(count, 1))
