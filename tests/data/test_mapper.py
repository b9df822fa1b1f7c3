from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import instantiate
from PIL import Image

from tokenseg.config.load import load_config
from tokenseg.data.errors import SizesDiffer, UnreadableImage
from tokenseg.data.mapper import SemSegMapper
from tokenseg.data.transforms import ResizeToBase

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def record(tmp_path):
    """A function that writes an image and its label map, and returns their record."""

    def write(size=(20, 30), label_size=None, ids=(0, 1, 2, 255)):
        image = np.random.randint(0, 256, (*size, 3), dtype=np.uint8)
        label = np.random.choice(ids, label_size or size)
        Image.fromarray(image).save(tmp_path / "image.png")
        Image.fromarray(label.astype(np.uint16 if max(ids) > 255 else np.uint8)).save(tmp_path / "label.png")
        return {"file_name": str(tmp_path / "image.png"), "sem_seg_file_name": str(tmp_path / "label.png")}

    return write


def mapper(**changes):
    return SemSegMapper(**{"is_train": True, "augmentations": [], "num_classes": 3, **changes})


def test_training_input(record):
    source = record()
    before = dict(source)
    sample = mapper()(source)
    assert source == before
    assert sample["image"].shape == (3, 20, 30) and sample["image"].dtype == torch.uint8
    assert sample["sem_seg"].shape == (20, 30) and sample["sem_seg"].dtype == torch.int64
    assert (sample["height"], sample["width"]) == (20, 30)
    assert np.array_equal(sample["image"].permute(1, 2, 0), np.asarray(Image.open(source["file_name"])))
    assert np.array_equal(sample["sem_seg"], np.asarray(Image.open(source["sem_seg_file_name"])))


def test_further_targets_are_made_of_the_augmented_label(record):
    counted = {"area": lambda label: torch.tensor(label.shape), "left_out": None}
    changes = dict(label_targets=counted, augmentations=[ResizeToBase(short=10, long=40)])
    sample = mapper(**changes)(record())
    assert sample["area"].tolist() == [10, 15] and "left_out" not in sample
    assert "area" not in mapper(is_train=False, **changes)(record())


def test_testing_input_has_the_files_size_and_no_label(record):
    source = record()
    Path(source.pop("sem_seg_file_name")).unlink()
    sample = mapper(is_train=False, augmentations=[ResizeToBase(short=10, long=40)])(source)
    assert sample["image"].shape == (3, 10, 15) and "sem_seg" not in sample
    assert (sample["height"], sample["width"]) == (20, 30)


def test_a_test_input_can_keep_the_original(record):
    changes = dict(augmentations=[ResizeToBase(short=10, long=40)], keep_original=True)
    source = record()
    sample = mapper(is_train=False, **changes)(source)
    assert torch.equal(sample["original"].at_scale(1.0), sample["image"])
    assert np.array_equal(sample["original"].pixels, np.asarray(Image.open(source["file_name"])))
    assert "original" not in mapper(**changes)(source)


def test_many_classes_survive_a_resize(record):
    sample = mapper(num_classes=1000, ignore_label=65535, augmentations=[ResizeToBase(short=40, long=60)])(
        record(ids=(0, 700, 999, 65535))
    )
    assert sample["sem_seg"].shape == (40, 60)
    assert sample["sem_seg"].unique().tolist() == [0, 700, 999, 65535]


def test_sizes_must_agree(record):
    with pytest.raises(SizesDiffer, match=r"image\.png has height x width 20x30, its .*label\.png has 30x20") as told:
        mapper()(record(label_size=(30, 20)))
    assert told.value.label_size == (30, 20)


def test_labels_must_be_classes(record):
    with pytest.raises(ValueError, match=r"label\.png holds the ids 3; wanted 0 to 2, or 255"):
        mapper()(record(ids=(0, 3, 255)))


@pytest.mark.parametrize("kept", [0, 20, 200, -40])
def test_truncated_images(record, kept):
    source = record()
    path = Path(source["file_name"])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UnreadableImage, match=r"image\.png cannot be read"):
        mapper()(source)


@pytest.mark.parametrize("size", [(1, 1), (30, 50), (96, 96), (130, 90), (200, 300)])
@pytest.mark.parametrize(
    ("config", "overrides"),
    [
        ("quickstart", []),
        ("structtoken/structtoken_pwe_vit_t_ade20k_512_160k", ["dataset={crop: 96, short_side: 96, long_side: 384}"]),
    ],
)
def test_every_pipeline_gives_the_crop(record, config, overrides, size):
    cfg = load_config(str(ROOT / f"configs/{config}.py"), [*overrides, "dataset.num_classes=3"])
    sample, crop = instantiate(cfg.dataloader.train.mapper)(record(size)), cfg.dataset.crop
    assert sample["image"].shape == (3, crop, crop) and sample["image"].dtype == torch.uint8
    assert sample["sem_seg"].shape == (crop, crop)
    assert set(sample["sem_seg"].unique().tolist()) <= {0, 1, 2, 255}


def test_four_bands_of_sixteen_bits(record, tmp_path):
    source = record()
    bands = np.random.randint(0, 65536, (20, 30, 4)).astype(np.uint16)
    np.save(tmp_path / "image.npy", bands)
    source["file_name"] = str(tmp_path / "image.npy")
    sample = mapper(bands=list("abcd"), value_range=[0, 65535])(source)
    assert sample["image"].shape == (4, 20, 30) and sample["image"].dtype == torch.float32
    np.testing.assert_allclose(sample["image"].permute(1, 2, 0), bands / 257, rtol=1e-5)
    with pytest.raises(UnreadableImage, match=r"image\.npy"):
        mapper()(source)
