"""The user's own data: pairs of folders, id maps, and class names in saved configs."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from tokenseg import Predictor
from tokenseg.config.load import load_config
from tokenseg.data.labels import map_ids, read_class_ids
from tokenseg.data.mapper import SemSegMapper
from tokenseg.datasets.folders import own_data, pair_files, register_folders
from tokenseg.evaluation.sem_seg import ConfusionEvaluator

ROOT = Path(__file__).resolve().parents[2]
MASK = np.array([[0, 255, 255, 0], [0, 255, 0, 0]], dtype=np.uint8)
CONFIG = str(ROOT / "configs/own_data.py")
pytestmark = pytest.mark.usefixtures("forget_registered")


@pytest.fixture
def pair(tmp_path):
    """A function that writes an image and a label map for each name, and returns the two folders."""

    def write(names, labels=None, label=MASK):
        for kind, of_kind in (("images", names), ("labels", names if labels is None else labels)):
            for name in of_kind:
                path = tmp_path / kind / name
                path.parent.mkdir(parents=True, exist_ok=True)
                array = label if kind == "labels" else np.full((*label.shape, 3), 90, dtype=np.uint8)
                Image.fromarray(array).save(path.with_suffix(".png"))
        return {"images": str(tmp_path / "images"), "labels": str(tmp_path / "labels")}

    return write


def test_pairs_go_by_path_without_suffix(pair, tmp_path):
    folders = pair(["a", "town/a", "town/b.c.x"])
    (tmp_path / "images/a.png").rename(tmp_path / "images/a.JPG")
    (tmp_path / "images/.hidden.png").touch()
    pairs = pair_files(**folders)
    assert list(pairs) == ["a", "town/a", "town/b.c"]
    assert pairs["a"] == (f"{tmp_path}/images/a.JPG", f"{tmp_path}/labels/a.png")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (["a", "b", "c", "d", "e"], ["e"], r"4 images of .*images have no label map \(a, b, c, \.\.\.\); wanted"),
        (["a"], ["a", "b"], r"^1 label maps of .*labels have no image \(b\)"),
        (["a", "b"], ["a", "c"], r"1 images .* \(b\) and 1 label maps .* \(c\)"),
        (["a"], ["a_mask"], r"first ones are a and a_mask; wanted equal names"),
        (["a"], [], r"folder of labels, '.*labels', does not exist"),
    ],
)
def test_files_without_a_partner(pair, images, labels, message):
    with pytest.raises(ValueError, match=message):
        pair_files(**pair(images, labels))


def test_empty_folders_and_equal_names(pair, tmp_path):
    folders = pair(["a"])
    (tmp_path / "labels/a.png").rename(tmp_path / "labels/a.jpg")
    with pytest.raises(ValueError, match=r"no labels in '.*labels', but 1 other files; wanted files in \.png"):
        pair_files(**folders)
    (tmp_path / "images/a.jpg").touch()
    with pytest.raises(ValueError, match="have the same name"):
        pair_files(**folders)


def test_one_folder_for_both(pair):
    folder = pair(["a"])["images"]
    with pytest.raises(ValueError, match=r"images and label maps are both in '.*images'; wanted a folder for each"):
        pair_files(folder, f"{folder}/../images")


def test_an_id_map_counts_in_training_and_in_evaluation(pair):
    name = register_folders(**pair(["a"]), classes=["background", "thing"], id_map={0: 0, 255: 1})
    record = DatasetCatalog.get(name)[0]
    sample = SemSegMapper(is_train=True, augmentations=[], num_classes=2)(record)
    assert sample["sem_seg"].tolist() == [[0, 1, 1, 0], [0, 1, 0, 0]]

    evaluator = ConfusionEvaluator(dataset_name=name)
    evaluator.reset()
    prediction = torch.tensor([[0, 1, 0, 0], [0, 1, 1, 0]])
    evaluator.process([record], [{"sem_seg": torch.nn.functional.one_hot(prediction).permute(2, 0, 1).float()}])
    metrics = evaluator.evaluate()["sem_seg"]
    # things: 2 right, 1 missed, 1 wrong; background: 4 right, 1 missed, 1 wrong
    assert metrics["IoU-thing"] == pytest.approx(100 * 2 / 4)
    assert metrics["IoU-background"] == pytest.approx(100 * 4 / 6)


def test_ignored_and_unknown_ids(pair):
    settings = {**pair(["a"]), "classes": ["thing"]}
    record = DatasetCatalog.get(register_folders(**settings, id_map={0: "ignore", 255: 0}))[0]
    assert np.array_equal(read_class_ids(record), np.where(MASK == 255, 0, 255))
    record = DatasetCatalog.get(register_folders(**settings, id_map={0: 0}))[0]
    with pytest.raises(ValueError, match=r"a\.png holds the ids 255, which the id map does not list; wanted 0"):
        read_class_ids(record)
    with pytest.raises(ValueError, match="holds the ids -3, 2, 9,"):
        map_ids(np.array([[-3, 0, 2], [1, 9, 1]]), {0: 1, 1: 0}, path="a.png")


def test_palette_label_maps(pair, tmp_path):
    folders = pair(["a"])
    image = Image.fromarray(MASK // 255, mode="P")
    image.putpalette([9, 9, 9, 200, 0, 0])
    image.save(tmp_path / "labels/a.png")
    record = DatasetCatalog.get(register_folders(**folders, classes=["a", "b"]))[0]
    assert np.array_equal(read_class_ids(record), MASK // 255)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": []}, "dataset.classes has no names"),
        ({"classes": ["a", "b", "a"]}, r"\['a'\] twice"),
        ({"classes": ["a", "\x1b[2J", "b\nc", " "]}, r"has '\\x1b\[2J', 'b\\nc', ' '; wanted names without control"),
        ({"id_map": {0: 2}}, r"has 0: 2; .* 0 to 1, or the word ignore"),
        ({"id_map": {"0": 1}}, "wanted 'stored id: class id'"),
        ({"id_map": {}}, "id_map is empty"),
    ],
)
def test_wrong_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        register_folders(**{"images": "a", "labels": "b", "classes": ["a", "b"], **changes})


def test_a_part_is_kept_for_the_test(pair):
    folders = {**pair([f"{i:02}" for i in range(20)]), "classes": ["a", "b"]}
    files = [
        {r["file_name"] for r in DatasetCatalog.get(own_data(split=split, **folders, held_out=0.3))}
        for split in ("train", "test")
    ]
    assert [len(part) for part in files] == [14, 6] and len(files[0] | files[1]) == 20
    with pytest.raises(ValueError, match=r"20 images .* too few"):
        DatasetCatalog.get(own_data(split="test", **folders, held_out=0.01))
    with pytest.raises(ValueError, match=r"dataset\.test_labels is None; wanted both"):
        own_data(split="test", **folders, test_images="x")


def test_folders_of_their_own_for_the_test(pair):
    folders = {**pair(["a", "b"]), "classes": ["a", "b"]}
    swapped = {"test_images": folders["labels"], "test_labels": folders["images"]}
    train, test = (DatasetCatalog.get(own_data(split=split, **folders, **swapped)) for split in ("train", "test"))
    assert len(train) == len(test) == 2
    assert train[0]["file_name"] == test[0]["sem_seg_file_name"]


@pytest.fixture
def saved(pair, tmp_path):
    """The path of a config of the user's own data, with overrides, as a run saves it."""
    folders = pair([f"{i}" for i in range(5)])
    (tmp_path / "classes.txt").write_text("background\n\n null \nred, or pink\n")
    overrides = [
        f"dataset.images={folders['images']}",
        f"dataset.labels={folders['labels']}",
        f"dataset.classes=@{tmp_path}/classes.txt",
        "dataset.id_map={0: 0, 255: 2}",
        "dataset={crop: 32, short_side: 32, long_side: 128}",
        "model.inference.stride=24",
        "vit={channels: 24, last_block: 1}",
        "model.backbone.timm_args={embed_dim: 24, depth: 2, num_heads: 2}",
        "dataloader.train.num_workers=0",
        "train.device=cpu",
    ]
    LazyConfig.save(load_config(CONFIG, overrides), str(tmp_path / "config.yaml"))
    (tmp_path / "classes.txt").unlink()
    return tmp_path / "config.yaml"


