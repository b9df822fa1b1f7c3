"""Average precision over a part of an annotation file."""

from collections import OrderedDict
from collections.abc import Sequence

from detectron2.evaluation import COCOEvaluator

from ..datasets.records import load_records


class PartialCOCOEvaluator(COCOEvaluator):
    """Detectron2's COCOEvaluator over the images of the data set alone, where its annotation file lists others too.

    That of a held-out share does: objects of training images would count as missed.
    """

    def __init__(self, *, dataset_name: str, output_dir: str | None = None, **settings: object) -> None:
        """
        Args:
            dataset_name: The name of the data set, whose metadata have a `json_file`.
            output_dir: The folder for the predictions; None keeps none.
            settings: Further arguments of `COCOEvaluator`.
        """
        super().__init__(dataset_name, output_dir=output_dir, **settings)
        self._dataset_name = dataset_name

    def evaluate(self, img_ids: Sequence[int] | None = None) -> OrderedDict | None:
        """Metrics by task on the main process, `{"bbox": {"AP": 41.9, ...}, ...}`; empty on others.

        Args:
            img_ids: The ids of the images; None is all of the data set.
        """
        if img_ids is None:
            img_ids = [record["image_id"] for record in load_records(self._dataset_name)]
        return super().evaluate(img_ids)
