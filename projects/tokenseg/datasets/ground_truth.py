"""The ground truth of image files, for pictures that show it next to the predictions of a model."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.data.datasets import load_coco_json
from detectron2.data.detection_utils import annotations_to_instances

from .records import load_records


class AnnotatedInstances(NamedTuple):
    """The annotated instances of an image."""

    boxes: np.ndarray  # (instances, 4): left, top, right, bottom in pixels
    masks: np.ndarray | None  # (instances, H, W) bool; None if no instance has a mask
    names: list[str]  # the class name of each instance


class GroundTruth:
    """The records of a data set, which can be looked up by image file."""

    def __init__(
        self, records: Sequence[dict], *, files: Sequence[PurePath], class_names: Sequence[str], source: str
    ) -> None:
        """
        Args:
            records: The records in Detectron2's format.
            files: The path of each record's image. A relative path stands for any image whose path ends with it.
            class_names: The class names of the instances; empty if the ground truth is label maps.
            source: The name of the data set or file that the records are from, for messages.
        """
        self.source = source
        self.records, self._class_names = records, list(class_names)
        self._places = defaultdict(list)
        for place, file in enumerate(files):
            self._places[file.name].append((file.parts, place))

    @classmethod
    def of_dataset(cls, name: str, *, key: str = "annotations") -> "GroundTruth":
        """Read a registered data set.

        Args:
            name: The name of the data set.
            key: The key of the ground truth in the records, `annotations` or `sem_seg_file_name`. Records without this
                key are skipped.

        Raises:
            ValueError: The data set is not registered, or cannot be read.
        """
        records = [record for record in load_records(name) if key in record]
        files = [Path(record["file_name"]).resolve() for record in records]
        names = MetadataCatalog.get(name).get("thing_classes") or []
        return cls(records, files=files, class_names=names, source=f"data set {name}")

    @classmethod
    def of_file(cls, path: str | Path) -> "GroundTruth":
        """Read an annotation file in COCO's format.

        Raises:
            ValueError: The file is not in this format.
        """
        name = f"coco annotations in {path}"
        try:
            records = load_coco_json(str(path), "", name)
            classes = [str(each) for each in MetadataCatalog.get(name).thing_classes]
        except Exception as error:  # on a damaged file, pycocotools and Detectron2 may raise exceptions of any type
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(f"{path} cannot be read as annotations in COCO's format: {reason}") from error
        finally:
            MetadataCatalog.pop(name, None)
        files = [PurePath(record["file_name"]) for record in records]
        return cls(records, files=files, class_names=classes, source=str(path))

    def record(self, image: str | Path) -> dict | None:
        """Find the record of an image file; return None if there is none."""
        whole = Path(image).resolve().parts
        fitting = [(len(parts), place) for parts, place in self._places[whole[-1]] if whole[-len(parts) :] == parts]
        # If several relative paths match, the longest one is the most specific.
        return self.records[max(fitting)[1]] if fitting else None

    def instances(self, record: dict, size: tuple[int, int]) -> AnnotatedInstances:
        """Return the instances of a record.

        Args:
            record: The record, which has `annotations`.
            size: The (height, width) of its image.

        Raises:
            ValueError: The annotations belong to an image of another size.
        """
        known = record.get("height", size[0]), record.get("width", size[1])
        # Each annotation is converted separately, since only some of them may have masks.
        single = [annotations_to_instances([each], known, mask_format="bitmask") for each in record["annotations"]]
        masks = [each.gt_masks.tensor[0].numpy() if each.has("gt_masks") else None for each in single]
        other = {known, *(mask.shape for mask in masks if mask is not None)} - {size}
        if other:
            raise ValueError(
                f"{self.source}: {record['file_name']} has the size {min(other)}; wanted that of the image, {size}"
            )
        filled = [np.zeros(size, dtype=bool) if mask is None else mask.astype(bool) for mask in masks]
        return AnnotatedInstances(
            boxes=np.array([each.gt_boxes.tensor[0].numpy() for each in single]).reshape(-1, 4),
            masks=np.array(filled) if any(mask is not None for mask in masks) else None,
            names=[self._name(each) for each in record["annotations"]],
        )

    def _name(self, annotation: dict) -> str:
        crowd = " (crowd)" if annotation.get("iscrowd", 0) else ""
        return f"{self._class_names[annotation['category_id']]}{crowd}"
