"""The records of registered data sets, with clear errors where there are none."""

import logging
import os
from collections.abc import Sequence

from detectron2.data import DatasetCatalog, MetadataCatalog

logger = logging.getLogger(__name__)


def load_records(names: str | Sequence[str]) -> list[dict]:
    """The records of one or several registered data sets, joined.

    Raises:
        ValueError: a name that nobody registered, or a data set whose files are not there.
    """
    records, names = [], [names] if isinstance(names, str) else names
    if not names:
        raise ValueError("no data set is named; wanted one or more registered names")
    for name in names:
        if name not in DatasetCatalog.list():
            raise ValueError(f"data set '{name}' is not registered; registered are {', '.join(DatasetCatalog.list())}")
        try:
            found = DatasetCatalog.get(name)
        except (AssertionError, OSError) as error:  # an empty folder is an assertion of Detectron2's
            raise ValueError(_not_there(name, error)) from error
        if not found:
            raise ValueError(_not_there(name, "it has no images"))
        classes = MetadataCatalog.get(name).get("stuff_classes", [])
        shown = ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
        logger.info("Data set %s: %d images, %d classes (%s)", name, len(found), len(classes), shown)
        records += found
    return records


def _not_there(name: str, reason: object) -> str:
    folder = MetadataCatalog.get(name).get("image_root", "its folder")
    root = os.getenv("DETECTRON2_DATASETS", "datasets")
    place = f"data sets lie under $DETECTRON2_DATASETS, now {root}; tools/prepare_datasets makes them from archives"
    return f"data set '{name}' cannot be read from {folder}: {reason} ({place})"
