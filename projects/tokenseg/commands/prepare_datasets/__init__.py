"""The bodies of the commands that create a data set's folder from its official archives, one file per data set."""

import argparse
import logging

from ...archives import Preparation, prepare

logger = logging.getLogger(__name__)


def prepare_dataset(preparation: Preparation, args: argparse.Namespace) -> None:
    """Prepare a data set and log the progress.

    Args:
        preparation: The description of the data set's archives and files.
        args: The arguments of the command.

    Raises:
        ValueError: An archive or its contents differ from what was published; see `prepare`.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    counts = None
    if args.any_count:
        logger.warning("WARNING: the number of images is not checked. Results on this copy are not comparable.")
        counts = {split.name: None for split in preparation.splits}
    prepare(preparation, places=args.archives, root=args.root, counts=counts)
