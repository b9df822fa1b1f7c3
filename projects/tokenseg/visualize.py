"""Pictures of label maps: colours, overlays, and grids of panels."""

from collections.abc import Sequence

import cv2
import numpy as np
from detectron2.data.catalog import Metadata

_IGNORED = (0, 0, 0)
# The colours of error maps.
_CORRECT, _WRONG, _UNCOUNTED = (226, 232, 226), (200, 40, 40), (255, 255, 255)


def palette(metadata: Metadata, *, kind: str = "stuff") -> np.ndarray:
    """Return the colours of a data set's classes: those in its metadata, or otherwise those of `spread_colors`.

    Args:
        metadata: Detectron2's metadata of the data set.
        kind: The kind of classes: `stuff` for the classes of pixels, `thing` for those of instances.

    Returns:
        The colours (K, 3) uint8 RGB.
    """
    colors = metadata.get(f"{kind}_colors")
    if colors:
        return np.array(colors, dtype=np.uint8)
    return spread_colors(len(metadata.get(f"{kind}_classes")))


def spread_colors(count: int) -> np.ndarray:
    """Create the colours of PASCAL VOC, (count, 3) uint8 RGB, which are all different and none of which is black.

    The bits of a class number are distributed over the three channels in turn; its lowest bits become the highest bits
    of the channels, so that consecutive numbers get very different colours.
    """
    numbers, channels = np.arange(1, count + 1)[:, None], np.arange(3)
    bits = [(numbers >> (3 * bit + channels) & 1) << (7 - bit) for bit in range(8)]
    return np.sum(bits, axis=0).astype(np.uint8)


def colorize(ids: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Convert class ids (H, W) to colours (H, W, 3) uint8 RGB. Ids without a class, such as 255, become black."""
    table = np.vstack([colors, _IGNORED]).astype(np.uint8)
    return table[np.where((ids >= 0) & (ids < len(colors)), ids, len(colors))]


def error_map(prediction: np.ndarray, label: np.ndarray, ignore_label: int) -> np.ndarray:
    """Compare class ids (H, W) with a label map, as a picture (H, W, 3) uint8 RGB.

    Errors are red, correct pixels light, and pixels with the ignore label white.
    """
    picture = np.empty((*label.shape, 3), dtype=np.uint8)
    picture[:] = _CORRECT
    picture[prediction != label] = _WRONG
    picture[label == ignore_label] = _UNCOUNTED
    return picture


def overlay(image: np.ndarray, ids: np.ndarray, colors: np.ndarray, alpha: float = 0.55) -> np.ndarray:
    """Blend the colours of ids (H, W) over an image (H, W, 3) uint8 RGB, with the opacity `alpha`."""
    return np.round((1 - alpha) * image + alpha * colorize(ids, colors)).astype(np.uint8)


def heat_map(values: np.ndarray) -> np.ndarray:
    """Draw values (H, W) as a picture (H, W, 3) uint8 RGB, from dark blue for the lowest to yellow for the highest.

    The scale ranges over the central 99 % of the values, so that outliers do not affect it.
    """
    low, high = np.percentile(values, [0.5, 99.5])
    grey = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    return cv2.applyColorMap(np.round(255 * grey).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[:, :, ::-1]


def spotlight(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Darken an image (H, W, 3) uint8 RGB where weights (h, w) of 0 or more are low.

    The image keeps its brightness at the highest weight, and 15 % of it where the weight is 0.
    """
    height, width = image.shape[:2]
    fitted = cv2.resize(np.asarray(weights, np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.round(image * (0.15 + 0.85 * fitted[:, :, None] / max(fitted.max(), 1e-12))).astype(np.uint8)


def draw_outline(image: np.ndarray, mask: np.ndarray, color: Sequence[int] = (255, 60, 60)) -> np.ndarray:
    """Draw the outline of a mask (H, W) on a copy of an image (H, W, 3) uint8 RGB."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(image.copy(), contours, -1, tuple(color), max(1, max(mask.shape) // 150))


def captioned(panel: np.ndarray, text: str, *, side: int = 256) -> np.ndarray:
    """Resize an image (h, w, 3) uint8 RGB to a longer side of `side` pixels, and put a line of text above it."""
    fitted = _fit(panel, side)
    line = np.full((24, fitted.shape[1], 3), 255, dtype=np.uint8)
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
    scale = 0.5 * min(1.0, (fitted.shape[1] - 8) / max(width, 1))
    cv2.putText(line, text, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, scale, (30, 30, 30), 1, cv2.LINE_AA)
    return np.concatenate([line, fitted])


def stack_rows(rows: Sequence[Sequence[np.ndarray]], *, gap: int = 6) -> np.ndarray:
    """Arrange rows of panels (h, w, 3) uint8 RGB on white, aligned left and top, `gap` pixels apart."""
    height = sum(max(panel.shape[0] for panel in row) + gap for row in rows)
    width = max(sum(panel.shape[1] + gap for panel in row) for row in rows) - gap
    canvas, top = np.full((height, width, 3), 255, dtype=np.uint8), 0
    for row in rows:
        left = 0
        for panel in row:
            canvas[top : top + panel.shape[0], left : left + panel.shape[1]] = panel
            left += panel.shape[1] + gap
        top += max(panel.shape[0] for panel in row) + gap
    return canvas


def panel_grid(rows: Sequence[Sequence[np.ndarray]], *, titles: Sequence[str], side: int = 256) -> np.ndarray:
    """Arrange rows of images (h, w, 3) uint8 RGB in a grid, with a title over every column.

    Every image is resized to a longer side of `side` pixels.
    """
    gap, head = 6, 30
    width = len(titles) * (side + gap) - gap
    title_row = np.full((head, width, 3), 255, dtype=np.uint8)
    for column, title in enumerate(titles):
        place = (column * (side + gap) + 4, head - 10)
        cv2.putText(title_row, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (30, 30, 30), 1, cv2.LINE_AA)
    strips = [title_row]
    for panels in rows:
        fitted = [_fit(panel, side) for panel in panels]
        strip = np.full((max(panel.shape[0] for panel in fitted) + gap, width, 3), 255, dtype=np.uint8)
        for column, panel in enumerate(fitted):
            left = column * (side + gap) + (side - panel.shape[1]) // 2
            strip[: panel.shape[0], left : left + panel.shape[1]] = panel
        strips.append(strip)
    return np.concatenate(strips)


def _fit(image: np.ndarray, side: int) -> np.ndarray:
    """Resize an image to a longer side of `side`, by nearest-neighbour sampling, which does not mix label colours."""
    scale = side / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)


def legend(names: Sequence[str], colors: np.ndarray, *, width: int) -> np.ndarray:
    """Draw a legend (h, width, 3) uint8 RGB with the name of each colour."""
    cell, line = 130, 24
    per_row = max(1, width // cell)
    canvas = np.full((-(-len(names) // per_row) * line + 6, width, 3), 255, dtype=np.uint8)
    for place, (name, color) in enumerate(zip(names, colors, strict=True)):
        left, top = place % per_row * cell + 4, place // per_row * line + 4
        cv2.rectangle(canvas, (left, top), (left + 16, top + 16), [int(c) for c in color], -1)
        cv2.rectangle(canvas, (left, top), (left + 16, top + 16), (90, 90, 90), 1)
        cv2.putText(canvas, name, (left + 22, top + 13), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (30, 30, 30), 1, cv2.LINE_AA)
    return canvas
