"""The dataset mapper of all semantic segmentation configs: Detectron2's mapper with strict checks of its inputs."""

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
    """Converts a dataset record to a model input.

    Unlike Detectron2's mapper, it reads palette label maps as ids. It raises an error that names the file if a label
    map contains an id that is neither a class nor ignored, or differs in size from its image.
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
            is_train: Whether to read label maps; otherwise the model input contains only the image.
            augmentations: The augmentations, applied in order to the image and its label map.
            num_classes: The number of classes K; labels must be 0..K-1 or `ignore_label`.
            ignore_label: The label of the pixels to ignore.
            image_format: The order of the channels, as in Detectron2.
            bands: The names of the bands if the images are not colour images; see `ImageReader`.
            value_range: The two stored values that become the grey levels 0 and 255 if the images are not 8-bit.
            label_targets: Further training targets by key, as functions of the augmented label map (H, W). They are
                computed here so that they run in the loader workers. None disables a target.
            keep_original: Whether a test input also contains the unresized image, from which views at several scales
                are created.
        """
        super().__init__(is_train=is_train, augmentations=list(augmentations), image_format=image_format)
        self.reader = ImageReader(image_format=image_format, bands=bands, value_range=value_range)
        self.test_augmentations = None if is_train or not keep_original else list(augmentations)
        self.num_classes, self.ignore_label = num_classes, ignore_label
        self.label_targets = {key: make for key, make in (label_targets or {}).items() if make is not None}

    def __call__(self, dataset_dict: dict) -> dict:
        """
        Args:
            dataset_dict: A record with `file_name`. For training it also has `sem_seg_file_name` and, if the stored ids
                are not class ids, `sem_seg_id_map`.

        Returns:
            The record with `image` (C, H, W) in grey levels, uint8 or float32, and with `height` and `width`, the size
            of the image file in pixels. In training it also has `sem_seg` (H, W) int64 and the `label_targets` under
            their keys; for tests with `keep_original`, an `OriginalImage` under `original`.

        Raises:
            ValueError: One of the exceptions in `errors.py`, which names the files: an image or label map cannot be
                read or would be misread, a label map has colours or ids out of range, or the sizes differ.
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
                f"image {record['file_name']} has height x width {size[0]}x{size[1]}, its label map {path} has "
                f"{label.shape[0]}x{label.shape[1]}; wanted equal sizes",
                label_size=label.shape,
            )
        check_label_range(label, num_classes=self.num_classes, ignore_label=self.ignore_label, path=path)
        # Detectron2 can resize only uint8 and float arrays. Single precision represents every id exactly.
        return label.astype(np.uint8 if self.num_classes < 256 and self.ignore_label < 256 else np.float32)
