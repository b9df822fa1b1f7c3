"""Registers TokenSeg's data sets with Detectron2; ADE20K, Cityscapes and COCO are registered by Detectron2 itself.

Like Detectron2's, they lie under `$DETECTRON2_DATASETS`, `./datasets` by default.
"""

import os
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json, load_sem_seg

from . import shape_scenes


def register_shape_scenes(root: str | Path) -> None:
    """Register `shapes_sem_seg_{train,val}` and `shapes_instance_{train,val}`, generated under `root` on first use."""
    folder = Path(root) / shape_scenes.FOLDER
    for split in shape_scenes.SPLITS:
        images, labels = str(folder / "images" / split), str(folder / "annotations" / split)
        instances = str(folder / f"instances_{split}.json")

        def sem_seg_records(images: str = images, labels: str = labels) -> list[dict]:
            shape_scenes.ensure(root)
            return load_sem_seg(labels, images, gt_ext="png", image_ext="png")

        def instance_records(
            images: str = images, instances: str = instances, name: str = f"shapes_instance_{split}"
        ) -> list[dict]:
            shape_scenes.ensure(root)
            return load_coco_json(instances, images, name)

        DatasetCatalog.register(f"shapes_sem_seg_{split}", sem_seg_records)
        MetadataCatalog.get(f"shapes_sem_seg_{split}").set(
            stuff_classes=[kind.name for kind in shape_scenes.CLASSES],
            stuff_colors=[kind.color for kind in shape_scenes.CLASSES],
            ignore_label=shape_scenes.IGNORE_LABEL,
            image_root=images,
            sem_seg_root=labels,
            evaluator_type="sem_seg",
        )
        DatasetCatalog.register(f"shapes_instance_{split}", instance_records)
        MetadataCatalog.get(f"shapes_instance_{split}").set(
            thing_classes=[kind.name for kind in shape_scenes.THINGS],
            thing_colors=[kind.color for kind in shape_scenes.THINGS],
            json_file=instances,
            image_root=images,
            evaluator_type="coco",
        )


register_shape_scenes(os.getenv("DETECTRON2_DATASETS", "datasets"))
