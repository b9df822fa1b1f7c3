"""The loaders and the evaluator of semantic segmentation; the files of data sets set names, classes and sizes."""

from detectron2.config import LazyCall as L
from detectron2.data.transforms import RandomCrop_CategoryAreaConstraint, RandomFlip

from tokenseg.data.mapper import SemSegMapper
from tokenseg.data.stream import TrainLoader, build_test_loader
from tokenseg.data.transforms import ColorDistortion, PadToSize, ResizeToBase
from tokenseg.evaluation.sem_seg import ConfusionEvaluator

# The facts about a data set, to which other parts of a config refer.
dataset = dict(
    train="",
    test="",
    num_classes=0,
    ignore_label=255,
    # The weights of the classes in the losses of heads: a list, @FILE with one number per line, or `balanced` for
    # weights that are computed from the pixels of the training label maps; None weights all classes alike.
    class_weights=None,
    # The channel order that the model expects, RGB or BGR.
    image_format="RGB",
    # For images that are not 8-bit RGB: the names of the bands, in the order of the file, and the two stored values
    # that become the grey levels 0 and 255. model.pixel_mean and model.pixel_std then need one number per band.
    bands=None,
    value_range=None,
    # An image is resized until its short side or its long side has this many pixels, whichever happens first; in
    # training this size is then multiplied by a random ratio.
    short_side=512,
    long_side=2048,
    # The same for test images, where null means no bound on the long side. The last one is the least short side at the
    # small scales of train.tta.
    test_short_side="${dataset.short_side}",
    test_long_side="${dataset.long_side}",
    test_least_short_side=0,
    # The side in pixels of the square training crop.
    crop=512,
)

dataloader = {}
dataloader["train"] = L(TrainLoader)(
    dataset="${dataset.train}",
    mapper=L(SemSegMapper)(
        is_train=True,
        augmentations=[
            L(ResizeToBase)(short="${dataset.short_side}", long="${dataset.long_side}", ratio_range=(0.5, 2.0)),
            L(RandomCrop_CategoryAreaConstraint)(
                crop_type="absolute",
                crop_size=("${dataset.crop}", "${dataset.crop}"),
                single_category_max_area=0.75,
                ignored_category="${dataset.ignore_label}",
            ),
            L(RandomFlip)(),
            L(ColorDistortion)(image_format="${dataset.image_format}"),
            L(PadToSize)(
                size=("${dataset.crop}", "${dataset.crop}"),
                image_value="${model.pixel_mean}",
                label_value="${dataset.ignore_label}",
            ),
        ],
        num_classes="${dataset.num_classes}",
        ignore_label="${dataset.ignore_label}",
        image_format="${dataset.image_format}",
        bands="${dataset.bands}",
        value_range="${dataset.value_range}",
    ),
    total_batch_size=16,
    num_workers=4,
    seed="${train.seed}",
)
dataloader["test"] = L(build_test_loader)(
    dataset="${dataset.test}",
    mapper=L(SemSegMapper)(
        is_train=False,
        augmentations=[
            L(ResizeToBase)(
                short="${dataset.test_short_side}",
                long="${dataset.test_long_side}",
                least_short="${dataset.test_least_short_side}",
            )
        ],
        num_classes="${dataset.num_classes}",
        ignore_label="${dataset.ignore_label}",
        image_format="${dataset.image_format}",
        bands="${dataset.bands}",
        value_range="${dataset.value_range}",
        keep_original="${train.tta.enabled}",
    ),
    num_workers=4,
)
dataloader["evaluator"] = L(ConfusionEvaluator)(
    dataset_name="${dataset.test}",
    output_dir="${train.output_dir}/inference",
    # Further metrics, some of boundary, size, frequency, calibration and tokens; see projects/EVALUATE.md.
    metrics=[],
)
