"""A detector's training step on shapes, for `step_memory`: boxes, masks and proposals have values, maps have none."""

from types import MethodType

import torch
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.proposal_generator import RPN
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from ..config.instantiate import instantiate

# Objects that each image shows, in four rows; COCO's training images show 7 on average.
OBJECTS_SHOWN = 16


def prepare_detector(model: nn.Module, config: DictConfig) -> None:
    """Give a detector on shapes the values that decide how large its tensors are.

    Anchors get their real sides, so that they are matched with the objects as in a training. The proposals are made
    rather than found: as many as the config lets through, a quarter of them on objects, which is enough for the
    regions to be drawn at the shares that the config wants.

    Raises:
        ValueError: The model is no `GeneralizedRCNN` of Detectron2 with its RPN and its default anchors.
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
    """Make images of the largest size of the training, all of one aspect ratio, with objects of the first classes."""
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
    """Height and width of a wide image whose sides are the largest that the config's training lets through.

    Raises:
        ValueError: The config names no sizes of training images.
    """
    short_sides, long_side = (OmegaConf.select(config, f"dataset.{key}") for key in ("short_sides", "long_side"))
    if not short_sides or not long_side:
        raise ValueError("the config has neither dataset.crop nor dataset.short_sides and dataset.long_side")
    return min(max(short_sides), long_side), long_side


def _objects(height: int, width: int) -> Tensor:
    """Boxes in four rows, (OBJECTS_SHOWN, 4), each half as high and half as wide as its place."""
    columns = OBJECTS_SHOWN // 4
    high, wide = height / 4, width / columns
    places = [(column * wide, row * high) for row in range(4) for column in range(columns)]
    return torch.tensor([[x, y, x + wide / 2, y + high / 2] for x, y in places])


def _masks(boxes: Tensor, height: int, width: int, kind: str) -> BitMasks | PolygonMasks:
    """Masks that fill the boxes, stored as the config wants them."""
    if kind == "polygon":
        return PolygonMasks([[[x0, y0, x1, y0, x1, y1, x0, y1]] for x0, y0, x1, y1 in boxes.tolist()])
    masks = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.long().tolist(), strict=True):
        mask[y0:y1, x0:x1] = True
    return BitMasks(masks)


def _made_proposals(
    self: RPN, anchors: list[Boxes], logits: list[Tensor], deltas: list[Tensor], sizes: list[tuple[int, int]]
) -> list[Instances]:
    """Proposals in the place of those that an RPN finds; a fourth of them are objects, the others are corners."""
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
