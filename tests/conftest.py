"""Fixtures for all tests: tiny data sets, tiny models with weights, and fixed seeds."""

import functools
import gc
import itertools
import json
import logging
import os
import random
import re
import shutil
import signal
import tempfile
from collections import Counter
from pathlib import Path

# Generated data goes to a folder of this session; Detectron2 and TokenSeg read the variable when they are imported.
os.environ["DETECTRON2_DATASETS"] = tempfile.mkdtemp(prefix="tokenseg-")
# With small tensors several threads are slower than one, and a process that is forked after they were used deadlocks.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell that starts pytest in the background may make it ignore Ctrl-C, and so the processes that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import numpy as np
import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig, instantiate
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json, load_sem_seg
from omegaconf import DictConfig
from PIL import Image

from detectors import narrow_config
from tokenseg.backbones.trivial import RawPixels
from tokenseg.data.mapper import SemSegMapper
from tokenseg.data.stream import build_test_loader
from tokenseg.data.transforms import ResizeToBase
from tokenseg.datasets import shape_scenes
from tokenseg.deployment.file_facts import FileFacts
from tokenseg.hosts.per_pixel import PerPixelHead
from tokenseg.segmentor import Segmentor

TOY_SIZES = [(32, 32), (40, 48), (20, 36), (50, 30), (32, 64), (16, 16)]
# The instances of each image: class, left, top, width and height in pixels.
TOY_BOXES = [[(0, 4, 6, 20, 12), (1, 30, 20, 10, 16)], [(1, 8, 3, 12, 30)]]
TOY_COLORS = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]


# When garbage collection ends the loader of a failed run, its worker is not notified, and the test that happens to run
# at that moment would wait for it. This is the number of seconds after which the worker checks by itself.
torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL = 0.1


# The descriptions of slow tests, and the number of tests with each.
slow_tests = Counter()


def pytest_collection_modifyitems(items):
    for item in items:
        if (slow := item.get_closest_marker("slow")) is not None:
            if not slow.args:
                raise pytest.UsageError(f'{item.nodeid} is slow; wanted @pytest.mark.slow("what it adds")')
            slow_tests[slow.args[0]] += 1


def pytest_terminal_summary(terminalreporter):
    if slow_tests:
        terminalreporter.section("what the slow tests add; -m 'not slow' leaves them out")
        for what, count in slow_tests.items():
            terminalreporter.line(f"{what} ({count})")


