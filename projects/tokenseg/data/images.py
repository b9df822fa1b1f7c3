"""Reading images: the one place that opens an image file, and that refuses what would be misread as 8-bit colours."""

import contextlib
from collections.abc import Iterator

import numpy as np
from detectron2.data import detection_utils as utils
from detectron2.utils.file_io import PathManager
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from .errors import UnreadableImage, UnsupportedImage

ORIENTATION = 274  # the tag of EXIF and of TIFF
# TIFF tags, by their names in the TIFF 6.0 specification.
_NEW_SUBFILE_TYPE, _BITS_PER_SAMPLE, _SAMPLES_PER_PIXEL, _EXTRA_SAMPLES = 254, 258, 277, 338
REDUCED_OR_MASK = 1 | 4  # bits of NewSubfileType: a page that is a smaller copy, or a mask, of another one
_ALPHA = (1, 2)  # values of ExtraSamples
_J2K_HEADER = b"\xff\x4f\xff\x51"  # start of a JPEG 2000 codestream; 42 bytes on is the depth of the first channel


def read_image(path: str, *, image_format: str = "RGB") -> np.ndarray:
    """Read an image of 8 bits a channel, turned as its EXIF orientation says.

    Args:
        path: The path of the file.
        image_format: The order of the channels, as in Detectron2.

    Returns:
        (H, W, 3) uint8 array.

    Raises:
        UnreadableImage: The file is missing, damaged, no image, or larger than Pillow's limit.
        UnsupportedImage: The image has more than 8 bits a channel, more than three bands, or several pages.
    """
    with opened_image(path) as image:
        check_image(image, path=path)
    try:
        return utils.read_image(path, format=image_format)
    except Exception as error:  # whatever Pillow's readers stumble over in a damaged file
        raise UnreadableImage(_unreadable(path, error)) from error


def pillow_pixels(image: Image.Image, *, name: str = "the image") -> np.ndarray:
    """Take the pixels of an image that Pillow has opened or made, turned as its EXIF orientation says.

    Args:
        image: The image; of several frames the one at which it stands.
        name: What the image is called in messages.

    Returns:
        (H, W, 3) uint8 RGB array.

    Raises:
        UnreadableImage: The file behind it is damaged, or was closed.
        UnsupportedImage: The image has more than 8 bits a channel, or no pixel.
    """
    depth = _deeper(image, getattr(image, "filename", ""))
    if depth or 0 in image.size:
        raise UnsupportedImage(
            f"{name} has {depth or 'no pixel'} (mode {image.mode}, {image.width}x{image.height} pixels); wanted 8 bits "
            "a channel"
        )
    try:
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except Exception as error:  # see `read_image`
        raise UnreadableImage(f"{name} cannot be read: {str(error) or type(error).__name__}") from error


@contextlib.contextmanager
def opened_image(path: str, *, kind: str = "image", unreadable: type[ValueError] = UnreadableImage) -> Iterator:
    """Open an image file for the length of a `with` block, inside which it can be decoded.

    Args:
        path: The path of the file.
        kind: What the file is to the user, for the message.
        unreadable: The type of the error if the file cannot be opened or decoded.

    Yields:
        The image, as Pillow opens it.
    """
    try:
        with PathManager.open(path, "rb") as file, Image.open(file) as image:
            yield image
    except (UnsupportedImage, unreadable):
        raise
    except Exception as error:  # see `read_image`
        raise unreadable(_unreadable(path, error, kind=kind)) from error


def _unreadable(path: str, error: Exception, *, kind: str = "image") -> str:
    if isinstance(error, Image.DecompressionBombError):
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # without a limit there is no such error
        return (
            f"{kind} file {path} cannot be read: it has more than {most} pixels, which is Pillow's limit against "
            "decompression bombs (twice PIL.Image.MAX_IMAGE_PIXELS); wanted tiles below that"
        )
    reason = "Pillow knows no such format" if isinstance(error, UnidentifiedImageError) else str(error)
    return f"{kind} file {path} cannot be read: {reason or type(error).__name__}"


def check_image(image: Image.Image, *, path: str) -> None:
    """Refuse an image that Detectron2 would read, but of which it would lose or change something.

    Args:
        image: The opened image.
        path: The path of its file, for the message.

    Raises:
        UnsupportedImage: See `read_image`.
    """
    depth = _deeper(image, path)
    if depth:
        raise UnsupportedImage(
            f"image file {path} has {depth} (mode {image.mode}), which reading as 8 bits would cut off or squeeze; "
            "wanted 8 bits a channel, or 'dataset.value_range=[low,high]', the values that become 0 and 255"
        )
    _check_bands(image, path)
    check_single_page(image, path=path)


