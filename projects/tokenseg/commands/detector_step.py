"""The inputs of a detector's training step on fake tensors, for `step_memory`.

Feature maps have only shapes there. Boxes, masks and proposals have real values, since their numbers determine the
sizes of other tensors.
"""

from types import MethodType

import torch
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.proposal_generator import RPN
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from ..config.instantiate import instantiate

# The number of objects in each image, arranged in four rows; COCO's training images have 7 on average.
OBJECTS_SHOWN = 16


def prepare_detector(model: nn.Module, config: DictConfig) -> None:
    """Give a detector on fake tensors the real values that determine the sizes of its tensors.

    The anchors get their real sizes, so that they are matched with the objects as in a training. The proposals are
    created instead of predicted: as many as the config allows, and a quarter of them on objects, which is enough for
    the config's ratio of positive and negative regions.

    Raises:
        ValueError: The model is not a `GeneralizedRCNN` of Detectron2 with Detectron2's RPN and default anchors.
    """
    proposals = getattr(model, "proposal_generator", None)
    if not isinstance(model, GeneralizedRCNN) or not isinstance(proposals, RPN):
        got = f"{type(model).__name__} with {type(proposals).__name__}"
        raise ValueError(f"the config has no dataset.crop and its model is {got}; wanted GeneralizedRCNN with RPN")
    if not isinstance(proposals.anchor_generator, DefaultAnchorGenerator):
        got = type(proposals.anchor_generator).__name__
        raise ValueError(f"the anchors come from {got}; wanted DefaultAnchorGenerator")
    proposals.anchor_generator = instantiate(config.model.proposal_generator.anchor_generator)
    proposals.predict_proposals = MethodType(_made_proposals, proposals)


def photos(config: DictConfig, images: int) -> list[dict]:
    """Create images of the largest training size, all with the same aspect ratio, with objects of the first classes."""
    height, width = photo_size(config)
    boxes = _objects(height, width)
    instances = Instances((height, width), gt_boxes=Boxes(boxes))
    instances.gt_classes = torch.arange(OBJECTS_SHOWN) % config.dataset.num_classes
    mapper = config.dataloader.train.mapper
    if mapper.use_instance_mask:
        instances.gt_masks = _masks(boxes, height, width, OmegaConf.select(mapper, "instance_mask_format"))
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    return [{"image": image, "instances": instances, "height": height, "width": width} for _ in range(images)]


def photo_size(config: DictConfig) -> tuple[int, int]:
    """Return height and width of a landscape image whose sides are the largest of the config's training.

    Raises:
        ValueError: The config does not state the sizes of training images.
    """
    short_sides, long_side = (OmegaConf.select(config, f"dataset.{key}") for key in ("short_sides", "long_side"))
    if not short_sides or not long_side:
        raise ValueError("the config has neither dataset.crop nor dataset.short_sides and dataset.long_side")
    return min(max(short_sides), long_side), long_side


def _objects(height: int, width: int) -> Tensor:
    """Create boxes (OBJECTS_SHOWN, 4) in four rows, each half as high and half as wide as its cell of the grid."""
    columns = OBJECTS_SHOWN // 4
    high, wide = height / 4, width / columns
    places = [(column * wide, row * high) for row in range(4) for column in range(columns)]
    return torch.tensor([[x, y, x + wide / 2, y + high / 2] for x, y in places])


def _masks(boxes: Tensor, height: int, width: int, kind: str) -> BitMasks | PolygonMasks:
    """Create masks that fill the boxes, in the format of the config."""
    if kind == "polygon":
        return PolygonMasks([[[x0, y0, x1, y0, x1, y1, x0, y1]] for x0, y0, x1, y1 in boxes.tolist()])
    masks = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.long().tolist(), strict=True):
        mask[y0:y1, x0:x1] = True
    return BitMasks(masks)


def _made_proposals(
    self: RPN, anchors: list[Boxes], logits: list[Tensor], deltas: list[Tensor], sizes: list[tuple[int, int]]
) -> list[Instances]:
    """Replace `RPN.predict_proposals`: a quarter of the proposals are objects, and the others the image's corner."""
    count = int(self.post_nms_topk[True])
    return [
        Instances(size, proposal_boxes=_proposal_boxes(size, count), objectness_logits=torch.zeros(count))
        for size in sizes
    ]


def _proposal_boxes(size: tuple[int, int], count: int) -> Boxes:
    boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0]]).repeat(count, 1)
    found = _objects(*size).repeat(-(-count // 4 // OBJECTS_SHOWN), 1)[: count // 4]
    boxes[: len(found)] = found
    return Boxes(boxes)
