"""The loggers of a run."""

import atexit
import contextlib
import logging
import sys
from collections.abc import Sequence

from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from omegaconf import DictConfig

from .run_folder import environment

logger = logging.getLogger(__name__)

_LOGGERS = ("detectron2", "fvcore", "tokenseg")


class OneLine(logging.Filter):
    """Leaves the traceback out of the line by which Detectron2 logs why a training stopped: the error itself is raised,
    and whoever catches it knows whether it is a user's mistake, which one line explains, or a defect."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            text = [line for line in str(error).splitlines() if line.strip()] or [""]
            record.msg, record.args = "The training stopped: %s: %s", (type(error).__name__, text[-1].strip())
            record.exc_info = record.exc_text = None
        return True


def _close_files(names: Sequence[str]) -> None:
    """Close the log files before Detectron2 does, which complains at length if a full disk does not let it."""
    for name in names:
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream not in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError):
                    handler.stream.close()


def start_logs(config: DictConfig, *, arguments: object) -> None:
    """Start the loggers of this process, and say what it runs on.

    Args:
        config: The config of the run.
        arguments: The arguments of the command, for the log.
    """
    output_dir, rank = config.train.output_dir, comm.get_rank()
    for name in _LOGGERS:
        setup_logger(output_dir, distributed_rank=rank, name=name)
    atexit.register(_close_files, _LOGGERS)
    stops = logging.getLogger("detectron2.engine.train_loop")
    if not any(isinstance(known, OneLine) for known in stops.filters):
        stops.addFilter(OneLine())
    logging.raiseExceptions = False  # a disk that is full would print a traceback for every line that is not logged
    logger.info("Process %d of %d; command line: %s", rank, comm.get_world_size(), arguments)
    logger.info("Environment:\n%s", environment())
