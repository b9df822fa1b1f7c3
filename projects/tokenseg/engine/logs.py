"""The loggers of a run."""

import atexit
import contextlib
import logging
import sys
from collections.abc import Sequence

from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from omegaconf import DictConfig
from termcolor import colored

from .run_folder import environment

logger = logging.getLogger(__name__)

_LOGGERS = ("detectron2", "fvcore", "tokenseg")
# Loggers of Detectron2 whose lines tell, at length, what a line of ours or a progress bar tells in short.
_DETAILS = {
    "detectron2.data.common",
    "detectron2.data.dataset_mapper",
    "detectron2.data.datasets.coco",
    "detectron2.engine.train_loop",
    "detectron2.evaluation.evaluator",
}


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


class TerminalLines(logging.Formatter):
    """Lines as a terminal shows them: with the time and, above INFO, the level; names of modules are for the file."""

    def __init__(self) -> None:
        super().__init__("[%(asctime)s] %(message)s", datefmt="%m/%d %H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The time and the message, with the level between them if it is a warning or worse."""
        line = super().formatMessage(record)
        if record.levelno <= logging.INFO:
            return line
        time, bracket, message = line.partition("] ")
        return f"{time}{bracket}{colored(record.levelname, 'red')}: {message}"


class _WithoutDetails(logging.Filter):
    """Leaves out details of Detectron2's that no user waits for."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO or record.name not in _DETAILS


def quieten(handler: logging.Handler) -> None:
    """Have the handler of a terminal show what a user wants to know; files get all, with the names of modules."""
    handler.setLevel(logging.INFO)
    handler.setFormatter(TerminalLines())
    handler.addFilter(_WithoutDetails())


def _is_no_guess(record: logging.LogRecord) -> bool:
    """Whether a record is not torch's guess where CUDA lies, which it warns of when Detectron2 asks for it."""
    return not str(record.msg).startswith("No CUDA runtime is found")


def _close_files(names: Sequence[str]) -> None:
    """Close the log files before Detectron2 does, which complains at length if a full disk does not let it."""
    for name in names:
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream not in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError):
                    handler.stream.close()


def start_logs(config: DictConfig, *, arguments: object) -> None:
    """Start the loggers of this process, and write to the log file what it runs on.

    Args:
        config: The config of the run.
        arguments: The arguments of the command, for the log.
    """
    output_dir, rank = config.train.output_dir, comm.get_rank()
    for name in _LOGGERS:
        for handler in setup_logger(output_dir, distributed_rank=rank, name=name).handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
                quieten(handler)
    logging.getLogger("torch.utils.cpp_extension").addFilter(_is_no_guess)
    atexit.register(_close_files, _LOGGERS)
    stops = logging.getLogger("detectron2.engine.train_loop")
    if not any(isinstance(known, OneLine) for known in stops.filters):
        stops.addFilter(OneLine())
    logging.raiseExceptions = False  # a disk that is full would print a traceback for every line that is not logged
    logger.debug("Process %d of %d; command line: %s", rank, comm.get_world_size(), arguments)
    logger.debug("Environment:\n%s", environment())
