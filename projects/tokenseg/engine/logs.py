"""The loggers of a run: short lines on the terminal, and all details in the log file."""

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
# Loggers of Detectron2 whose long lines repeat what a line of ours or a progress bar says briefly.
_DETAILS = {
    "detectron2.data.common",
    "detectron2.data.dataset_mapper",
    "detectron2.data.datasets.coco",
    "detectron2.engine.train_loop",
    "detectron2.evaluation.evaluator",
}


class OneLine(logging.Filter):
    """Removes the traceback from the line with which Detectron2 logs why a training stopped.

    The error is raised as well, and whoever catches it knows whether it is a user's mistake, which one line explains,
    or a defect of the program, which needs the traceback.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            text = [line for line in str(error).splitlines() if line.strip()] or [""]
            record.msg, record.args = "The training stopped: %s: %s", (type(error).__name__, text[-1].strip())
            record.exc_info = record.exc_text = None
        return True


class TerminalLines(logging.Formatter):
    """Formats lines for a terminal, with the time and, above INFO, the level, but without the names of modules."""

    def __init__(self) -> None:
        super().__init__("[%(asctime)s] %(message)s", datefmt="%m/%d %H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the time and the message, with the level between them if it is above INFO."""
        line = super().formatMessage(record)
        if record.levelno <= logging.INFO:
            return line
        time, bracket, message = line.partition("] ")
        return f"{time}{bracket}{colored(record.levelname, 'red')}: {message}"


class _WithoutDetails(logging.Filter):
    """Leaves out details that Detectron2 logs and that few users need."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO or record.name not in _DETAILS


def quieten(handler: logging.Handler) -> None:
    """Make the handler of a terminal show only what a user wants to know. Log files still get every line."""
    handler.setLevel(logging.INFO)
    handler.setFormatter(TerminalLines())
    handler.addFilter(_WithoutDetails())


def _is_not_about_cuda_runtime(record: logging.LogRecord) -> bool:
    """Return whether a record is not torch's warning that it finds no CUDA runtime.

    Detectron2's report on the environment causes this warning on every machine without CUDA.
    """
    return not str(record.msg).startswith("No CUDA runtime is found")


def _close_files(names: Sequence[str]) -> None:
    """Close the log files quietly, before Detectron2 closes them and prints a long traceback if the disk is full."""
    for name in names:
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream not in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError):
                    handler.stream.close()


def start_logs(config: DictConfig, *, arguments: object) -> None:
    """Start the loggers of this process, and log its arguments and environment to the log file.

    Args:
        config: The config of the run.
        arguments: The arguments of the command.
    """
    output_dir, rank = config.train.output_dir, comm.get_rank()
    for name in _LOGGERS:
        for handler in setup_logger(output_dir, distributed_rank=rank, name=name).handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
                quieten(handler)
    logging.getLogger("torch.utils.cpp_extension").addFilter(_is_not_about_cuda_runtime)
    atexit.register(_close_files, _LOGGERS)
    stops = logging.getLogger("detectron2.engine.train_loop")
    if not any(isinstance(known, OneLine) for known in stops.filters):
        stops.addFilter(OneLine())
    logging.raiseExceptions = False  # with a full disk, every line that cannot be logged would print a traceback
    logger.debug("Process %d of %d; command line: %s", rank, comm.get_world_size(), arguments)
    logger.debug("Environment:\n%s", environment())