def check_single_page(image: Image.Image, *, path: str) -> None:
    """Refuse an image of several pages or frames; arguments and error are those of `check_image`."""
    pages = count_pages(image)
    if pages > 1:
        raise UnsupportedImage(
            f"image file {path} has {pages} pages or frames (mode {image.mode}), of which only the first would be "
            "read; wanted a file for each"
        )


def _deeper(image: Image.Image, path: str) -> str:
    """What is known of a depth of more than 8 bits a channel; empty if there are 8 or fewer."""
    if image.mode.startswith("I"):
        return "whole numbers of more than 8 bits"
    if image.mode == "F":
        return "floating-point values"
    bits = stored_bits(image, path=path)
    return f"{bits} bits a channel" if bits > 8 else ""


def stored_bits(image: Image.Image, *, path: str) -> int:
    """Count the bits a channel of an opened file, 8 or more, whatever Pillow would make of them.

    Args:
        image: The opened image.
        path: The path of its file.
    """
    if image.mode.startswith("I") or image.mode == "F":
        return 32 if image.mode in ("I", "F") else 16
    return max([*_tag(image, _BITS_PER_SAMPLE), _bits_of_tiles(image), _bits_of_j2k(image, path)])


def _bits_of_tiles(image: Image.Image) -> int:
    """Bits a channel by the storage that Pillow is about to decode, such as RGB;16B in a PNG; 8 if it does not say."""
    bits = [8]
    for _, _, _, arguments in getattr(image, "tile", ()):  # an image that was made has none
        for argument in arguments if isinstance(arguments, tuple) else (arguments,):
            layout = argument.partition(";")[2] if isinstance(argument, str) else ""
            bits += [deep for deep in (12, 16, 32) if layout.startswith(str(deep))]
            if image.format == "PPM" and isinstance(argument, int):  # the largest value
                bits.append(argument.bit_length())
    return max(bits)


def _bits_of_j2k(image: Image.Image, path: str) -> int:
    if image.format != "JPEG2000" or not path:
        return 8
    with PathManager.open(path, "rb") as file:
        head = file.read(1 << 16)
    start = head.find(_J2K_HEADER)
    return (head[start + 42] & 0x7F) + 1 if 0 <= start < len(head) - 42 else 8


def _check_bands(image: Image.Image, path: str) -> None:
    """Refuse the fourth band of a TIFF, unless it is another ink or a mask.

    Programs mark a band as transparency for want of a better tag, so one with more values than a mask counts as data.
    """
    samples = max([*_tag(image, _SAMPLES_PER_PIXEL), len(image.getbands())])
    if image.format != "TIFF" or samples <= 3 or image.mode == "CMYK":
        return
    declared = image.mode == "RGBA" and samples == 4 and set(_tag(image, _EXTRA_SAMPLES)) <= {*_ALPHA}
    if declared and _tag(image, _EXTRA_SAMPLES):
        values = image.getchannel("A").getcolors(2)
        if values is not None and {value for _, value in values} <= {0, 255}:
            return
    raise UnsupportedImage(
        f"image file {path} has {samples} bands (mode {image.mode}), of which only three would be read; wanted three "
        "bands, and at most a mask of transparency beside them, or their names: 'dataset.bands=[red,green,blue,nir]'"
    )


def count_pages(image: Image.Image) -> int:
    """Count the images in an opened file, without smaller copies and masks; only the first of a photo's counts too.

    A TIFF is left at its last page.
    """
    count = getattr(image, "n_frames", 1)
    if image.format in ("MPO", "PSD", "ICO", "ICNS"):
        return 1
    if image.format != "TIFF" or count == 1:
        return count
    pages = 0
    for place in range(count):
        image.seek(place)
        pages += not (max([*_tag(image, _NEW_SUBFILE_TYPE), 0]) & REDUCED_OR_MASK)
    return max(pages, 1)


def _tag(image: Image.Image, number: int) -> tuple[int, ...]:
    """The values of a TIFF tag; none if there is no such tag, or the image is no TIFF."""
    value = image.tag_v2.get(number, ()) if isinstance(image, TiffImageFile) else ()
    return tuple(value) if isinstance(value, tuple) else (value,)
