"""COCO 2017 with boxes and masks of 80 classes, as registered by Detectron2, for Detectron2's detectors."""

from detectron2.config import LazyCall as L
from detectron2.data import DatasetMapper
from detectron2.data.transforms import RandomFlip, ResizeShortestEdge
from detectron2.evaluation import COCOEvaluator

from tokenseg.data.stream import TrainLoader, build_test_loader

# The facts about a data set, to which other parts of a config refer.
dataset = dict(
    train="coco_2017_train",
    test="coco_2017_val",
    num_classes=80,
    # The channel order that the model expects, RGB or BGR.
    image_format="RGB",
    # The lengths in pixels of the short side, one of which is drawn for each training image, and the length in tests.
    short_sides=[640, 672, 704, 736, 768, 800],
    test_short_side=800,
    # The upper bound in pixels of the long side, in training and in tests.
    long_side=1333,
    # The format of masks in memory: polygon, or bitmask, which is needed for run-length encoded masks.
    mask_format="polygon",
)

dataloader = {}
dataloader["train"] = L(TrainLoader)(
    dataset="${dataset.train}",
    mapper=L(DatasetMapper)(
        is_train=True,
        augmentations=[
            L(ResizeShortestEdge)(
                short_edge_length="${dataset.short_sides}", max_size="${dataset.long_side}", sample_style="choice"
            ),
            L(RandomFlip)(),
        ],
        image_format="${dataset.image_format}",
        use_instance_mask=True,
        instance_mask_format="${dataset.mask_format}",
    ),
    total_batch_size=8,
    num_workers=4,
    seed="${train.seed}",
    # Images without objects, from which little can be learnt, are left out. A batch has either wide or tall images, so
    # that it needs less padding.
    filter_empty=True,
    group_by_aspect_ratio=True,
    # If fewer than this share of the images contain a class, these images are drawn more often, as for LVIS. None turns
    # this off.
    repeat_threshold=None,
)
dataloader["test"] = L(build_test_loader)(
    dataset="${dataset.test}",
    mapper=L(DatasetMapper)(
        is_train=False,
        augmentations=[
            L(ResizeShortestEdge)(short_edge_length="${dataset.test_short_side}", max_size="${dataset.long_side}")
        ],
        image_format="${dataset.image_format}",
    ),
    num_workers=4,
)
dataloader["evaluator"] = L(COCOEvaluator)(dataset_name="${dataset.test}", output_dir="${train.output_dir}/inference")
