import cv2
import numpy as np
import pytest
from PIL import Image

from tokenseg.data.errors import UnreadableImage, UnsupportedImage
from tokenseg.data.image_reader import ImageReader

FOUR = ["red", "green", "blue", "nir"]
DEEP = (np.arange(5 * 7 * 4).reshape(5, 7, 4) * 401).astype(np.uint16)


def four(**settings):
    return ImageReader(**dict(bands=FOUR, value_range=[0, 65535]) | settings)


@pytest.fixture
def path(tmp_path):
    """The path of a NumPy file of four bands of 16 bits."""
    np.save(tmp_path / "a.npy", DEEP)
    return str(tmp_path / "a.npy")


def test_the_range_becomes_grey_levels(path):
    pixels = four(value_range=[1000, 2275])(path)
    assert pixels.dtype == np.float32 and pixels.shape == (5, 7, 4)
    np.testing.assert_allclose(pixels, (DEEP - 1000.0) / 5)  # 1275 values are 255 levels; nothing is clipped
    assert four().header(path) == ("4 x uint16", (5, 7), 1)


def test_sixteen_bits_equal_eight(tmp_path):
    small = np.random.randint(0, 256, (6, 5, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), (small[:, :, ::-1].astype(np.uint16) * 257))
    for order in ("RGB", "BGR"):
        reader = ImageReader(image_format=order, value_range=[0, 65535])
        pixels = reader(str(tmp_path / "a.png"))
        np.testing.assert_allclose(pixels, small if order == "RGB" else small[:, :, ::-1], atol=1e-4)
        assert np.array_equal(reader.picture(pixels), small)


def test_grey_of_sixteen_bits_is_three_channels(tmp_path):
    Image.fromarray(DEEP[:, :, 0]).save(tmp_path / "a.png")
    pixels = ImageReader(value_range=[0, 255])(str(tmp_path / "a.png"))
    assert np.array_equal(pixels, np.repeat(DEEP[:, :, :1], 3, axis=2))


def test_four_bands_of_eight_bits_stay(tmp_path):
    small = np.random.randint(0, 256, (6, 5, 4), dtype=np.uint8)
    Image.fromarray(small).save(tmp_path / "a.png")
    pixels = four(value_range=None)(str(tmp_path / "a.png"))
    assert pixels.dtype == np.uint8 and np.array_equal(pixels, small)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations_are_those_of_colours(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.random.randint(0, 256, (6, 5, 3), dtype=np.uint8)).save(tmp_path / "a.png", exif=exif)
    wanted = ImageReader()(str(tmp_path / "a.png"))
    assert np.array_equal(ImageReader(bands=["a", "b", "c"])(str(tmp_path / "a.png")), wanted)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (dict(value_range=None), r"a\.npy has values of the type uint16; wanted 8 bits, or 'dataset\.value_range"),
        (dict(bands=FOUR[:3]), r"a\.npy has 4 bands; wanted 3 \(red, green, blue\)"),
        (dict(bands=None), r"4 bands; wanted 3 or 1 \(RGB\); .*'dataset\.bands="),
    ],
)
def test_what_the_config_does_not_tell_is_refused(path, settings, told):
    with pytest.raises(UnsupportedImage, match=told):
        four(**settings)(path)


def test_missing_values_are_counted(tmp_path):
    np.save(tmp_path / "a.npy", np.where(DEEP > 50000, np.nan, DEEP))
    with pytest.raises(UnsupportedImage, match=f"has {(DEEP > 50000).sum()} values that are NaN or infinite"):
        four()(str(tmp_path / "a.npy"))


@pytest.mark.parametrize(
    "settings", [dict(bands=[]), dict(bands=["a", "a"]), dict(value_range=[1, 1]), dict(value_range=[1])]
)
def test_wrong_settings_are_refused(settings):
    with pytest.raises(ValueError, match=f"dataset.{next(iter(settings))} is"):
        ImageReader(**settings)


def test_files_that_are_no_images(tmp_path):
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    (tmp_path / "torn.npy").write_bytes(b"\x93NUMPY")
    for name, kind in (("words", UnsupportedImage), ("torn", UnreadableImage), ("none", UnreadableImage)):
        with pytest.raises(kind, match=f"{name}.npy"):
            four()(str(tmp_path / f"{name}.npy"))


def test_settings_are_named_if_pillow_cannot_read_a_file(path):
    for read in (ImageReader(), ImageReader().header):
        with pytest.raises(UnreadableImage, match=r"no such format; .*dataset.bands=.*dataset.value_range="):
            read(path)


def test_pictures_choose_the_colours():
    pixels = np.float32([[[-9, 100.4, 300, 7]]])
    assert four().picture(pixels).tolist() == [[[0, 100, 255]]]
    assert four(bands=["nir", "blue", "green", "red"]).picture(pixels).tolist() == [[[7, 255, 100]]]
    assert four(bands=list("abcd")).picture(pixels).tolist() == [[[0, 100, 255]]]
    assert ImageReader(bands=["a"], value_range=[0, 1]).picture(pixels[:, :, 1:2]).tolist() == [[[100] * 3]]


def test_windows_are_parts_of_the_whole(path):
    with four().windows(path) as (size, read):
        assert size == (5, 7) and np.array_equal(read(slice(1, 4), slice(2, 7)), four()(path)[1:4, 2:7])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("layout", ["contig", "separate", "pages"])
@pytest.mark.parametrize("blocks", [dict(rowsperstrip=9), dict(tile=(16, 32), compression="zlib", predictor=True)])
def test_tiffs_of_five_bands(tmp_path, dtype, layout, blocks):
    tifffile = pytest.importorskip("tifffile")
    values = (np.arange(40 * 50 * 5).reshape(40, 50, 5) * 7).astype(dtype)
    stored = values if layout == "contig" else np.ascontiguousarray(np.moveaxis(values, 2, 0))
    planes = {} if layout == "pages" else {"planarconfig": layout}
    if dtype == "float32":
        blocks = {key: value for key, value in blocks.items() if key != "predictor"}  # needs imagecodecs
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", **planes, **blocks)
    reader = ImageReader(bands=list("abcde"), value_range=[0, 255])
    assert np.array_equal(reader(str(tmp_path / "a.tif")), values.astype(np.float32))
    with reader.windows(str(tmp_path / "a.tif")) as (size, read):
        assert size == (40, 50)
        assert np.array_equal(read(slice(15, 33), slice(31, 50)), values[15:33, 31:50].astype(np.float32))
