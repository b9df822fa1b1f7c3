"""Reading the stored values of images with any number of bands and any bit depth, as a whole or window by window."""

import contextlib
import os
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Protocol

import cv2
import numpy as np

from .errors import UnreadableImage, UnsupportedImage
from .images import ORIENTATION, REDUCED_OR_MASK, check_single_page, opened_image, stored_bits

# The photometric interpretations of TIFF that need no conversion: grey with black as the lowest value, and RGB.
_PLAIN = (1, 2)
NUMPY_SUFFIXES, TIFF_SUFFIXES = (".npy",), (".tif", ".tiff")


class Raster(Protocol):
    """An open image of which any window can be read.

    Attributes:
        shape: The (height, width, bands) of the image.
        dtype: The type of the stored values.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype

    def window(self, rows: slice, columns: slice) -> np.ndarray:
        """Read the stored values (h, w, bands) of a window; both slices have explicit ends inside the image."""


class ArrayRaster:
    """An array with the interface of a raster. Of a memory-mapped array, only the requested windows are read."""

    def __init__(self, values: np.ndarray) -> None:
        """
        Args:
            values: The stored values, (H, W, bands) or (H, W).
        """
        self._values = values if values.ndim == 3 else values[:, :, None]
        self.shape, self.dtype = self._values.shape, self._values.dtype

    def window(self, rows: slice, columns: slice) -> np.ndarray:
        return np.array(self._values[rows, columns])


class TiffRaster:
    """A TIFF opened by tifffile. Its bands are stored in one page, interleaved or as planes, or in one page each."""

    def __init__(self, file: Any, *, path: str) -> None:
        """
        Args:
            file: The open `tifffile.TiffFile`.
            path: The path of the file, for messages.

        Raises:
            UnsupportedImage: The pages differ in size or type, there are several pages of several bands, the image is
                rotated, or its values are not plain grey or RGB values.
        """
        self._file, self._path = file, path
        self._pages = [page for page in map(file.pages.get, range(len(file.pages))) if not _is_reduced(page)]
        first = self._pages[0]
        kinds = {(page.imagelength, page.imagewidth, page.samplesperpixel, str(page.dtype)) for page in self._pages}
        if len(kinds) > 1 or (len(self._pages) > 1 and first.samplesperpixel > 1) or first.imagedepth > 1:
            raise UnsupportedImage(
                f"image file {path} has {len(self._pages)} pages, which are not the bands of one image: height, width, "
                f"bands and type are {sorted(kinds)}; wanted one page, or one page per band"
            )
        turn = first.tags.get(ORIENTATION)
        if turn is not None and turn.value != 1:
            raise UnsupportedImage(f"image file {path} has the orientation {turn.value}; wanted 1 (not rotated)")
        if first.dtype is None or first.photometric not in _PLAIN:
            raise UnsupportedImage(
                f"image file {path} has values of the type {first.dtype} and the photometric interpretation "
                f"{first.photometric!s}; wanted numbers, and grey with black as the lowest value (1) or RGB (2)"
            )
        self.shape = (first.imagelength, first.imagewidth, first.samplesperpixel * len(self._pages))
        self.dtype = np.dtype(first.dtype).newbyteorder("=")

    def window(self, rows: slice, columns: slice) -> np.ndarray:
        values = np.zeros((rows.stop - rows.start, columns.stop - columns.start, self.shape[2]), self.dtype)
        try:
            for place, page in enumerate(self._pages):
                for index in range(len(page.dataoffsets)):
                    self._copy(page, index, values, rows, columns, first_band=place)
        except Exception as error:  # on a damaged file, tifffile may raise exceptions of any type
            stored = f"stored with {getattr(page.compression, 'name', page.compression)}"
            raise UnreadableImage(
                f"image file {self._path}, {stored}, cannot be read: {error}; wanted an undamaged file, uncompressed "
                "or with Deflate, or the package imagecodecs, which tifffile needs for other compressions"
            ) from error
        return values

    def _copy(self, page: Any, index: int, values: np.ndarray, rows: slice, columns: slice, *, first_band: int) -> None:
        """Copy the part of a strip or tile that lies in the window; strips and tiles outside of it are not read.

        Args:
            page: The page of the TIFF.
            index: The index of the strip or tile in the page.
            values: The values (h, w, bands) of the window, which are filled.
            rows: The rows of the window.
            columns: The columns of the window.
            first_band: The band in `values` to which the first band of the page is copied.
        """
        _, (plane, _, top, left, _), (_, height, width, count) = page.decode(None, index)
        bottom, right = min(top + height, rows.stop), min(left + width, columns.stop)
        first_row, first_column = max(top, rows.start), max(left, columns.start)
        if first_row >= bottom or first_column >= right or not page.databytecounts[index]:
            return
        handle = self._file.filehandle
        handle.seek(page.dataoffsets[index])
        data, _, _ = page.decode(handle.read(page.databytecounts[index]), index, jpegtables=page.jpegtables)
        bands = slice(first_band + plane, first_band + plane + count)
        values[
            first_row - rows.start : bottom - rows.start, first_column - columns.start : right - columns.start, bands
        ] = data[0, first_row - top : bottom - top, first_column - left : right - left]


def _is_reduced(page: Any) -> bool:
    return bool(page.subfiletype & REDUCED_OR_MASK)


@contextlib.contextmanager
def opened_raster(path: str) -> Iterator[Raster]:
    """Open an image of which windows can be read inside the `with` block.

    TIFF and NumPy files are read window by window, other files as a whole.

    Args:
        path: The path of the file.

    Yields:
        The image, which returns its values as they are stored.

    Raises:
        UnreadableImage: The file is missing, damaged or not an image.
        UnsupportedImage: The image has a palette, several pages that are not its bands, or values that are not numbers.
    """
    with contextlib.ExitStack() as stack:
        try:
            raster = _open(path, stack)
        except (UnreadableImage, UnsupportedImage):
            raise
        except Exception as error:  # on a damaged file, the readers may raise exceptions of any type
            raise UnreadableImage(f"image file {path} cannot be read: {str(error) or type(error).__name__}") from error
        yield raster


def _open(path: str, stack: contextlib.ExitStack) -> Raster:
    suffix = os.path.splitext(path)[1].lower()
    if suffix in NUMPY_SUFFIXES:
        return _checked(np.load(path, mmap_mode="r", allow_pickle=False), path)
    if suffix in TIFF_SUFFIXES:
        return TiffRaster(stack.enter_context(_tifffile(path).TiffFile(path)), path=path)
    return _checked(_whole(path), path)


def _checked(values: np.ndarray, path: str) -> ArrayRaster:
    if values.ndim not in (2, 3) or values.dtype.kind not in "uif" or 0 in values.shape:
        raise UnsupportedImage(
            f"image file {path} has the shape {values.shape} and the type {values.dtype}; wanted numbers of shape "
            "(height, width, bands)"
        )
    return ArrayRaster(values)


def _tifffile(path: str) -> ModuleType:
    try:
        import tifffile
    except ImportError as error:
        raise UnsupportedImage(
            f"image file {path} is a TIFF, and the package tifffile, which reads its bands as they are stored, is not "
            "installed; wanted it: pip install tifffile"
        ) from error
    return tifffile


def _whole(path: str) -> np.ndarray:
    """Read a file that is neither TIFF nor NumPy as a whole and rotate it according to its EXIF orientation.

    Pillow reads images of 8 bits, OpenCV those of more.
    """
    with opened_image(path) as image:
        # This comes first, since reading the EXIF data decodes a PNG, after which its bit depth is unknown.
        deep = stored_bits(image, path=path) > 8
        check_single_page(image, path=path)
        bands, turn = len(image.getbands()), image.getexif().get(ORIENTATION, 1)
        if image.mode not in ("L", "LA", "RGB", "RGBA", "F") and not image.mode.startswith("I"):
            raise UnsupportedImage(
                f"image file {path} has mode {image.mode}; wanted grey or RGB values, with or without alpha"
            )
        values = None if deep else np.asarray(image)
    if values is None:
        values = cv2.imread(path, cv2.IMREAD_UNCHANGED)
        if values is None or bands != (values.shape[2] if values.ndim == 3 else 1):
            raise UnsupportedImage(f"image file {path} has {bands} bands of more than 8 bits; wanted a TIFF")
        if bands > 2:  # OpenCV returns the first three in the order blue, green, red
            values = values[:, :, [2, 1, 0, *range(3, bands)]]
    return _turned(values, turn)


def _turned(values: np.ndarray, orientation: int) -> np.ndarray:
    """Rotate and flip an image according to its EXIF orientation, 1 to 8; 5 to 8 swap height and width."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values[:, ::-1] if orientation in (2, 3, 6, 7) else values
