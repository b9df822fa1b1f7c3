"""The AP of hand-made predictions by our loader and evaluator, compared with that of pycocotools."""

import json

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, DatasetMapper
from detectron2.structures import Boxes, Instances
from PIL import Image
from pycocotools import mask as mask_util
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn

from tokenseg.data.stream import build_test_loader
from tokenseg.datasets.coco_files import own_coco
from tokenseg.engine.evaluation import Evaluation
from tokenseg.evaluation.instances import PartialCOCOEvaluator

HEIGHT, WIDTH, SIZE = 48, 64, 12
CATEGORIES = {3: "a", 7: "b"}  # ids in the file; class ids are 0 and 1
# Image -> category and top left corner of every object.
OBJECTS = {i: [(3, 4, 4), (7, 30, 20), (3, 44, 30)][: 1 + i % 3] for i in range(10)}
# Image -> class, corner, score: some hit, some are shifted, twice there, of the wrong class, or nowhere.
FOUND = {
    i: [
        (0, 4 + i % 4, 4, 0.9 - 0.05 * i),
        (1, 30, 20 + i % 2, 0.6),
        (i % 2, 44, 31, 0.5),
        (0, 4, 5, 0.3),
        (1, 2, 33, 0.2),
    ]
    for i in range(10)
}


def box(x, y):
    return [x, y, SIZE, SIZE]


def bitmap(x, y, *, tall):
    """A mask that fills the box of an object completely or by half."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[y : y + (SIZE if tall else SIZE // 2), x : x + SIZE] = 1
    return mask


def encoded(mask):
    rle = mask_util.encode(np.asfortranarray(mask))
    return rle | {"counts": rle["counts"].decode()}


@pytest.fixture
def data(tmp_path, forget_registered):
    """The folder and the annotation file of ten images."""
    annotations = []
    for i, objects in OBJECTS.items():
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / f"{i}.png")
        for category, x, y in objects:
            one = {"category_id": category, "bbox": box(x, y), "area": SIZE**2, "iscrowd": 0}
            one |= {"id": len(annotations) + 1, "image_id": i, "segmentation": encoded(bitmap(x, y, tall=True))}
            annotations.append(one)
    images = [{"id": i, "file_name": f"{i}.png", "height": HEIGHT, "width": WIDTH} for i in OBJECTS]
    content = {"images": images, "annotations": annotations}
    content["categories"] = [{"id": category, "name": name} for category, name in CATEGORIES.items()]
    (tmp_path / "objects.json").write_text(json.dumps(content))
    return {"images": str(tmp_path), "annotations": str(tmp_path / "objects.json"), "classes": [*CATEGORIES.values()]}


class Detector(nn.Module):
    """A model that returns the predictions above."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, batched_inputs):
        return [{"instances": self._instances(one)} for one in batched_inputs]

    def _instances(self, one):
        classes, xs, ys, scores = zip(*FOUND[one["image_id"]], strict=True)
        corners = torch.tensor([[x, y, x + SIZE, y + SIZE] for x, y in zip(xs, ys, strict=True)], dtype=torch.float32)
        masks = [bitmap(x, y, tall=score > 0.4) for _, x, y, score in FOUND[one["image_id"]]]
        return Instances(
            (one["height"], one["width"]),
            pred_boxes=Boxes(corners),
            scores=torch.tensor(scores),
            pred_classes=torch.tensor(classes),
            pred_masks=torch.from_numpy(np.stack(masks)).bool(),
        )


def ours(name):
    loader = build_test_loader(
        dataset=name, mapper=DatasetMapper(is_train=False, augmentations=[], image_format="RGB"), num_workers=0
    )
    return Evaluation(loader=loader, evaluator=PartialCOCOEvaluator(dataset_name=name))(Detector().eval())


def theirs(path, task, ids):
    """The six metrics that pycocotools computes for a task over some images, in per cent."""
    results = [
        {
            "image_id": i,
            "category_id": [*CATEGORIES][k],
            "score": score,
            **({"segmentation": encoded(bitmap(x, y, tall=score > 0.4))} if task == "segm" else {"bbox": box(x, y)}),
        }
        for i in ids
        for k, x, y, score in FOUND[i]
    ]
    truth = COCO(path)
    evaluation = COCOeval(truth, truth.loadRes(results), task)
    evaluation.params.imgIds = [*ids]
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return [100 * value if value >= 0 else float("nan") for value in evaluation.stats[:6]]


@pytest.mark.parametrize("share", ["all", "held out"])
def test_average_precision_is_pycocotools_own(data, share):
    settings = {"test_annotations": data["annotations"]} if share == "all" else {"held_out": 0.4}
    name = own_coco(split="test", **data, **settings)
    results, ids = ours(name), [record["image_id"] for record in DatasetCatalog.get(name)]
    assert len(ids) == (10 if share == "all" else 4)
    for task in ("bbox", "segm"):
        wanted = theirs(data["annotations"], task, ids)
        assert [results[task][key] for key in ("AP", "AP50", "AP75", "APs", "APm", "APl")] == pytest.approx(
            wanted, abs=1e-9, nan_ok=True
        )
        assert 10 < wanted[0] < 90
    assert results["bbox"]["AP"] > results["segm"]["AP"]