def pytest_collection_finish():
    """Exclude the objects that imports have created from garbage collection.

    They live until the end, and every full collection would spend a fifth of a second on them. Collections are also
    made rarer, since the tests leave little garbage.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


def pytest_unconfigure():
    gc.unfreeze()  # otherwise some packages report a leak
    shutil.rmtree(os.environ["DETECTRON2_DATASETS"])


@pytest.fixture(autouse=True)
def seeds():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def logs_reach_pytest():
    """After a run in an earlier test, Detectron2 has turned propagation off, and `caplog` would miss the lines."""
    logging.getLogger("tokenseg").propagate = True


def _expand(name, sizes):
    """Expand the braces in a name: {a,b} stands for each of the words, {A} for each number from 0 to A - 1."""
    braces = re.findall(r"{(.*?)}", name)
    choices = [word.split(",") if "," in word else range(eval(word, {}, sizes)) for word in braces]
    template = re.sub(r"{.*?}", "{}", name)
    return [template.format(*words) for words in itertools.product(*choices)]


@pytest.fixture(scope="session")
def released_shapes():
    """A function that reads the shapes of the weights in a checkpoint of other code, by name, from a file under tests/.

    A line has a name and a shape, which may use the letters in `sizes`. Lines below `[a b]` are only for the variants a
    and b.
    """

    def read(file, variant=None, **sizes):
        shapes, counts = {}, True
        for line in (Path(__file__).parent / file).read_text().splitlines():
            if line.startswith("["):
                counts = variant in line.strip("[]").split()
            elif counts and line and not line.startswith("#"):
                name, *shape = line.split()
                shapes |= dict.fromkeys(_expand(name, sizes), tuple(eval(side, {}, sizes) for side in shape))
        return shapes

    return read


@pytest.fixture
def toy_dataset(tmp_path):
    """The name of a registered data set of six tiny noisy images with three coloured stripes.

    The top row of each label map is ignored.
    """
    name, images, labels = "toy_sem_seg", tmp_path / "toy/images", tmp_path / "toy/labels"
    images.mkdir(parents=True)
    labels.mkdir()
    for place, (height, width) in enumerate(TOY_SIZES):
        label = np.broadcast_to(np.arange(width) * 3 // width, (height, width)).astype(np.uint8)
        noise = np.random.default_rng(place).integers(-30, 30, (height, width, 3))
        Image.fromarray((np.array(TOY_COLORS)[label] + noise).astype(np.uint8)).save(images / f"{place}.png")
        label[0] = 255
        Image.fromarray(label).save(labels / f"{place}.png")
    DatasetCatalog.register(name, lambda: load_sem_seg(str(labels), str(images), gt_ext="png", image_ext="png"))
    MetadataCatalog.get(name).set(
        stuff_classes=["red", "green", "blue"],
        stuff_colors=TOY_COLORS,
        ignore_label=255,
        image_root=str(images),
        evaluator_type="sem_seg",
    )
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


@pytest.fixture
def forget_registered():
    """Unregister the data sets that a test registers, after the test."""
    before = set(DatasetCatalog.list())
    yield
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture
def exported_facts():
    """The facts in an exported file for images of any size."""
    return FileFacts(
        class_names=["a", "b", "c"],
        class_colors=[[1, 2, 3]] * 3,
        image_format="RGB",
        pixel_mean=[10.0, 20.0, 30.0],
        pixel_std=[50.0] * 3,
        size=None,
        divisor=4,
        output_kind="ids",
        probabilities=False,
        short_side=24,
        long_side=None,
        source="a test",
    )


@pytest.fixture
def instances(tmp_path):
    """The name of a registered data set of six generated scenes with instances."""
    name, names = "toy_instances", [kind.name for kind in shape_scenes.THINGS]
    folder = shape_scenes.write(tmp_path, num_train=6, num_val=1, size=64)
    file, images = str(folder / "instances_train.json"), str(folder / "images/train")
    DatasetCatalog.register(name, lambda: load_coco_json(file, images, name))
    MetadataCatalog.get(name).set(thing_classes=names, json_file=file, image_root=images, evaluator_type="coco")
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


@pytest.fixture
def toy_predictor(toy_dataset, tmp_path):
    """The paths of a config of the smallest possible model, on the toy data set, and of weights for it."""
    config = DictConfig(
        dict(
            model=L(Segmentor)(
                backbone=L(RawPixels)(),
                sem_seg_head=L(PerPixelHead)(
                    in_feature="pixels", layers=L(torch.nn.Conv2d)(in_channels=3, out_channels=3, kernel_size=1)
                ),
                pixel_mean=[127.5] * 3,
                pixel_std=[127.5] * 3,
            ),
            dataloader=dict(
                test=L(build_test_loader)(
                    dataset=toy_dataset,
                    mapper=L(SemSegMapper)(
                        is_train=False,
                        augmentations=[L(ResizeToBase)(short=24, long=96)],
                        num_classes=3,
                        image_format="RGB",
                    ),
                    num_workers=0,
                )
            ),
            train=dict(
                device="cpu",
                amp=dict(enabled=False, dtype="bfloat16"),
                tta=dict(enabled=False, scales=[0.5, 1.0], flip=True),
            ),
        ),
        flags={"allow_objects": True},
    )
    folder = tmp_path / "toy_model"
    folder.mkdir()
    LazyConfig.save(config, str(folder / "config.yaml"))
    torch.save({"model": instantiate(config.model).state_dict()}, folder / "weights.pth")
    return str(folder / "config.yaml"), str(folder / "weights.pth")


@pytest.fixture
def toy_instances(tmp_path):
    """The name of a registered data set of two tiny images, whose instances are the rectangles of TOY_BOXES."""
    name, images, file = "toy_instances", tmp_path / "instances", tmp_path / "instances.json"
    images.mkdir()
    coco = {"images": [], "annotations": [], "categories": [{"id": k + 1, "name": n} for k, n in enumerate("ab")]}
    for place, boxes in enumerate(TOY_BOXES):
        picture = np.random.default_rng(place).integers(0, 60, (40, 48, 3)).astype(np.uint8)
        coco["images"].append({"id": place, "file_name": f"{place}.png", "height": 40, "width": 48})
        for class_id, x, y, w, h in boxes:
            picture[y : y + h, x : x + w] = TOY_COLORS[class_id]
            corners = [x, y, x + w, y, x + w, y + h, x, y + h]
            own = {"id": len(coco["annotations"]) + 1, "image_id": place, "iscrowd": 0, "area": w * h}
            coco["annotations"].append(
                own | {"category_id": class_id + 1, "bbox": [x, y, w, h], "segmentation": [corners]}
            )
        Image.fromarray(picture).save(images / f"{place}.png")
    file.write_text(json.dumps(coco))
    DatasetCatalog.register(name, lambda: load_coco_json(str(file), str(images), name))
    MetadataCatalog.get(name).set(json_file=str(file), image_root=str(images), evaluator_type="coco")
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


@functools.cache
def _small_detector():
    """Load a config, which takes a fifth of a second, and create random weights of its model."""
    config = narrow_config("fpn_sgr_resnet_101", "dataloader.test.num_workers=0", "train.device=cpu")
    config.dataset.update(num_classes=2, test_short_side=64, long_side=96)
    return config, instantiate(config.model).state_dict()


@pytest.fixture
def toy_detector(toy_instances, tmp_path):
    """The paths of a config of a small Mask R-CNN with SGR below its FPN, on `toy_instances`, and of weights for it."""
    config, weights = _small_detector()
    config = config.copy()
    config.dataset.test = toy_instances
    folder = tmp_path / "toy_detector"
    folder.mkdir()
    LazyConfig.save(config, str(folder / "config.yaml"))
    torch.save({"model": weights}, folder / "weights.pth")
    return str(folder / "config.yaml"), str(folder / "weights.pth")
