"""Average precision over some of the images of an annotation file."""

from collections import OrderedDict
from collections.abc import Sequence

from detectron2.evaluation import COCOEvaluator

from ..datasets.records import load_records


class PartialCOCOEvaluator(COCOEvaluator):
    """Detectron2's COCOEvaluator, restricted to the images of the data set if its annotation file lists others too.

    This is the case if a part of the training images is held out for testing. Without the restriction, the objects of
    the training images would count as missed.
    """

    def __init__(self, *, dataset_name: str, output_dir: str | None = None, **settings: object) -> None:
        """
        Args:
            dataset_name: The name of the data set; its metadata must have `json_file`.
            output_dir: The folder to which the predictions are written, or None to write none.
            settings: Further arguments of `COCOEvaluator`.
        """
        super().__init__(dataset_name, output_dir=output_dir, **settings)
        self._dataset_name = dataset_name

    def evaluate(self, img_ids: Sequence[int] | None = None) -> OrderedDict | None:
        """Compute the metrics by task.

        Args:
            img_ids: The ids of the images to evaluate, by default all images of the data set.

        Returns:
            The metrics, such as `{"bbox": {"AP": 41.9, ...}, ...}`, in the main process; empty in other processes.
        """
        if img_ids is None:
            img_ids = [record["image_id"] for record in load_records(self._dataset_name)]
        return super().evaluate(img_ids)
