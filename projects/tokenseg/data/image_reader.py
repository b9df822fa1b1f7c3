"""The reader that converts image files to pixels in training, evaluation, the demo and `Predictor`."""

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
    """The metadata in an image file."""

    kind: str  # Pillow's mode, or the number of bands and their type
    size: tuple[int, int]  # (height, width) in pixels, as stored
    orientation: int  # the EXIF orientation


class ImageReader:
    """Reads images of 8-bit colours, images with named bands, and images of any bit depth with a given value range.

    Pixels are returned in grey levels: 0 and 255 stand for the two ends of the range. Values outside the range are not
    clipped, so their grey levels are below 0 or above 255. `pixel_mean` and `pixel_std` are therefore in grey levels
    for all images.
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
            image_format: The order of the channels if `bands` is None, `RGB` or `BGR` as in Detectron2.
            bands: The names of all bands in the order of the file, or None for colour images.
            value_range: The two stored values that become the grey levels 0 and 255. With None, images must have 8
                bits, and their values are the grey levels.

        Raises:
            ValueError: `bands` is empty or has duplicates, or `value_range` is not two ascending numbers.
        """
        self.image_format = image_format
        self.bands = None if bands is None else tuple(map(str, bands))
        self.value_range = None if value_range is None else tuple(map(float, value_range))
        if self.bands is not None and (not self.bands or len(set(self.bands)) < len(self.bands)):
            raise ValueError(f"dataset.bands is {list(self.bands)}; wanted a different name for each band")
        ends = self.value_range
        if ends is not None and not (len(ends) == 2 and -math.inf < ends[0] < ends[1] < math.inf):
            raise ValueError(f"dataset.value_range is {list(ends)}; wanted two numbers, the lower first")

    @property
    def is_plain(self) -> bool:
        """Whether images are ordinary 8-bit colour images, as Detectron2 reads them."""
        return self.bands is None and self.value_range is None

    @property
    def channels(self) -> int:
        """The number of channels C of the pixels."""
        return 3 if self.bands is None else len(self.bands)

    def __call__(self, path: str) -> np.ndarray:
        """Read an image.

        Args:
            path: The path of the file.

        Returns:
            The pixels (H, W, C) in grey levels, uint8, or float32 if there is a `value_range`.

        Raises:
            UnreadableImage: See `read_image`.
            UnsupportedImage: The image's bands or bit depth differ from what this reader expects.
        """
        if self.is_plain:
            with _settings_named(path):
                return read_image(path, image_format=self.image_format)
        with opened_raster(path) as raster:
            height, width, _ = raster.shape
            self.check(raster.shape, raster.dtype, source=f"image file {path}")
            return self.to_pixels(raster.window(slice(0, height), slice(0, width)), source=f"image file {path}")

    def check(self, shape: tuple[int, ...], dtype: np.dtype, *, source: str) -> None:
        """Check that stored values have the bands and the bit depth that this reader expects.

        Args:
            shape: The shape of the stored values, (H, W, bands).
            dtype: The type of the stored values.
            source: The name of their source, for the message.

        Raises:
            UnsupportedImage: See `__call__`.
        """
        wanted = f"3 or 1 ({self.image_format})" if self.bands is None else f"{self.channels} ({', '.join(self.bands)})"
        if shape[2] not in ((1, 3) if self.bands is None else (self.channels,)):
            raise UnsupportedImage(
                f"{source} has {shape[2]} bands; wanted {wanted}; to read other bands, list the names of all of them: "
                "'dataset.bands=[a,b]'"
            )
        if self.value_range is None and dtype != np.uint8:
            raise UnsupportedImage(
                f"{source} has values of the type {dtype}; wanted 8 bits, or 'dataset.value_range=[low,high]', the "
                "two values that become the grey levels 0 and 255"
            )

    def to_pixels(self, stored: np.ndarray, *, source: str) -> np.ndarray:
        """Convert stored values, which `check` has accepted, to pixels.

        Args:
            stored: The stored values (h, w, bands), with the bands in the order of the file.
            source: The name of their source, for the message.

        Returns:
            The pixels, as from `__call__`.

        Raises:
            UnsupportedImage: Some values are NaN or infinite.
        """
        if self.bands is None:
            stored = np.repeat(stored, 3, axis=2) if stored.shape[2] == 1 else stored
            stored = stored if self.image_format == "RGB" else stored[:, :, ::-1]
        if self.value_range is None:
            return np.ascontiguousarray(stored)
        missing = stored.size - int(np.isfinite(stored).sum()) if stored.dtype.kind == "f" else 0
        if missing:
            raise UnsupportedImage(
                f"{source} has {missing} values that are NaN or infinite; wanted finite numbers in their place, and "
                "the ignore label at these pixels of the label map"
            )
        low, high = self.value_range
        values = (stored.astype(np.result_type(stored.dtype, np.float32)) - low) * (255 / (high - low))
        return np.ascontiguousarray(values, dtype=np.float32)

    def from_array(self, image: np.ndarray, *, name: str = "the image") -> np.ndarray:
        """Convert an array that the caller provides to pixels, as from `__call__`.

        Args:
            image: The stored values (H, W, bands), with colours in RGB order.
            name: The name of the image in messages.

        Raises:
            ValueError: The reader does not accept the shape or the type of the array.
        """
        if self.is_plain and (image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape):
            raise ValueError(
                f"{name} has shape {image.shape} and type {image.dtype}; wanted (H, W, 3) uint8 grey levels from 0 to "
                "255, or a tensor (3, H, W) of them"
            )
        if image.ndim != 3 or 0 in image.shape or image.dtype.kind not in "uif":
            raise ValueError(f"{name} has shape {image.shape} and type {image.dtype}; wanted (H, W, bands) numbers")
        self.check(image.shape, image.dtype, source=name)
        return self.to_pixels(image, source=name)

    def picture(self, pixels: np.ndarray) -> np.ndarray:
        """Convert pixels to a picture for visualisation.

        Args:
            pixels: The pixels (H, W, C), as this reader returns them.

        Returns:
            The picture (H, W, 3) uint8 RGB, clipped to 0..255. It shows the bands named red, green and blue if they
            exist, else the first three bands, or, if there are fewer than three, the first one in grey.
        """
        if self.bands is None:
            shown = pixels if self.image_format == "RGB" else pixels[:, :, ::-1]
        elif set(_COLOURS) <= set(self.bands):
            shown = pixels[:, :, [self.bands.index(name) for name in _COLOURS]]
        else:
            shown = pixels[:, :, :3] if self.channels > 2 else np.repeat(pixels[:, :, :1], 3, axis=2)
        return np.ascontiguousarray(shown if shown.dtype == np.uint8 else shown.clip(0, 255).round().astype(np.uint8))

    def read_picture(self, path: str) -> np.ndarray:
        """Read an image for visualisation, (H, W, 3) uint8 RGB; see `picture`."""
        return self.picture(self(path))

    @contextlib.contextmanager
    def windows(self, path: str) -> Iterator[tuple[tuple[int, int], Callable[[slice, slice], np.ndarray]]]:
        """Open an image of which windows can be read inside the `with` block.

        Args:
            path: The path of the file.

        Yields:
            The (height, width) of the image, and a function that returns the pixels, as from `__call__`, of the given
            rows and columns. It reads only this window of TIFF and NumPy files; other files are read whole.

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
        """Read the metadata of an image file, without its pixels if the format allows this.

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
    """If Pillow cannot read a TIFF or NumPy file, add the settings with which it could be read to the error."""
    try:
        yield
    except UnreadableImage as error:
        if not path.lower().endswith(NUMPY_SUFFIXES + TIFF_SUFFIXES):
            raise
        raise UnreadableImage(
            f"{error}; if its bands are not colours, set 'dataset.bands=[a,b]'; if it has more than 8 bits, set "
            "'dataset.value_range=[low,high]', the values that become the grey levels 0 and 255"
        ) from error
