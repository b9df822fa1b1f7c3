import numpy as np
import pytest
from PIL import Image

from tokenseg.data.errors import IdsOutOfRange, LabelHasColours, UnreadableLabel
from tokenseg.data.labels import check_label_range, read_label

IDS = np.array([[0, 7, 255], [2, 2, 1]], dtype=np.uint8)


def test_palette_images_are_read_as_ids(tmp_path):
    image = Image.fromarray(IDS, mode="P")
    image.putpalette([200, 100, 50] * 256)
    image.save(tmp_path / "a.png")
    label = read_label(str(tmp_path / "a.png"))
    assert label.dtype == np.int64 and np.array_equal(label, IDS)


def test_sixteen_bit_ids(tmp_path):
    Image.fromarray(IDS.astype(np.uint16) * 200).save(tmp_path / "a.png")
    assert np.array_equal(read_label(str(tmp_path / "a.png")), IDS.astype(int) * 200)


@pytest.mark.parametrize("mode", ["RGB", "LA"])
def test_colours_are_no_ids(tmp_path, mode):
    Image.new(mode, (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(LabelHasColours, match=rf"a\.png has mode {mode}"):
        read_label(str(tmp_path / "a.png"))


@pytest.mark.parametrize("kept", [0, 20, 100, -40])
def test_truncated_files(tmp_path, kept):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.randint(0, 9, (32, 32), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UnreadableLabel, match=r"a\.png cannot be read"):
        read_label(str(path))


def test_missing_file(tmp_path):
    with pytest.raises(UnreadableLabel, match=r"none\.png cannot be read"):
        read_label(str(tmp_path / "none.png"))


def test_range():
    check_label_range(IDS.astype(int), num_classes=8, ignore_label=255, path="a.png")
    with pytest.raises(IdsOutOfRange, match=r"a\.png holds the ids 7, 255; wanted 0 to 6, or 254 for"):
        check_label_range(IDS.astype(int), num_classes=7, ignore_label=254, path="a.png")
    with pytest.raises(IdsOutOfRange, match=r"the ids 0, 1, 2, 3, 4, 5, 6, 7, \.\.\.;"):
        check_label_range(np.arange(20), num_classes=0, ignore_label=255, path="a.png")
    with pytest.raises(IdsOutOfRange, match=r"the ids -1;"):
        check_label_range(np.array([-1, 0]), num_classes=3, ignore_label=255, path="a.png")
