"""Pictures of what a model sees in an image, for a class, an instance or a pixel; a user interface displays them."""

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
    """An image and a model's predictions for it.

    Attributes:
        image: The image (H, W, 3) uint8 RGB, shrunk if it was large.
        picture: The image with the predictions drawn over it, (f H, f W, 3), where f is an integer factor.
        ids: The class of each pixel (H, W) from a segmentor; None for a detector.
        found: The instances from a detector, highest score first; None for a segmentor.
    """

    image: np.ndarray
    picture: np.ndarray
    ids: np.ndarray | None
    found: Instances | None

    def pixel(self, x: int, y: int) -> tuple[int, int]:
        """Convert a column x and row y of the picture to a row and column of the image."""
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
            predictor: The predictor with the model.
            longest_side: The maximum of an image's longer side in pixels. Larger images, such as photos of a phone, are
                shrunk, since the scores of all classes at full size would take too much memory.
            panel_side: The maximum of a panel's longer side in pixels.
            token_count: The number of tokens whose regions are shown.
        """
        self.predictor, self.longest_side = predictor, longest_side
        self._panel_side, self._token_count = panel_side, token_count
        self._names = predictor.class_names
        kind = "stuff" if predictor.task == "sem_seg" else "thing"
        self._classes: dict[str, Any] = {"names": self._names, "colors": palette(predictor.metadata, kind=kind)}

    def look(self, path: str, *, confidence_threshold: float = 0.0) -> Look:
        """Predict the classes or instances of an image file.

        Args:
            path: The path of the file.
            confidence_threshold: The lowest score of an instance, for detectors.

        Raises:
            ValueError: The file cannot be read.
        """
        image = _shrunk(read_image(path), self.longest_side)
        if self.predictor.task == "sem_seg":
            ids = cast(np.ndarray, self.predictor.class_ids(image))  # a single image gives a single array
            return Look(image, draw_segments(image, ids, **self._classes), ids, None)
        found = self.predictor.instances(image, confidence_threshold=confidence_threshold)
        return Look(image, draw_found(image, found, **self._classes), None, found)

    def choices(self, seen: Look) -> list[tuple[str, int]]:
        """List the possible choices: label and number of every class, by descending area, or of every instance."""
        if seen.found is not None:
            pairs = zip(seen.found.pred_classes.tolist(), seen.found.scores.tolist(), strict=True)
            return [
                (f"{place + 1}: {caption_text(self._names[class_id])} {score:.2f}", place)
                for place, (class_id, score) in enumerate(pairs)
            ]
        assert seen.ids is not None  # a `Look` has either instances or class ids
        counts = np.bincount(seen.ids.ravel(), minlength=len(self._names))
        shares = 100 * counts / seen.ids.size
        order = [int(class_id) for class_id in np.argsort(-counts, kind="stable")]
        return [(f"{caption_text(self._names[k])} ({shares[k]:.1f} %)", k) for k in order if k < len(self._names)]

    def choice_at(self, seen: Look, pixel: tuple[int, int]) -> int | None:
        """Return the class at a pixel, or the smallest instance that covers it; None if there is none.

        Args:
            seen: The image and its predictions.
            pixel: The row and column of the pixel.
        """
        if seen.ids is not None:
            return int(seen.ids[pixel])
        masks = self._masks(seen)
        over = [place for place in range(len(masks)) if masks[place][pixel]]
        return min(over, key=lambda place: masks[place].sum(), default=None)

    def mask(self, seen: Look, choice: int) -> np.ndarray:
        """Return the mask (H, W) bool of a class or of an instance."""
        return seen.ids == choice if seen.ids is not None else self._masks(seen)[choice]

    def stages(self, seen: Look, choice: int) -> list[Panel]:
        """Draw the map of a class at each stage of a segmentor's head; for a detector the list is empty.

        Raises:
            ValueError: The head has no stages to show.
        """
        if seen.ids is None:
            return []
        maps = self.predictor.token_maps(seen.image, [choice])
        return [(heat_map(self._small(values[0])), title) for title, values in maps.items()]

    def mask_panel(self, seen: Look, choice: int) -> Panel:
        """Draw the image with everything outside a class or an instance darkened."""
        mask = self.mask(seen, choice)
        lit = draw_outline(np.where(mask[:, :, None], seen.image, seen.image // 4), mask)
        label = next((label for label, number in self.choices(seen) if number == choice), "")
        return self._small(lit), label

    def regions(self, seen: Look, choice: int, pixel: tuple[int, int] | None = None) -> list[Panel]:
        """Draw the regions of the tokens that are most related to a pixel, a class or an instance.

        Args:
            seen: The image and its predictions.
            choice: The class or the instance.
            pixel: The row and column of the pixel; None selects the tokens by the class or the instance.

        Returns:
            The regions of the tokens with the highest shares, with these shares in the captions. The share is that of
            the token in the weights of all tokens at the pixel, or the part of the token's region that is on the class
            or the instance.

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
        """Return the masks (instances, H, W) bool of all instances, or their boxes if the model has no masks."""
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
    """Collect panels from several functions, some of which a model may not support.

    Args:
        questions: A name for the kind of panels -> the function that draws them, or raises a ValueError.

    Returns:
        The panels that were drawn, and a sentence with the reason for each kind that was not.
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
    """Shrink a picture (H, W, ...) so that its longer side is at most `longest_side`."""
    height, width = picture.shape[:2]
    scale = longest_side / max(height, width)
    if scale >= 1:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _tokens_at(weights: np.ndarray, pixel: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Compute the share (Q,) of each token in the weights (Q, h, w) at a pixel of an image of the given size."""
    row, column = (place * cells // side for place, cells, side in zip(pixel, weights.shape[-2:], size, strict=True))
    cell = weights[:, row, column]
    return cell / max(cell.sum(), 1e-12)
