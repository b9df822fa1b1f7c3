"""What a model sees in an image, asked for by a class, an instance or a pixel: pictures for a page of any kind."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
from detectron2.structures import Instances

from .data.images import read_image
from .inspection import tokens_on
from .plain_text import caption_text
from .predictor import Predictor
from .visualize import draw_outline, heat_map, palette, spotlight
from .visualize_instances import draw_found
from .visualize_names import draw_segments

# A picture (H, W, 3) uint8 RGB and its caption.
Panel = tuple[np.ndarray, str]


@dataclass(frozen=True)
class Look:
    """An image and what a model has found in it.

    Attributes:
        image: The image (H, W, 3) uint8 RGB, shrunk if it was large.
        picture: The image with what was found drawn over it, (f H, f W, 3), where f is a whole factor.
        ids: The class of each pixel (H, W); None of a detector.
        found: The instances, highest score first; None of a segmentor.
    """

    image: np.ndarray
    picture: np.ndarray
    ids: np.ndarray | None
    found: Instances | None

    def pixel(self, x: int, y: int) -> tuple[int, int]:
        """The row and column of the image at a place in the picture, given by its column and row."""
        factor = self.picture.shape[0] // self.image.shape[0]
        height, width = self.image.shape[:2]
        return min(max(y // factor, 0), height - 1), min(max(x // factor, 0), width - 1)


class Explorer:
    """Answers questions about single images, each with one run of the model."""

    def __init__(
        self, predictor: Predictor, *, longest_side: int = 1280, panel_side: int = 480, token_count: int = 6
    ) -> None:
        """
        Args:
            predictor: The model.
            longest_side: The longer side of an image in pixels above which it is shrunk, so that a photo of a phone
                does not take the memory of its full size for every class.
            panel_side: The longer side of a panel in pixels, for images that are larger.
            token_count: How many regions of tokens are shown.
        """
        self.predictor, self.longest_side = predictor, longest_side
        self._panel_side, self._token_count = panel_side, token_count
        self._names = predictor.class_names
        kind = "stuff" if predictor.task == "sem_seg" else "thing"
        self._classes: dict[str, Any] = {"names": self._names, "colors": palette(predictor.metadata, kind=kind)}

    def look(self, path: str, *, confidence_threshold: float = 0.0) -> Look:
        """Predict an image file.

        Args:
            path: The path of the file.
            confidence_threshold: The lowest score of an instance, for detectors.

        Raises:
            ValueError: The file cannot be read.
        """
        image = _shrunk(read_image(path), self.longest_side)
        if self.predictor.task == "sem_seg":
            ids = cast(np.ndarray, self.predictor.class_ids(image))  # of one image
            return Look(image, draw_segments(image, ids, **self._classes), ids, None)
        found = self.predictor.instances(image, confidence_threshold=confidence_threshold)
        return Look(image, draw_found(image, found, **self._classes), None, found)

    def choices(self, seen: Look) -> list[tuple[str, int]]:
        """What can be asked about: label and number of every class, the largest first, or of every instance."""
        if seen.found is not None:
            pairs = zip(seen.found.pred_classes.tolist(), seen.found.scores.tolist(), strict=True)
            return [
                (f"{place + 1}: {caption_text(self._names[class_id])} {score:.2f}", place)
                for place, (class_id, score) in enumerate(pairs)
            ]
        assert seen.ids is not None  # without instances there are classes of pixels
        counts = np.bincount(seen.ids.ravel(), minlength=len(self._names))
        shares = 100 * counts / seen.ids.size
        order = [int(class_id) for class_id in np.argsort(-counts, kind="stable")]
        return [(f"{caption_text(self._names[k])} ({shares[k]:.1f} %)", k) for k in order if k < len(self._names)]

    def choice_at(self, seen: Look, pixel: tuple[int, int]) -> int | None:
        """The class at a pixel, or the smallest instance over it; None where there is none.

        Args:
            seen: The image.
            pixel: Row and column.
        """
        if seen.ids is not None:
            return int(seen.ids[pixel])
        masks = self._masks(seen)
        over = [place for place in range(len(masks)) if masks[place][pixel]]
        return min(over, key=lambda place: masks[place].sum(), default=None)

    def mask(self, seen: Look, choice: int) -> np.ndarray:
        """The pixels (H, W) bool of a class or of an instance."""
        return seen.ids == choice if seen.ids is not None else self._masks(seen)[choice]

    def stages(self, seen: Look, choice: int) -> list[Panel]:
        """What the head of a segmentor has of a class, stage by stage; nothing of a detector.

        Raises:
            ValueError: The head has no stages to show.
        """
        if seen.ids is None:
            return []
        maps = self.predictor.token_maps(seen.image, [choice])
        return [(heat_map(self._small(values[0])), title) for title, values in maps.items()]

    def mask_panel(self, seen: Look, choice: int) -> Panel:
        """The image, dark outside a class or an instance."""
        mask = self.mask(seen, choice)
        lit = draw_outline(np.where(mask[:, :, None], seen.image, seen.image // 4), mask)
        label = next((label for label, number in self.choices(seen) if number == choice), "")
        return self._small(lit), label

    def regions(self, seen: Look, choice: int, pixel: tuple[int, int] | None = None) -> list[Panel]:
        """Where the tokens look that have most to do with a pixel, or with a class or an instance.

        Args:
            seen: The image.
            choice: The class or the instance.
            pixel: Row and column of the pixel; None asks about the class or the instance.

        Returns:
            The tokens with the highest shares, and these: how much of the pixel is the token's, or how much of the
            token's region lies on the class or the instance.

        Raises:
            ValueError: The model has no tokens with regions.
        """
        weights, image = self.predictor.regions(seen.image), self._small(seen.image)
        if pixel is None:
            shares = tokens_on(weights, self.mask(seen, choice))
        else:
            shares = _tokens_at(weights, pixel, seen.image.shape[:2])
        order = np.argsort(-shares, kind="stable")[: self._token_count]
        return [(spotlight(image, weights[k]), f"token {k}: {100 * shares[k]:.0f} %") for k in order]

    def _masks(self, seen: Look) -> np.ndarray:
        """The pixels of each instance (instances, H, W) bool: its mask, or of a model without masks its box."""
        found: Any = seen.found
        if found.has("pred_masks"):
            return found.pred_masks.numpy()
        masks = np.zeros((len(found), *seen.image.shape[:2]), dtype=bool)
        for mask, (left, top, right, bottom) in zip(masks, found.pred_boxes.tensor.round().int(), strict=True):
            mask[max(top, 0) : bottom, max(left, 0) : right] = True
        return masks

    def _small(self, picture: np.ndarray) -> np.ndarray:
        return _shrunk(picture, self._panel_side)


def answers(questions: Mapping[str, Callable[[], Sequence[Panel]]]) -> tuple[list[Panel], list[str]]:
    """Ask several questions.

    Args:
        questions: What is asked for, in words -> the function that gives the panels, or raises ValueError.

    Returns:
        The panels of those that a model answers, and why it does not answer the others.
    """
    panels: list[Panel] = []
    reasons: list[str] = []
    for what, question in questions.items():
        try:
            panels += question()
        except ValueError as error:
            reasons.append(f"No {what}: {error}.")
    return panels, reasons


def _shrunk(picture: np.ndarray, longest_side: int) -> np.ndarray:
    """A picture (H, W, ...) whose longer side is at most `longest_side`."""
    height, width = picture.shape[:2]
    scale = longest_side / max(height, width)
    if scale >= 1:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _tokens_at(weights: np.ndarray, pixel: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """The share that each token has of the cell of a pixel, (Q,); weights (Q, h, w) of an image of this size."""
    row, column = (place * cells // side for place, cells, side in zip(pixel, weights.shape[-2:], size, strict=True))
    cell = weights[:, row, column]
    return cell / max(cell.sum(), 1e-12)
