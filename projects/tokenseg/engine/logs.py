"""The loggers of a run."""

import logging

from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from omegaconf import DictConfig

from .run_folder import environment

logger = logging.getLogger(__name__)


def start_logs(config: DictConfig, *, arguments: object) -> None:
    """Start the loggers of this process, and say what it runs on.

    Args:
        config: The config of the run.
        arguments: The arguments of the command, for the log.
    """
    output_dir, rank = config.train.output_dir, comm.get_rank()
    for name in ("detectron2", "fvcore", "tokenseg"):
        setup_logger(output_dir, distributed_rank=rank, name=name)
    logger.info("Process %d of %d; command line: %s", rank, comm.get_world_size(), arguments)
    logger.info("Environment:\n%s", environment())
