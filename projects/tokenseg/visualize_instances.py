"""Pictures of instances: boxes, masks and names over an image."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from detectron2.structures import Instances

from .datasets.ground_truth import AnnotatedInstances
from .plain_text import caption_text
from .visualize_names import Rectangle, area, enlarged, room_for_names, write_names

_UNKNOWN = (128, 128, 128)


def draw_found(image: np.ndarray, found: Instances, *, names: Sequence[str], colors: np.ndarray) -> np.ndarray:
    """Draw the predictions of a detector, each with its class and score in the colour of its class.

    Args:
        image: The image (H, W, 3) uint8 RGB.
        found: The instances, as `Predictor.instances` returns them.
        names: The names of the K classes.
        colors: The colours (K, 3) of the classes, uint8 RGB.

    Returns:
        The picture; see `draw_instances`.
    """
    classes = found.pred_classes.tolist()
    scores = zip(classes, found.scores.tolist(), strict=True)
    return draw_instances(
        image,
        boxes=found.pred_boxes.tensor.numpy(),
        masks=found.pred_masks.numpy() if found.has("pred_masks") else None,
        labels=[f"{caption_text(names[class_id])} {score:.2f}" for class_id, score in scores],
        colors=colors[classes],
    )


def draw_annotated(
    image: np.ndarray, known: AnnotatedInstances, *, names: Sequence[str], colors: np.ndarray
) -> np.ndarray:
    """Draw the annotated instances of an image; arguments and result as in `draw_found`.

    Classes that are not among `names`, such as those of another data set, are grey.
    """
    by_name = dict(zip(names, colors, strict=True))
    own = np.array([by_name.get(name, _UNKNOWN) for name in known.names]).reshape(-1, 3)
    return draw_instances(image, boxes=known.boxes, masks=known.masks, labels=known.names, colors=own)


def draw_instances(
    image: np.ndarray,
    *,
    boxes: np.ndarray,
    masks: np.ndarray | None,
    labels: Sequence[str],
    colors: np.ndarray,
    min_side: int = 640,
) -> np.ndarray:
    """Draw instances over an image, which is first enlarged by an integer factor so that names have room in it.

    Args:
        image: The image (H, W, 3) uint8 RGB.
        boxes: The left, upper, right and lower border of each box, (instances, 4), in pixels of the image.
        masks: The mask of each instance, (instances, H, W) bool; None draws only boxes.
        labels: The text at each box. Any characters are allowed (see `caption_text`). The texts of the first instances
            have priority in the choice of places.
        colors: The colour of each instance, (instances, 3) uint8 RGB.
        min_side: The minimum of the picture's longer side in pixels.

    Returns:
        The picture (f H, f W, 3) uint8 RGB, where f is the factor.
    """
    factor = room_for_names(image, min_side)
    canvas = image.repeat(factor, axis=0).repeat(factor, axis=1)
    corners = [_corners(box, factor, canvas) for box in boxes]
    thickness = max(1, round(max(canvas.shape[:2]) / 350))
    for place in _largest_first(corners):
        red, green, blue = (int(channel) for channel in colors[place])
        color = red, green, blue
        if masks is not None:
            _draw_mask(canvas, enlarged(masks[place], factor), color, thickness)
        _draw_box(canvas, corners[place], color, thickness)
    size = canvas.shape[1], canvas.shape[0]
    return write_names(canvas, labels, colors, lambda place, plate: _spots(corners[place], plate, size))


def _corners(box: np.ndarray, factor: int, canvas: np.ndarray) -> Rectangle:
    """Return the outermost pixels of a box on the enlarged canvas, clipped to it."""
    left, top, right, bottom = (round(float(border) * factor) for border in box)
    height, width = canvas.shape[:2]
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    return left, top, min(max(right - 1, left), width - 1), min(max(bottom - 1, top), height - 1)


def _largest_first(corners: Sequence[Rectangle]) -> list[int]:
    """Return the indices of the boxes by descending area, so that small boxes are drawn over large ones."""
    return sorted(range(len(corners)), key=lambda place: -area(corners[place]))


def _draw_box(canvas: np.ndarray, corners: Rectangle, color: tuple[int, int, int], thickness: int) -> None:
    """Draw the border of a box, inside the box."""
    left, top, right, bottom = corners
    inside = canvas[top : bottom + 1, left : right + 1]
    inside[:thickness] = inside[-thickness:] = inside[:, :thickness] = inside[:, -thickness:] = color


def _draw_mask(canvas: np.ndarray, mask: np.ndarray, color: tuple[int, int, int], thickness: int) -> None:
    """Tint the pixels of a mask, and draw its outline and those of its holes, inside the mask."""
    if not mask.any():
        return
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    part, inside = canvas[top : top + height, left : left + width], mask[top : top + height, left : left + width]
    part[inside] = np.round(0.55 * part[inside] + 0.45 * np.array(color)).astype(np.uint8)
    square = np.ones((2 * thickness + 1, 2 * thickness + 1), np.uint8)
    core = cv2.erode(inside.astype(np.uint8), square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    part[inside & (core == 0)] = color


def _spots(box: Rectangle, size: tuple[int, int], canvas: tuple[int, int]) -> Iterator[Rectangle]:
    """Yield the possible places of a label of some size at a box, inside the canvas, best first."""
    (left, top, right, bottom), (width, height) = box, size
    for x, y in (
        (left, top - height),
        (left, bottom),
        (right - width, top - height),
        (right - width, bottom),
        (left, top),
        (left, bottom - height),
        (right, top),
    ):
        x, y = max(0, min(x, canvas[0] - width)), max(0, min(y, canvas[1] - height))
        yield x, y, x + width, y + height
