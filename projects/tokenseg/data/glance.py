"""A quick check at the start of a run whether the label maps of a data set contain more than one class."""

import logging
from collections.abc import Sequence

import numpy as np
from detectron2.utils import comm

from .labels import read_class_ids

logger = logging.getLogger(__name__)

# The number of label maps to read, spread evenly over the data set. Reading so few takes less than a second.
_LABEL_MAPS = 16


def warn_of_one_class(dataset: str | Sequence[str], records: Sequence[dict], *, ignore_label: int) -> None:
    """Log a warning in the main process if a sample of the label maps contains fewer than two classes in total.

    Args:
        dataset: The name or names of the data set, for the message.
        records: The records of the data set.
        ignore_label: The class id of the pixels to ignore.
    """
    if not comm.is_main_process() or "sem_seg_file_name" not in records[0]:
        return
    chosen = records[:: max(1, len(records) // _LABEL_MAPS)][:_LABEL_MAPS]
    ids: set[int] = set()
    try:
        for record in chosen:
            ids |= {*np.unique(read_class_ids(record)).tolist()}
            if len(ids - {ignore_label}) > 1:
                return
    except ValueError:  # the training or evaluation will report the faulty file
        return
    name = dataset if isinstance(dataset, str) else ", ".join(dataset)
    held = "are ignored completely"
    if ids - {ignore_label}:
        held = f"contain only class {next(iter(ids - {ignore_label}))}"
    hint = ""
    if ids == {0, ignore_label} and "sem_seg_id_map" not in records[0]:
        # Binary masks are often stored as 0 and 255, and 255 is also the usual ignore label.
        hint = f" If {ignore_label} stands for class 1 in them, set 'dataset.id_map={{0: 0, {ignore_label}: 1}}'."
    logger.warning(
        "Data set %s: the %d label maps that were sampled %s%s, so a model cannot learn to distinguish classes and its "
        "mIoU is meaningless.%s tools/check_dataset.py checks all label maps.",
        name,
        len(chosen),
        held,
        " and ignored pixels" if ids >= {ignore_label} and len(ids) > 1 else "",
        hint,
    )
