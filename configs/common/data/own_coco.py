"""Your own images with boxes and masks in COCO's format; see projects/tokenseg/datasets/DETECTION_DATA.md."""

from detectron2.config import LazyCall as L

from tokenseg.datasets.coco_files import own_coco
from tokenseg.evaluation.instances import PartialCOCOEvaluator

from .coco_instances import dataloader, dataset

dataset.update(
    # The folder of the images and the annotation file, relative to the current folder.
    images="datasets/own/images",
    annotations="datasets/own/annotations.json",
    # The same for the test. Without test_annotations, the share `held_out` of the images above is kept for the test;
    # without test_images, the test images are in the folder above.
    test_images=None,
    test_annotations=None,
    held_out=0.2,
    # The names of the classes; by default those in the annotation file, in the order of their ids.
    classes="${category_names:${dataset.annotations}}",
    num_classes="${count:${dataset.classes}}",
    # `bitmask` also accepts polygons, which are converted. `polygon` accepts nothing else, but needs less memory for
    # large images.
    mask_format="bitmask",
)
_keys = ("images", "annotations", "test_images", "test_annotations", "held_out", "classes")
_settings = {key: f"${{dataset.{key}}}" for key in _keys}
dataset.update(train=L(own_coco)(split="train", **_settings), test=L(own_coco)(split="test", **_settings))
dataloader.train.num_workers = dataloader.test.num_workers = 2
dataloader.evaluator = L(PartialCOCOEvaluator)(
    dataset_name="${dataset.test}", output_dir="${train.output_dir}/inference"
)