def test_a_saved_config_carries_classes_and_map(saved):
    config = load_config(str(saved))
    assert config.dataset.num_classes == config.model.sem_seg_head.num_classes == 3
    config.dataloader.train.total_batch_size = 2
    batch = next(iter(instantiate(config.dataloader.train)))
    assert batch[0]["sem_seg"].unique().tolist() in ([0, 2], [0, 2, 255])
    evaluator = instantiate(config.dataloader.evaluator)
    assert MetadataCatalog.get(evaluator._dataset_name).stuff_classes == ["background", "null", "red, or pink"]


def test_a_predictor_names_classes_where_the_data_is_not(saved, tmp_path):
    config = load_config(str(saved))
    torch.save({"model": instantiate(config.model).state_dict()}, tmp_path / "weights.pth")
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    predictor = Predictor(saved, tmp_path / "weights.pth")
    assert predictor.metadata.stuff_classes == ["background", "null", "red, or pink"]
    assert predictor(np.zeros((20, 30, 3), dtype=np.uint8)).max() < 3


def test_the_training_mapper_reaches_workers_of_several_processes():
    mapper = instantiate(load_config(CONFIG).dataloader.train.mapper)
    again = pickle.loads(pickle.dumps(mapper))
    assert len(again.augmentations.augs) == len(mapper.augmentations.augs) == 5


def test_lists_from_files_and_the_count(tmp_path):
    config = load_config(CONFIG, ["dataset.classes=[a, b, c, d]"])
    assert config.dataset.num_classes == 4
    with pytest.raises(ValueError, match=r"'dataset\.classes=@none\.txt' cannot be applied: .*No such file"):
        load_config(CONFIG, ["dataset.classes=@none.txt"])
    with pytest.raises(ValueError, match=r"wanted a list, such as '\[a,b\]' or @FILE"):
        load_config(CONFIG, ["dataset.classes=classes.txt"])
