"""The loggers of a run."""

import logging

from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger
from omegaconf import DictConfig

from .run_folder import write_record

logger = logging.getLogger(__name__)


def start_logs(config: DictConfig, *, training: bool, arguments: object) -> None:
    """Start the loggers of this process and, in training, leave `config.yaml` and `environment.txt` behind."""
    output_dir, rank = config.train.output_dir, comm.get_rank()
    for name in ("detectron2", "fvcore", "tokenseg"):
        setup_logger(output_dir, distributed_rank=rank, name=name)
    logger.info("Process %d of %d; command line: %s", rank, comm.get_world_size(), arguments)
    environment = collect_env_info()
    logger.info("Environment:\n%s", environment)
    if training and comm.is_main_process():
        write_record(config, environment)
    seed_all_rng(config.train.seed + rank)
