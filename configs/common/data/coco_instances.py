"""COCO 2017: boxes and masks of 80 classes, as Detectron2 registers it, for its own detectors."""

from detectron2.config import LazyCall as L
from detectron2.data import DatasetMapper
from detectron2.data.transforms import RandomFlip, ResizeShortestEdge
from detectron2.evaluation import COCOEvaluator

from tokenseg.data.stream import TrainLoader, build_test_loader

# What a data set is; other parts of a config refer to it.
dataset = dict(
    train="coco_2017_train",
    test="coco_2017_val",
    num_classes=80,
    # order of the channels that the model takes, RGB or BGR
    image_format="RGB",
    # one of these is drawn for the short side of each training image, in pixels; and the short side in tests
    short_sides=[640, 672, 704, 736, 768, 800],
    test_short_side=800,
    # bound on the long side, in training and in tests
    long_side=1333,
    # how masks are stored: polygon, or bitmask for those that are run-length encoded
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
    # Images without objects teach little; batches of one aspect ratio need less padding.
    filter_empty=True,
    group_by_aspect_ratio=True,
    # Share of images below which a class is rare; its images are drawn more often, as for LVIS. None is off.
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
