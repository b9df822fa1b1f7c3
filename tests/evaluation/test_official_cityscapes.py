import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from tokenseg.config.instantiate import instantiate
from tokenseg.config.load import load_config
from tokenseg.evaluation.official_cityscapes import OfficialCityscapesEvaluator

SCRIPT = "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling"
NAME = "cityscapes_fine_sem_seg_toy"


@pytest.fixture
def record(tmp_path):
    """A Cityscapes record of road on the left and bicycle on the right, with label ids next to its label map."""
    base = tmp_path / "bonn_000000_000001"
    half = np.repeat([[0, 18]], 4, axis=1).repeat(4, axis=0).astype(np.uint8)
    Image.fromarray(half).save(f"{base}_gtFine_labelTrainIds.png")
    Image.fromarray(np.where(half == 0, 7, 33).astype(np.uint8)).save(f"{base}_gtFine_labelIds.png")
    record = {"file_name": f"{base}_leftImg8bit.png", "sem_seg_file_name": f"{base}_gtFine_labelTrainIds.png"}
    DatasetCatalog.register(NAME, lambda: [record])
    names = MetadataCatalog.get("cityscapes_fine_sem_seg_val").stuff_classes
    MetadataCatalog.get(NAME).set(stuff_classes=names, ignore_label=255)
    yield record
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


@pytest.fixture
def script(monkeypatch):
    """A stub of the official Cityscapes script, which records its arguments."""
    module = ModuleType(SCRIPT)
    module.args, module.seen = SimpleNamespace(), []
    scores = dict(zip(("averageScoreClasses", "averageScoreInstClasses"), (0.5, 0.25), strict=True))
    scores |= dict(averageScoreCategories=1.0, averageScoreInstCategories=0.75)
    module.evaluateImgLists = lambda *given: module.seen.append(given) or scores
    parts = SCRIPT.split(".")
    for place in range(1, len(parts)):
        monkeypatch.setitem(sys.modules, ".".join(parts[:place]), ModuleType(parts[place - 1]))
    monkeypatch.setitem(sys.modules, SCRIPT, module)
    setattr(sys.modules["cityscapesscripts.evaluation"], parts[-1], module)
    return module


def run(tmp_path, record, ids):
    evaluator = OfficialCityscapesEvaluator(dataset_name=NAME, output_dir=str(tmp_path / "out"), distributed=False)
    evaluator.reset()
    evaluator.process([record], [{"class_ids": torch.as_tensor(ids)}])
    return evaluator, evaluator.evaluate()


def test_label_ids_reach_the_script(tmp_path, record, script):
    evaluator, results = run(tmp_path, record, np.full((4, 8), 18))
    ((predictions, labels, args),) = script.seen
    assert labels == [record["sem_seg_file_name"].replace("TrainIds", "Ids")] and not args.evalInstLevelScore
    assert predictions == [str(tmp_path / "out/cityscapes/bonn_000000_000001_leftImg8bit.png")]
    assert np.unique(np.asarray(Image.open(predictions[0]))).tolist() == [33]
    assert results["cityscapes"] == dict(IoU=50, iIoU=25, IoU_sup=100, iIoU_sup=75)
    assert results["sem_seg"]["IoU-bicycle"] == 50 and "cityscapes/IoU" in evaluator.metric_names()


def test_the_override_of_the_page_puts_it_into_a_config(record, script):
    kind = f"{OfficialCityscapesEvaluator.__module__}.{OfficialCityscapesEvaluator.__name__}"
    words = [f"dataset.test={NAME}", f"dataloader.evaluator._target_={kind}", "dataloader.evaluator.metrics=[size]"]
    evaluator = instantiate(load_config("quickstart", words).dataloader.evaluator)
    assert type(evaluator) is OfficialCityscapesEvaluator
    assert {"cityscapes/IoU", "sem_seg/mIoU"} < set(evaluator.metric_names())
    assert any(name.startswith("size/") for name in evaluator.metric_names())


def test_the_script_finds_what_numpy_has_dropped(tmp_path, record, script):
    run(tmp_path, record, np.zeros((4, 8), int))
    assert script.np.in1d(np.eye(2), [1], invert=True).ravel().tolist() == [False, True, True, False]
    assert script.np.zeros is np.zeros


def test_missing_label_ids_are_told(tmp_path, record, script):
    (tmp_path / "bonn_000000_000001_gtFine_labelIds.png").unlink()
    with pytest.raises(ValueError, match=r"gtFine_labelIds\.png is missing"):
        run(tmp_path, record, np.zeros((4, 8), int))


def test_a_missing_package_is_told(tmp_path, record, monkeypatch):
    monkeypatch.setitem(sys.modules, "cityscapesscripts", None)
    with pytest.raises(ValueError, match="pip install cityscapesscripts"):
        run(tmp_path, record, np.zeros((4, 8), int))


def test_the_script_itself(tmp_path, record):
    pytest.importorskip("cityscapesscripts")
    _, results = run(tmp_path, record, np.where(np.arange(8) < 6, 0, 18)[None].repeat(4, axis=0))
    road, bicycle = 16 / 24, 8 / 16
    assert results["cityscapes"]["IoU"] == pytest.approx(100 * (road + bicycle) / 2)
    assert results["sem_seg"]["mIoU"] == pytest.approx(results["cityscapes"]["IoU"])
