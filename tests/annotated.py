"""A small annotation file in COCO's format, and its images."""

import json

import numpy as np
from PIL import Image

RLE = {"size": [6, 8], "counts": [8, 4, 36]}


def content(count=10):
    """The annotations of images of 6 x 8 pixels with one object each, all of class b; class a does not occur."""
    images = [{"id": i, "file_name": f"{i}.png", "height": 6, "width": 8} for i in range(count)]
    one = {"category_id": 7, "bbox": [1, 1, 4, 3], "iscrowd": 0, "segmentation": [[1, 1, 5, 1, 5, 4, 1, 4]]}
    annotations = [{"id": i, "image_id": i, "area": 12, **one} for i in range(count)]
    return {"images": images, "annotations": annotations, "categories": [dict(id=7, name="b"), dict(id=3, name="a")]}


def write_annotated(folder, change=lambda changed: None, *, name="objects.json"):
    """Write images and an annotation file, whose content a function may change, and return the settings for both."""
    changed = content()
    for i in range(10):
        pixels = np.random.default_rng(i).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    change(changed)
    (folder / name).write_text(json.dumps(changed))
    return {"images": str(folder), "annotations": str(folder / name)}


def without_files(path):
    """Return overrides with which a config can be loaded although the files of own data are missing."""
    return ["dataset.classes=[a,b]"] if path.stem == "own_detection" else []
