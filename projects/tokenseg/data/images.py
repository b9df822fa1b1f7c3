"""Reading 8-bit images with Pillow, and rejecting files that would be misread as 8-bit colours."""

import contextlib
from collections.abc import Iterator

import numpy as np
from detectron2.data import detection_utils as utils
from detectron2.utils.file_io import PathManager
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from .errors import UnreadableImage, UnsupportedImage

ORIENTATION = 274  # the number of the orientation tag in both EXIF and TIFF
# The numbers of TIFF tags, under their names in the TIFF 6.0 specification.
_NEW_SUBFILE_TYPE, _BITS_PER_SAMPLE, _SAMPLES_PER_PIXEL, _EXTRA_SAMPLES = 254, 258, 277, 338
REDUCED_OR_MASK = 1 | 4  # bits of NewSubfileType: the page is a smaller copy, or a mask, of another page
_ALPHA = (1, 2)  # the values of ExtraSamples that mean transparency
_J2K_HEADER = b"\xff\x4f\xff\x51"  # start of a JPEG 2000 codestream; byte 42 from here is the first channel's bit depth


def read_image(path: str, *, image_format: str = "RGB") -> np.ndarray:
    """Read an image of 8 bits per channel and rotate it according to its EXIF orientation.

    Args:
        path: The path of the file.
        image_format: The order of the channels, as in Detectron2.

    Returns:
        The pixels, an (H, W, 3) uint8 array.

    Raises:
        UnreadableImage: The file is missing, damaged, not an image, or larger than Pillow's limit.
        UnsupportedImage: The image has more than 8 bits per channel, more than three bands, or several pages.
    """
    with opened_image(path) as image:
        check_image(image, path=path)
    try:
        return utils.read_image(path, format=image_format)
    except Exception as error:  # on a damaged file, Pillow's readers may raise exceptions of any type
        raise UnreadableImage(_unreadable(path, error)) from error


def pillow_pixels(image: Image.Image, *, name: str = "the image") -> np.ndarray:
    """Return the pixels of a Pillow image, rotated according to its EXIF orientation.

    Args:
        image: An image that was opened from a file or created. If it has several frames, its current one is used.
        name: The name of the image in messages.

    Returns:
        The pixels, an (H, W, 3) uint8 RGB array.

    Raises:
        UnreadableImage: The image's file is damaged, or was closed.
        UnsupportedImage: The image has more than 8 bits per channel, or no pixels.
    """
    depth = _deeper(image, getattr(image, "filename", ""))
    if depth or 0 in image.size:
        raise UnsupportedImage(
            f"{name} has {depth or 'no pixels'} (mode {image.mode}, {image.width}x{image.height} pixels); wanted 8 "
            "bits per channel"
        )
    try:
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except Exception as error:  # see `read_image`
        raise UnreadableImage(f"{name} cannot be read: {str(error) or type(error).__name__}") from error


@contextlib.contextmanager
def opened_image(path: str, *, kind: str = "image", unreadable: type[ValueError] = UnreadableImage) -> Iterator:
    """Open an image file with Pillow, which decodes it only when its pixels are accessed.

    Args:
        path: The path of the file.
        kind: The kind of file, for messages, such as "label".
        unreadable: The type of the error that is raised if the file cannot be opened, or cannot be decoded inside the
            `with` block.

    Yields:
        The Pillow image, which is closed at the end of the block.
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
            "decompression bombs (twice PIL.Image.MAX_IMAGE_PIXELS); wanted smaller tiles"
        )
    reason = "Pillow knows no such format" if isinstance(error, UnidentifiedImageError) else str(error)
    return f"{kind} file {path} cannot be read: {reason or type(error).__name__}"


def check_image(image: Image.Image, *, path: str) -> None:
    """Raise an error for an image that Detectron2 would read without an error, but incompletely or with other values.

    Args:
        image: The opened image.
        path: The path of the image file, for the message.

    Raises:
        UnsupportedImage: See `read_image`.
    """
    depth = _deeper(image, path)
    if depth:
        raise UnsupportedImage(
            f"image file {path} has {depth} (mode {image.mode}), which would be clipped or rescaled if read as 8 bits; "
            "wanted 8 bits per channel, or 'dataset.value_range=[low,high]', the values that become 0 and 255"
        )
    _check_bands(image, path)
    check_single_page(image, path=path)


def check_single_page(image: Image.Image, *, path: str) -> None:
    """Raise an UnsupportedImage for an image of several pages or frames; arguments as in `check_image`."""
    pages = count_pages(image)
    if pages > 1:
        raise UnsupportedImage(
            f"image file {path} has {pages} pages or frames (mode {image.mode}), of which only the first would be "
            "read; wanted one file per page"
        )


def _deeper(image: Image.Image, path: str) -> str:
    """Describe the bit depth for a message if it exceeds 8 bits per channel; else return an empty string."""
    if image.mode.startswith("I"):
        return "integers of more than 8 bits"
    if image.mode == "F":
        return "floating-point values"
    bits = stored_bits(image, path=path)
    return f"{bits} bits per channel" if bits > 8 else ""


def stored_bits(image: Image.Image, *, path: str) -> int:
    """Return the number of bits per channel in the file, at least 8, even if Pillow would reduce them to 8.

    Args:
        image: The opened image.
        path: The path of the image file.
    """
    if image.mode.startswith("I") or image.mode == "F":
        return 32 if image.mode in ("I", "F") else 16
    return max([*_tag(image, _BITS_PER_SAMPLE), _bits_of_tiles(image), _bits_of_j2k(image, path)])


def _bits_of_tiles(image: Image.Image) -> int:
    """Return the bits per channel that the arguments of Pillow's decoder name, as `RGB;16B` in a PNG; 8 by default."""
    bits = [8]
    for _, _, _, arguments in getattr(image, "tile", ()):  # an image that was not opened from a file has no tiles
        for argument in arguments if isinstance(arguments, tuple) else (arguments,):
            layout = argument.partition(";")[2] if isinstance(argument, str) else ""
            bits += [deep for deep in (12, 16, 32) if layout.startswith(str(deep))]
            if image.format == "PPM" and isinstance(argument, int):  # in a PPM it is the highest possible value
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
    """Raise an UnsupportedImage for a TIFF of more than three bands, except CMYK and RGB with a binary mask.

    Some programs tag any fourth band as transparency, because TIFF has no better tag. Therefore, a fourth band with
    values other than 0 and 255 is considered data.
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
        "bands with or without a transparency mask, or the names of all: 'dataset.bands=[red,green,blue,nir]'"
    )


def count_pages(image: Image.Image) -> int:
    """Count the pages or frames of an opened file, except pages that are smaller copies or masks of others.

    Afterwards a TIFF is positioned at its last page.
    """
    count = getattr(image, "n_frames", 1)
    if image.format in ("MPO", "PSD", "ICO", "ICNS"):  # further frames are views, layers or sizes of the same picture
        return 1
    if image.format != "TIFF" or count == 1:
        return count
    pages = 0
    for place in range(count):
        image.seek(place)
        pages += not (max([*_tag(image, _NEW_SUBFILE_TYPE), 0]) & REDUCED_OR_MASK)
    return max(pages, 1)


def _tag(image: Image.Image, number: int) -> tuple[int, ...]:
    """Return the values of a TIFF tag, or none if the tag is missing or the image is not a TIFF."""
    value = image.tag_v2.get(number, ()) if isinstance(image, TiffImageFile) else ()
    return tuple(value) if isinstance(value, tuple) else (value,)
