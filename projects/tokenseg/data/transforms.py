"""Augmentations that Detectron2 lacks, or whose behaviour differs between versions of Detectron2."""

import math
from collections.abc import Sequence

import numpy as np
from detectron2.data import transforms as T
from detectron2.projects.point_rend import ColorAugSSDTransform
from PIL import Image


def _scaled_size(height: int, width: int, *, short: float, long: float) -> tuple[int, int]:
    """Compute the largest size of the same aspect ratio whose sides are at most `short` and `long` pixels."""
    scale = min(short / min(height, width), long / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


class ResizeBands(T.ResizeTransform):
    """Detectron2's resize, which resizes each band separately unless the image has 8-bit colours.

    Pillow would interpret four 8-bit bands as colours with transparency and weight the colours by it, and Detectron2
    would resize floating-point values without an anti-aliasing filter. Resized separately, all bands are filtered in
    the same way as 8-bit colours.
    """

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        if img.ndim != 3 or (img.dtype == np.uint8 and img.shape[2] == 3):
            return super().apply_image(img, interp)
        method = self.interp if interp is None else interp
        size = (self.new_w, self.new_h)
        bands = [
            np.asarray(Image.fromarray(np.ascontiguousarray(band)).resize(size, method))
            for band in np.moveaxis(img, 2, 0)
        ]
        return np.stack(bands, axis=2)


class ResizeToBase(T.Augmentation):
    """Resizes to a base size times a random ratio, and keeps the aspect ratio.

    Unlike in `ResizeShortestEdge`, the bound on the long side is also multiplied by the ratio.
    """

    def __init__(
        self,
        *,
        short: float,
        long: float | None,
        ratio_range: Sequence[float] = (1.0, 1.0),
        least_short: float = 0,
    ) -> None:
        """
        Args:
            short: The maximum length of the short side at ratio 1, in pixels.
            long: The maximum length of the long side at ratio 1, in pixels; None means no maximum.
            ratio_range: The lowest and the highest ratio, between which ratios are drawn uniformly. Equal values make
                the resize deterministic.
            least_short: A lower limit for the maximum length of the short side after it was multiplied by the ratio, in
                pixels. The maximum length of the long side still applies.

        Raises:
            ValueError: The bounds or the ratios are not positive or not in ascending order.
        """
        super().__init__()
        low, high = ratio_range
        if not 0 < low <= high or short <= 0 or (long is not None and long < short) or least_short < 0:
            raise ValueError(
                f"got short={short}, long={long}, ratio_range={tuple(ratio_range)}, least_short={least_short}; "
                "wanted 0 < short <= long (or long=None), 0 < low <= high, least_short >= 0"
            )
        self.short, self.long, self.low, self.high, self.least_short = short, long, low, high, least_short

    def get_transform(self, image: np.ndarray) -> T.Transform:
        ratio = self.low if self.low == self.high else self._rand_range(self.low, self.high)
        height, width = image.shape[:2]
        short = max(self.short * ratio, self.least_short)
        long = math.inf if self.long is None else self.long * ratio
        return ResizeBands(height, width, *_scaled_size(height, width, short=short, long=long))

    def at_scale(self, scale: float) -> "ResizeToBase":
        """Return this augmentation with its base size multiplied by the scale; `least_short` is unchanged."""
        return ResizeToBase(
            short=self.short * scale,
            long=None if self.long is None else self.long * scale,
            ratio_range=(self.low, self.high),
            least_short=self.least_short,
        )


class BandDistortion(T.Transform):
    """Changes the brightness and the contrast of all bands equally."""

    def __init__(self, *, contrast: float, brightness: float) -> None:
        """
        Args:
            contrast: The factor by which the grey levels are multiplied.
            brightness: The number of grey levels that is then added.
        """
        super().__init__()
        self._set_attributes(locals())

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        values = img * np.float32(self.contrast) + np.float32(self.brightness)
        return values.clip(0, 255).round().astype(np.uint8) if img.dtype == np.uint8 else values

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        return segmentation

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        return coords


class ColorDistortion(T.Augmentation):
    """SSD's random brightness, contrast, saturation and hue: PointRend's `ColorAugSSDTransform` as an augmentation.

    Detectron2 wraps a bare transform in a local class, which cannot be pickled and sent to spawned loader workers.
    Saturation and hue are only defined for 8-bit colours. Other images get only SSD's brightness (up to 32 grey levels)
    and contrast (0.5 to 1.5), each with a probability of one half and equally in all bands.
    """

    def __init__(self, *, image_format: str) -> None:
        """
        Args:
            image_format: The order of the channels, `RGB` or `BGR`.
        """
        super().__init__()
        self.transform = ColorAugSSDTransform(img_format=image_format)

    def get_transform(self, image: np.ndarray) -> T.Transform:
        if image.dtype == np.uint8 and image.shape[2] == 3:
            return self.transform
        contrast = self._rand_range(0.5, 1.5) if self._rand_range() < 0.5 else 1.0
        return BandDistortion(
            contrast=contrast, brightness=self._rand_range(-32, 32) if self._rand_range() < 0.5 else 0.0
        )


class PadTransform(T.Transform):
    """Pads images with a colour, and label maps with the ignore label, at the bottom and on the right."""

    def __init__(self, *, bottom: int, right: int, image_value: Sequence[float], label_value: int) -> None:
        super().__init__()
        self._set_attributes(locals())

    def _pad(self, array: np.ndarray, value: np.ndarray | int) -> np.ndarray:
        height, width = array.shape[:2]
        shape = (height + self.bottom, width + self.right, *array.shape[2:])
        padded = np.empty(shape, dtype=array.dtype)
        padded[:] = value
        padded[:height, :width] = array
        return padded

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        value = np.asarray(self.image_value)
        return self._pad(img, np.round(value) if np.issubdtype(img.dtype, np.integer) else value)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        return self._pad(segmentation, self.label_value)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        return coords


class PadToSize(T.Augmentation):
    """Pads sides shorter than those of `size` at the bottom and on the right; longer sides are unchanged.

    It replaces the padding of Detectron2's FixedSizeCrop, which fills label maps with class 0 in version 0.5.
    """

    def __init__(self, *, size: Sequence[int], image_value: Sequence[float], label_value: int) -> None:
        """
        Args:
            size: The (height, width) in pixels.
            image_value: The colour of the padding, one number per channel: the mean that the model subtracts.
            label_value: The ignore label, with which label maps are padded.
        """
        super().__init__()
        self.height, self.width = size
        self.image_value, self.label_value = tuple(image_value), label_value

    def get_transform(self, image: np.ndarray) -> T.Transform:
        height, width = image.shape[:2]
        if image.ndim != 3 or image.shape[2] != len(self.image_value):
            raise ValueError(
                f"an image of shape {image.shape} is padded with {len(self.image_value)} values, those of "
                "model.pixel_mean; wanted one value per channel"
            )
        return PadTransform(
            bottom=max(self.height - height, 0),
            right=max(self.width - width, 0),
            image_value=self.image_value,
            label_value=self.label_value,
        )
