"""The dataset mapper of every semantic segmentation config: Detectron2's, with strict checks of its inputs."""

import copy
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from detectron2.data import DatasetMapper
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T

from .errors import SizesDiffer
from .image_reader import ImageReader
from .labels import check_label_range, read_class_ids
from .rescaling import OriginalImage


class SemSegMapper(DatasetMapper):
    """Turn a dataset record into a model input.

    Beside Detectron2's mapper it reads palette labels as ids, and refuses a label outside the classes and a label
    map whose size differs from its image's, by the file's name.
    """

    def __init__(
        self,
        *,
        is_train: bool,
        augmentations: Sequence[T.Augmentation],
        num_classes: int,
        ignore_label: int = 255,
        image_format: str = "RGB",
        bands: Sequence[str] | None = None,
        value_range: Sequence[float] | None = None,
        label_targets: Mapping[str, Callable[[np.ndarray], torch.Tensor] | None] | None = None,
        keep_original: bool = False,
    ) -> None:
        """
        Args:
            is_train: Whether label maps are read; otherwise an input holds the image alone.
            augmentations: Applied in order to the image and its label map.
            num_classes: K; labels must be 0..K-1 or `ignore_label`.
            ignore_label: Id of pixels that count nowhere.
            image_format: Channel order, as in Detectron2.
            bands: The names of the bands, where images are no colours; see `ImageReader`.
            value_range: The two stored values that become the grey levels 0 and 255, where images have not 8 bits.
            label_targets: Further targets in training, by their key: functions of the augmented label map (H, W), run
                here so that the workers do it; None leaves one out.
            keep_original: Whether a test input also holds the image as the file has it, of which views at several
                scales are made.
        """
        super().__init__(is_train=is_train, augmentations=list(augmentations), image_format=image_format)
        self.reader = ImageReader(image_format=image_format, bands=bands, value_range=value_range)
        self.test_augmentations = None if is_train or not keep_original else list(augmentations)
        self.num_classes, self.ignore_label = num_classes, ignore_label
        self.label_targets = {key: make for key, make in (label_targets or {}).items() if make is not None}

    def __call__(self, dataset_dict: dict) -> dict:
        """
        Args:
            dataset_dict: A record with `file_name`, and in training `sem_seg_file_name` and, where stored ids are no
                class ids, `sem_seg_id_map`.

        Returns:
            The record with `image` (C, H, W), uint8 or float32 grey levels, `height` and `width` of the file in pixels,
            and in training `sem_seg` (H, W) int64 and what `label_targets` make of it; in tests that keep it,
            `original`, an `OriginalImage`.

        Raises:
            ValueError: One of the kinds in `errors.py`: an image or label map that is unreadable or would be misread, a
                label map of colours or with ids out of range, or sizes that differ; names the files.
        """
        record = copy.deepcopy(dataset_dict)
        image = self.reader(record["file_name"])
        utils.check_image_size(record, image)
        label = self._read_label(record, image.shape[:2]) if self.is_train else None
        if self.test_augmentations is not None:
            record["original"] = OriginalImage(pixels=image, augmentations=self.test_augmentations)
        inputs = T.AugInput(image, sem_seg=label)
        self.augmentations(inputs)
        record["image"] = torch.from_numpy(np.ascontiguousarray(inputs.image.transpose(2, 0, 1)))
        if label is not None:
            record["sem_seg"] = torch.from_numpy(inputs.sem_seg.astype(np.int64, order="C"))
            record |= {key: make(record["sem_seg"].numpy()) for key, make in self.label_targets.items()}
        return record

    def _read_label(self, record: dict, size: tuple[int, int]) -> np.ndarray:
        path = record["sem_seg_file_name"]
        label = read_class_ids(record)
        if label.shape != size:
            raise SizesDiffer(
                f"image {record['file_name']} has height x width {size[0]}x{size[1]}, its label map {path} "
                f"{label.shape[0]}x{label.shape[1]}; wanted equal sizes",
                label_size=label.shape,
            )
        check_label_range(label, num_classes=self.num_classes, ignore_label=self.ignore_label, path=path)
        # Detectron2 resizes arrays of uint8 and of floats; floats hold every id exactly
        return label.astype(np.uint8 if self.num_classes < 256 and self.ignore_label < 256 else np.float32)
