"""Registers TokenSeg's data sets with Detectron2, which itself registers ADE20K, Cityscapes and COCO.

Like those of Detectron2, their files are in `$DETECTRON2_DATASETS`, by default `./datasets`; tools/prepare_datasets
creates them.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json, load_sem_seg

from ..visualize import spread_colors
from . import shape_scenes
from .class_names import BACKGROUND, COCO_STUFF_10K, PASCAL_CONTEXT_59


def register_shape_scenes(root: str | Path) -> None:
    """Register all levels of ShapeScenes, which are generated in `root` on first use.

    The first level is `shapes_sem_seg_{train,val}` and `shapes_instance_{train,val}`; the names of the others contain
    their own, such as `shapes_place_sem_seg_train`. `shapes_instance_train_{10,50}` are the first 10 and 50 of the
    1,000 training images, that is, one and five per cent.
    """
    for level in shape_scenes.LEVELS:
        for split in shape_scenes.SPLITS:
            _register_shapes(Path(root), level, split)
    for count in (10, 50):
        name = f"shapes_instance_train_{count}"
        DatasetCatalog.register(name, lambda count=count: DatasetCatalog.get("shapes_instance_train")[:count])
        # json_file is not set, since an evaluator would read the annotations of all images from it.
        MetadataCatalog.get(name).set(thing_classes=[kind.name for kind in shape_scenes.THINGS])


def _register_shapes(root: Path, level: shape_scenes.Level, split: str) -> None:
    folder, name = root / level.folder, level.dataset("instance", split)
    images, labels = str(folder / "images" / split), str(folder / "annotations" / split)
    instances = str(folder / f"instances_{split}.json")

    def sem_seg_records() -> list[dict]:
        shape_scenes.ensure(root, level)
        return load_sem_seg(labels, images, gt_ext="png", image_ext="png")

    def instance_records() -> list[dict]:
        shape_scenes.ensure(root, level)
        return load_coco_json(instances, images, name)

    DatasetCatalog.register(level.dataset("sem_seg", split), sem_seg_records)
    MetadataCatalog.get(level.dataset("sem_seg", split)).set(
        stuff_classes=[kind.name for kind in level.classes],
        stuff_colors=[kind.color for kind in level.classes],
        ignore_label=shape_scenes.IGNORE_LABEL,
        image_root=images,
        sem_seg_root=labels,
        evaluator_type="sem_seg",
    )
    DatasetCatalog.register(name, instance_records)
    MetadataCatalog.get(name).set(
        thing_classes=[kind.name for kind in level.things],
        thing_colors=[kind.color for kind in level.things],
        json_file=instances,
        image_root=images,
        evaluator_type="coco",
    )


def _register_sem_seg(name: str, *, images: Path, labels: Path, classes: Sequence[str]) -> None:
    """Register a folder of JPEG images and a folder of PNG label maps with the same names."""

    def records() -> list[dict]:
        return load_sem_seg(str(labels), str(images), gt_ext="png", image_ext="jpg")

    DatasetCatalog.register(name, records)
    MetadataCatalog.get(name).set(
        stuff_classes=list(classes),
        stuff_colors=spread_colors(len(classes)).tolist(),
        ignore_label=255,
        image_root=str(images),
        sem_seg_root=str(labels),
        evaluator_type="sem_seg",
    )


def register_coco_stuff_10k(root: str | Path) -> None:
    """Register `coco_stuff_10k_sem_seg_{train,test}` with 171 classes."""
    folder = Path(root) / "coco_stuff_10k"
    for split in ("train", "test"):
        _register_sem_seg(
            f"coco_stuff_10k_sem_seg_{split}",
            images=folder / "images" / split,
            labels=folder / "annotations" / split,
            classes=[*COCO_STUFF_10K.values()],
        )


def register_pascal_context(root: str | Path) -> None:
    """Register `pascal_context_{59,60}_sem_seg_{train,val}`; the first of the 60 classes is the background."""
    folder = Path(root) / "pascal_context"
    frequent = [*PASCAL_CONTEXT_59.values()]
    for classes in (frequent, [BACKGROUND, *frequent]):
        for split in ("train", "val"):
            _register_sem_seg(
                f"pascal_context_{len(classes)}_sem_seg_{split}",
                images=folder / "images" / split,
                labels=folder / f"annotations_{len(classes)}" / split,
                classes=classes,
            )


def register_all(root: str | Path) -> None:
    """Register all data sets of TokenSeg with their files in the folder `root`; the files may be created later."""
    register_shape_scenes(root)
    register_coco_stuff_10k(root)
    register_pascal_context(root)


register_all(os.getenv("DETECTRON2_DATASETS", "datasets"))
