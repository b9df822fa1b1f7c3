"""Writes the names of classes into pictures, on plates in the colour of the class, in the scripts of many languages."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .plain_text import caption_text
from .visualize import overlay

# The left, upper, right and lower border in pixels.
Rectangle = tuple[int, int, int, int]
# The longer side of the reduced map on which places for names are searched, and the minimum share of the pixels that a
# class must cover to be named.
_SEARCHED, _LEAST_SHARE = 192, 0.005


def room_for_names(image: np.ndarray, min_side: int = 640) -> int:
    """Return the integer factor by which an image (H, W, ...) is enlarged so that names have room in it."""
    return max(1, -(-min_side // max(image.shape[:2])))


def enlarged(image: np.ndarray, factor: int) -> np.ndarray:
    """Enlarge an array (H, W, ...) by repeating its pixels `factor` times in both directions."""
    return image if factor == 1 else image.repeat(factor, axis=0).repeat(factor, axis=1)


def draw_segments(image: np.ndarray, ids: np.ndarray, *, names: Sequence[str], colors: np.ndarray) -> np.ndarray:
    """Draw class ids over an image, with the name of every class that covers more than a few pixels.

    Args:
        image: The image (H, W, 3) uint8 RGB.
        ids: The class of each pixel, (H, W).
        names: The names of the K classes. Any characters are allowed; see `caption_text`.
        colors: The colours (K, 3) of the classes, uint8 RGB.

    Returns:
        The picture (f H, f W, 3) uint8 RGB, where f is `room_for_names(image)`.
    """
    factor = room_for_names(image)
    canvas = enlarged(overlay(image, ids, colors), factor)
    centres = _centres(ids, len(names))

    def spots(place: int, size: tuple[int, int]) -> Iterator[Rectangle]:
        y, x = (round((part + 0.5) * factor) for part in list(centres.values())[place])
        left = max(0, min(x - size[0] // 2, canvas.shape[1] - size[0]))
        top = max(0, min(y - size[1] // 2, canvas.shape[0] - size[1]))
        yield left, top, left + size[0], top + size[1]

    return write_names(canvas, [names[k] for k in centres], colors[[*centres]], spots)


def _centres(ids: np.ndarray, num_classes: int) -> dict[int, tuple[float, float]]:
    """Find the row and column deepest inside each class with enough pixels: class -> (row, column)."""
    step = max(1, -(-max(ids.shape) // _SEARCHED))
    small = ids[::step, ::step]
    found = {}
    for class_id in np.unique(small):
        mask = np.pad(small == class_id, 1)  # so that the border of the image counts as that of the class
        if 0 <= class_id < num_classes and mask.sum() >= _LEAST_SHARE * small.size:
            depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
            row, column = np.unravel_index(depth.argmax(), depth.shape)
            found[int(class_id)] = ((row - 1) * step, (column - 1) * step)
    return found


def write_names(
    canvas: np.ndarray,
    names: Sequence[str],
    colors: np.ndarray,
    spots: Callable[[int, tuple[int, int]], Iterable[Rectangle]],
) -> np.ndarray:
    """Write names on plates, which overlap one another as little as possible.

    Args:
        canvas: The picture (H, W, 3) uint8 RGB.
        names: The names. The first ones have priority in the choice of places.
        colors: The colour of each plate, (names, 3) uint8 RGB.
        spots: A function from the index of a name and the (width, height) of its plate to the possible places of the
            plate, best first.

    Returns:
        A new picture of the same size.
    """
    font = _font(max(12, round(max(canvas.shape[:2]) / 55)))
    picture = Image.fromarray(canvas)
    taken: list[Rectangle] = []
    draw = ImageDraw.Draw(picture)
    ascent, descent = font.getmetrics()
    for place, (name, color) in enumerate(zip(map(caption_text, names), colors, strict=True)):
        size = round(font.getlength(name)) + 6, ascent + descent + 2
        spot = min(spots(place, size), key=lambda spot: sum([_overlap(spot, other) for other in taken]))
        taken.append(spot)
        draw.rectangle(spot, fill=tuple(int(channel) for channel in color))
        dark = np.dot(color, (0.299, 0.587, 0.114)) < 140  # the luma of the plate, by ITU-R BT.601
        draw.text((spot[0] + 3, spot[1] + 1), name, font=font, fill="white" if dark else "black")
    return np.asarray(picture)


def area(corners: Rectangle) -> int:
    """Return the number of pixels in a rectangle; 0 if opposite borders have crossed."""
    left, top, right, bottom = corners
    return max(right - left, 0) * max(bottom - top, 0)


def _overlap(one: Rectangle, other: Rectangle) -> int:
    return area((max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])))


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Load DejaVu Sans, which comes with matplotlib and covers the scripts of many languages."""
    from matplotlib import get_data_path

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)
