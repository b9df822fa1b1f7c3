"""A quick check at the start of a run whether the label maps of a data set contain more than one class."""

import logging
from collections.abc import Sequence

import numpy as np
from detectron2.utils import comm

from .labels import read_class_ids

logger = logging.getLogger(__name__)

# Spread over the data set; reading so few costs less than a second.
_LABEL_MAPS = 16


def warn_of_one_class(dataset: str | Sequence[str], records: Sequence[dict], *, ignore_label: int) -> None:
    """Warn, in the main process, if some label maps of a data set hold fewer than two classes together.

    Args:
        dataset: Names of the data set, for the message.
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
    held = f"hold nothing but class {next(iter(ids - {ignore_label}))}" if ids - {ignore_label} else "are ignored whole"
    hint = ""
    if ids == {0, ignore_label} and "sem_seg_id_map" not in records[0]:
        hint = f" If {ignore_label} stands for class 1 in them, say 'dataset.id_map={{0: 0, {ignore_label}: 1}}'."
    logger.warning(
        "Data set %s: the %d label maps looked at %s%s, so that a model cannot learn to tell anything apart and its "
        "mIoU says nothing.%s tools/check_dataset.py looks at all of them.",
        name,
        len(chosen),
        held,
        " and ignored pixels" if ids >= {ignore_label} and len(ids) > 1 else "",
        hint,
    )
