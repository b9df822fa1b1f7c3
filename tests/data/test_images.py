import cv2
import numpy as np
import pytest
from detectron2.data import detection_utils
from PIL import Image

from tokenseg.data.errors import UnreadableImage, UnreadableLabel, UnsupportedImage
from tokenseg.data.images import read_image
from tokenseg.data.labels import read_label

PAGE = Image.new("RGB", (8, 8), (1, 2, 3))


def numbers(dtype, *shape):
    return (np.arange(np.prod(shape)).reshape(shape) * 97).astype(dtype)


def by_pillow(array):
    return lambda path: Image.fromarray(array).save(path)


def by_opencv(array):
    return lambda path: cv2.imwrite(str(path), array)


def pages(path):
    PAGE.save(path, save_all=True, append_images=[Image.new("RGB", (8, 8), (9, 9, 9))])


@pytest.mark.parametrize(
    ("name", "write", "told"),
    [
        ("grey16.png", by_pillow(numbers(np.uint16, 8, 8)), r"integers of more than 8 bits \(mode I;16"),
        ("grey16.pgm", by_opencv(numbers(np.uint16, 8, 8)), r"integers of more than 8 bits \(mode I"),
        ("float.tif", by_pillow(numbers(np.float32, 8, 8)), r"floating-point values \(mode F"),
        ("rgb16.png", by_opencv(numbers(np.uint16, 8, 8, 3)), r"16 bits per channel \(mode RGB"),
        ("rgb16.tif", by_opencv(numbers(np.uint16, 8, 8, 3)), r"16 bits per channel \(mode RGB"),
        ("rgb16.ppm", by_opencv(numbers(np.uint16, 8, 8, 3)), r"16 bits per channel \(mode RGB"),
        ("rgb16.jp2", by_opencv(numbers(np.uint16, 64, 64, 3)), r"16 bits per channel \(mode RGB"),
        ("four.tif", by_opencv(numbers(np.uint8, 8, 8, 4)), r"4 bands \(mode RGBA\).*wanted three bands"),
        ("alpha.tif", by_pillow(numbers(np.uint8, 8, 8, 4)), r"4 bands \(mode RGBA\).*wanted three bands"),
        ("pages.tif", pages, r"2 pages or frames \(mode RGB\).*wanted one file per page"),
        ("moving.gif", pages, r"2 pages or frames"),
        ("moving.png", pages, r"2 pages or frames"),
    ],
)
def test_what_would_be_misread_is_refused(tmp_path, name, write, told):
    write(tmp_path / name)
    with pytest.raises(UnsupportedImage, match=rf"image file .*{name} has {told}"):
        read_image(str(tmp_path / name))


def with_small_copy(path):
    small = Image.new("RGB", (4, 4))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    PAGE.save(path, save_all=True, append_images=[small])


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("grey.png", by_pillow(numbers(np.uint8, 8, 8))),
        ("one.png", by_pillow(numbers(np.uint8, 8, 8) > 99)),
        ("palette.png", PAGE.convert("P").save),
        ("alpha.png", by_pillow(numbers(np.uint8, 8, 8, 4))),
        ("colour.jpg", by_pillow(numbers(np.uint8, 8, 8, 3))),
        ("colour.jp2", by_opencv(numbers(np.uint8, 64, 64, 3))),
        ("colour.ppm", by_opencv(numbers(np.uint8, 8, 8, 3))),
        ("ink.tif", PAGE.convert("CMYK").save),
        ("masked.tif", by_pillow(np.dstack([numbers(np.uint8, 8, 8, 3), 255 * np.eye(8, dtype=np.uint8)]))),
        ("overview.tif", with_small_copy),
        ("camera.mpo", lambda path: PAGE.save(path, save_all=True, append_images=[PAGE])),
    ],
)
@pytest.mark.parametrize("image_format", ["RGB", "BGR"])
def test_what_is_8_bit_is_read_as_detectron2_does(tmp_path, name, write, image_format):
    write(tmp_path / name)
    got = read_image(str(tmp_path / name), image_format=image_format)
    wanted = detection_utils.read_image(str(tmp_path / name), format=image_format)
    assert got.dtype == np.uint8 and got.shape[2] == 3 and np.array_equal(got, wanted)


@pytest.mark.parametrize(("read", "kind"), [(read_image, UnreadableImage), (read_label, UnreadableLabel)])
def test_images_over_pillows_limit_are_named(tmp_path, monkeypatch, read, kind):
    PAGE.convert("L").save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 31)
    with pytest.raises(kind, match=r"large\.png .*more than 62 pixels.*PIL\.Image\.MAX_IMAGE_PIXELS"):
        read(str(tmp_path / "large.png"))


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_told(tmp_path):
    """Whatever exception Pillow raises, ours names the file. Files that are damaged in a harmless place are read."""
    PAGE.save(tmp_path / "whole.tif")
    whole, told = (tmp_path / "whole.tif").read_bytes(), []
    for place in range(0, 200, 3):
        (tmp_path / "damaged.tif").write_bytes(whole[:place] + b"\xff\x07\xff\x01" + whole[place + 4 :])
        try:
            read_image(str(tmp_path / "damaged.tif"))
        except (UnreadableImage, UnsupportedImage) as error:
            told.append(str(error))
    assert len(told) > 10 and all("damaged.tif" in message for message in told)


@pytest.mark.parametrize(
    ("name", "write", "told"),
    [
        ("float.tif", by_pillow(numbers(np.float32, 8, 8)), "floating-point values"),
        ("pages.tif", pages, "2 pages"),
    ],
)
def test_labels_that_would_be_misread_are_refused(tmp_path, name, write, told):
    write(tmp_path / name)
    with pytest.raises(UnsupportedImage, match=rf"label file .*{name} has {told}"):
        read_label(str(tmp_path / name))
