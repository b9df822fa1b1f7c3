"""Pictures of label maps: colours, overlays, and rows of panels side by side."""

from collections.abc import Sequence

import cv2
import numpy as np
from detectron2.data.catalog import Metadata

_IGNORED = (0, 0, 0)
# Of pictures of errors.
_CORRECT, _WRONG, _UNCOUNTED = (226, 232, 226), (200, 40, 40), (255, 255, 255)


def palette(metadata: Metadata, *, kind: str = "stuff") -> np.ndarray:
    """Find the colours of the classes of a data set: its own, or spread ones where it has none.

    Args:
        metadata: Detectron2's metadata of the data set.
        kind: Which classes are meant: `stuff`, the ids of pixels, or `thing`, those of instances.

    Returns:
        (K, 3) uint8 RGB.
    """
    colors = metadata.get(f"{kind}_colors")
    if colors:
        return np.array(colors, dtype=np.uint8)
    return spread_colors(len(metadata.get(f"{kind}_classes")))


def spread_colors(count: int) -> np.ndarray:
    """(count, 3) uint8 RGB colours, all different and none black: PASCAL VOC's, which deal a number's bits out to the
    channels, lowest first to the highest place."""
    numbers, channels = np.arange(1, count + 1)[:, None], np.arange(3)
    bits = [(numbers >> (3 * bit + channels) & 1) << (7 - bit) for bit in range(8)]
    return np.sum(bits, axis=0).astype(np.uint8)


def colorize(ids: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """(H, W) class ids to (H, W, 3) uint8 RGB; ids without a class, such as the ignore label, are black."""
    table = np.vstack([colors, _IGNORED]).astype(np.uint8)
    return table[np.where((ids >= 0) & (ids < len(colors)), ids, len(colors))]


def error_map(prediction: np.ndarray, label: np.ndarray, ignore_label: int) -> np.ndarray:
    """Draw (H, W) class ids beside the label map: (H, W, 3) uint8 RGB, red where they differ, white where ignored."""
    picture = np.empty((*label.shape, 3), dtype=np.uint8)
    picture[:] = _CORRECT
    picture[prediction != label] = _WRONG
    picture[label == ignore_label] = _UNCOUNTED
    return picture


def overlay(image: np.ndarray, ids: np.ndarray, colors: np.ndarray, alpha: float = 0.55) -> np.ndarray:
    """The colours of (H, W) ids over an (H, W, 3) uint8 RGB image, with a share of `alpha`."""
    return np.round((1 - alpha) * image + alpha * colorize(ids, colors)).astype(np.uint8)


def heat_map(values: np.ndarray) -> np.ndarray:
    """(H, W) numbers as (H, W, 3) uint8 RGB, dark blue the lowest and yellow the highest; outliers do not count."""
    low, high = np.percentile(values, [0.5, 99.5])
    grey = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    return cv2.applyColorMap(np.round(255 * grey).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[:, :, ::-1]


def spotlight(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """An (H, W, 3) uint8 RGB image as bright as (h, w) weights of 0 or more, whose largest leaves it as it is."""
    height, width = image.shape[:2]
    fitted = cv2.resize(np.asarray(weights, np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.round(image * (0.15 + 0.85 * fitted[:, :, None] / max(fitted.max(), 1e-12))).astype(np.uint8)


def draw_outline(image: np.ndarray, mask: np.ndarray, color: Sequence[int] = (255, 60, 60)) -> np.ndarray:
    """An (H, W, 3) uint8 RGB image with the border of an (H, W) mask drawn on it."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(image.copy(), contours, -1, tuple(color), max(1, max(mask.shape) // 150))


def captioned(panel: np.ndarray, text: str, *, side: int = 256) -> np.ndarray:
    """An (h, w, 3) uint8 RGB image, its longer side made `side` pixels long, under a line of text that fits."""
    fitted = _fit(panel, side)
    line = np.full((24, fitted.shape[1], 3), 255, dtype=np.uint8)
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
    scale = 0.5 * min(1.0, (fitted.shape[1] - 8) / max(width, 1))
    cv2.putText(line, text, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, scale, (30, 30, 30), 1, cv2.LINE_AA)
    return np.concatenate([line, fitted])


def stack_rows(rows: Sequence[Sequence[np.ndarray]], *, gap: int = 6) -> np.ndarray:
    """(H, W, 3) uint8 RGB: rows of panels (h, w, 3), left and top aligned on white."""
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
    """Rows of (h, w, 3) uint8 RGB images, the longer sides `side` pixels long, with a title over every column."""
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
    """Resized so that the longer side is `side`; nearest, so that label colours stay pure."""
    scale = side / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)


def legend(names: Sequence[str], colors: np.ndarray, *, width: int) -> np.ndarray:
    """(h, width, 3) uint8 RGB strip that names the colours."""
    cell, line = 130, 24
    per_row = max(1, width // cell)
    canvas = np.full((-(-len(names) // per_row) * line + 6, width, 3), 255, dtype=np.uint8)
    for place, (name, color) in enumerate(zip(names, colors, strict=True)):
        left, top = place % per_row * cell + 4, place // per_row * line + 4
        cv2.rectangle(canvas, (left, top), (left + 16, top + 16), [int(c) for c in color], -1)
        cv2.rectangle(canvas, (left, top), (left + 16, top + 16), (90, 90, 90), 1)
        cv2.putText(canvas, name, (left + 22, top + 13), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (30, 30, 30), 1, cv2.LINE_AA)
    return canvas
