"""How the files of a data set become pixels: the one reader of training, evaluation, demo and `Predictor`."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .bands import NUMPY_SUFFIXES, TIFF_SUFFIXES, opened_raster
from .errors import UnreadableImage, UnsupportedImage
from .images import ORIENTATION, opened_image, read_image

_COLOURS = ("red", "green", "blue")


class ImageHeader(NamedTuple):
    """What an image file says of itself."""

    kind: str  # Pillow's mode, or the bands and their type
    size: tuple[int, int]  # (height, width) in pixels, as stored
    orientation: int  # the EXIF orientation


class ImageReader:
    """Reads images of 8-bit colours; or of named bands; or of any depth, by a range of values that is stated.

    Pixels are grey levels: 0 to 255 stand for the lowest and the highest value of the range, and values beyond the
    range go beyond 0 and 255, since nothing is clipped. So `pixel_mean` and `pixel_std` have one unit for all images.
    """

    def __init__(
        self,
        *,
        image_format: str = "RGB",
        bands: Sequence[str] | None = None,
        value_range: Sequence[float] | None = None,
    ) -> None:
        """
        Args:
            image_format: The order of the channels without `bands`, `RGB` or `BGR` as in Detectron2.
            bands: The names of the bands, in the order of the file, which has to have as many; None for colours.
            value_range: The two stored values that become the grey levels 0 and 255; None takes 8-bit values as they
                are, and refuses all others.

        Raises:
            ValueError: No bands, two of one name, or a range that is none.
        """
        self.image_format = image_format
        self.bands = None if bands is None else tuple(map(str, bands))
        self.value_range = None if value_range is None else tuple(map(float, value_range))
        if self.bands is not None and (not self.bands or len(set(self.bands)) < len(self.bands)):
            raise ValueError(f"dataset.bands is {list(self.bands)}; wanted different names, one a band")
        ends = self.value_range
        if ends is not None and not (len(ends) == 2 and -math.inf < ends[0] < ends[1] < math.inf):
            raise ValueError(f"dataset.value_range is {list(ends)}; wanted two numbers, the lower first")

    @property
    def is_plain(self) -> bool:
        """Whether images are colours of 8 bits, as Detectron2 reads them."""
        return self.bands is None and self.value_range is None

    @property
    def channels(self) -> int:
        return 3 if self.bands is None else len(self.bands)

    def __call__(self, path: str) -> np.ndarray:
        """Read an image.

        Args:
            path: The path of the file.

        Returns:
            (H, W, C) array of uint8, or of float32 grey levels if there is a `value_range`.

        Raises:
            UnreadableImage: See `read_image`.
            UnsupportedImage: The image has other bands or another depth than this reader takes.
        """
        if self.is_plain:
            with _settings_named(path):
                return read_image(path, image_format=self.image_format)
        with opened_raster(path) as raster:
            height, width, _ = raster.shape
            self.check(raster.shape, raster.dtype, source=f"image file {path}")
            return self.to_pixels(raster.window(slice(0, height), slice(0, width)), source=f"image file {path}")

    def check(self, shape: tuple[int, ...], dtype: np.dtype, *, source: str) -> None:
        """Refuse values that are not what this reader takes.

        Args:
            shape: The shape of the stored values, (H, W, bands).
            dtype: Their type.
            source: What they are, for the message.

        Raises:
            UnsupportedImage: See `__call__`.
        """
        wanted = f"3 or 1 ({self.image_format})" if self.bands is None else f"{self.channels} ({', '.join(self.bands)})"
        if shape[2] not in ((1, 3) if self.bands is None else (self.channels,)):
            raise UnsupportedImage(f"{source} has {shape[2]} bands; wanted {wanted}; 'dataset.bands=[a,b]' names them")
        if self.value_range is None and dtype != np.uint8:
            raise UnsupportedImage(
                f"{source} has values of the type {dtype}; wanted 8 bits, or 'dataset.value_range=[low,high]', the "
                "values that become the grey levels 0 and 255"
            )

    def to_pixels(self, stored: np.ndarray, *, source: str) -> np.ndarray:
        """Turn stored values that have been checked into pixels.

        Args:
            stored: (h, w, bands), in the order of the file.
            source: What they are, for the message.

        Returns:
            As of `__call__`.

        Raises:
            UnsupportedImage: Values that are no finite numbers.
        """
        if self.bands is None:
            stored = np.repeat(stored, 3, axis=2) if stored.shape[2] == 1 else stored
            stored = stored if self.image_format == "RGB" else stored[:, :, ::-1]
        if self.value_range is None:
            return np.ascontiguousarray(stored)
        missing = stored.size - int(np.isfinite(stored).sum()) if stored.dtype.kind == "f" else 0
        if missing:
            raise UnsupportedImage(
                f"{source} has {missing} values that are no finite numbers; wanted them filled, and ignored in "
                "the label map"
            )
        low, high = self.value_range
        values = (stored.astype(np.result_type(stored.dtype, np.float32)) - low) * (255 / (high - low))
        return np.ascontiguousarray(values, dtype=np.float32)

    def from_array(self, image: np.ndarray, *, name: str = "the image") -> np.ndarray:
        """Turn an array of a caller into pixels.

        Args:
            image: (H, W, C) stored values, colours in RGB order.
            name: What the image is called in messages.

        Raises:
            ValueError: Another shape, or another type than the reader takes.
        """
        if self.is_plain and (image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape):
            raise ValueError(
                f"{name} has shape {image.shape} and type {image.dtype}; wanted (H, W, 3) uint8, or (3, H, W) of a "
                "tensor: grey levels from 0 to 255"
            )
        if image.ndim != 3 or 0 in image.shape or image.dtype.kind not in "uif":
            raise ValueError(f"{name} has shape {image.shape} and type {image.dtype}; wanted (H, W, bands) numbers")
        self.check(image.shape, image.dtype, source=name)
        return self.to_pixels(image, source=name)

    def picture(self, pixels: np.ndarray) -> np.ndarray:
        """Show pixels as a picture.

        Args:
            pixels: (H, W, C) as this reader gives them.

        Returns:
            (H, W, 3) uint8 RGB: the bands named red, green and blue if there are these, else the first three, or the
            first one in grey; clipped to 0..255.
        """
        if self.bands is None:
            shown = pixels if self.image_format == "RGB" else pixels[:, :, ::-1]
        elif set(_COLOURS) <= set(self.bands):
            shown = pixels[:, :, [self.bands.index(name) for name in _COLOURS]]
        else:
            shown = pixels[:, :, :3] if self.channels > 2 else np.repeat(pixels[:, :, :1], 3, axis=2)
        return np.ascontiguousarray(shown if shown.dtype == np.uint8 else shown.clip(0, 255).round().astype(np.uint8))

    def read_picture(self, path: str) -> np.ndarray:
        """Read an image for pictures, (H, W, 3) uint8 RGB; see `picture`."""
        return self.picture(self(path))

    @contextlib.contextmanager
    def windows(self, path: str) -> Iterator[tuple[tuple[int, int], Callable[[slice, slice], np.ndarray]]]:
        """Open an image for the length of a `with` block, inside which parts of it can be read.

        Args:
            path: The path of the file.

        Yields:
            (height, width) of the image, and a function from rows and columns to their pixels, as of `__call__`. Of
            TIFF and NumPy files no more than these is read; others are read whole.

        Raises:
            ValueError: See `__call__`.
        """
        source = f"image file {path}"
        if self.is_plain and not path.lower().endswith(TIFF_SUFFIXES):
            whole = self(path)
            yield whole.shape[:2], lambda rows, columns: whole[rows, columns]
            return
        with opened_raster(path) as raster:
            self.check(raster.shape, raster.dtype, source=source)
            yield (
                raster.shape[:2],
                lambda rows, columns: self.to_pixels(raster.window(rows, columns), source=source),
            )

    def header(self, path: str) -> ImageHeader:
        """Read what a file says of itself, without its pixels where the format allows that.

        Raises:
            ValueError: See `__call__`.
        """
        if self.is_plain:
            with _settings_named(path), opened_image(path) as image:
                return ImageHeader(image.mode, image.size[::-1], image.getexif().get(ORIENTATION, 1))
        with opened_raster(path) as raster:
            height, width, count = raster.shape
            return ImageHeader(f"{count} x {raster.dtype}", (height, width), 1)


@contextlib.contextmanager
def _settings_named(path: str) -> Iterator[None]:
    """Name the settings by which a file can be read that Pillow does not take for 8-bit colours."""
    try:
        yield
    except UnreadableImage as error:
        if not path.lower().endswith(NUMPY_SUFFIXES + TIFF_SUFFIXES):
            raise
        raise UnreadableImage(
            f"{error}; for other bands than colours give 'dataset.bands=[a,b]', for more than 8 bits "
            "'dataset.value_range=[low,high]', the values that become the grey levels 0 and 255"
        ) from error
