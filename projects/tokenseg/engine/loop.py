"""Training and evaluation of a config: what `train_net.py` runs in each of its processes.

It takes any Detectron2 model: `model` is called with a list of records and returns a dict of losses in training.
"""

import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping

from detectron2.engine import hooks
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ..config.instantiate import instantiate
from ..contracts import CountsSteps
from ..d2_compat import distribute
from ..data.stream import TrainLoader
from .announcement import announce_device, announce_model, announce_training
from .averaging import WeightAverage
from .best import BestCheckpoint
from .build import build_model, compile_parts
from .checkpoint import Checkpointer, check_finite
from .devices import resolve_device
from .evaluation import build_evaluation
from .fresh_start import load_fresh_start
from .frozen_parts import freeze
from .hooks import Bookkeeping, NoImprovement, ScalarHistory
from .metrics_file import MetricsFile
from .outlets import build_writers, picture_hook
from .precision import amp_dtype
from .run_folder import begin_run
from .saving import PeriodicSaver
from .stopping import StopRequest
from .trainer import Trainer
from .validation import build_validation

logger = logging.getLogger(__name__)


def train(config: DictConfig, *, resume: bool, stop: StopRequest | None = None) -> None:
    """Train the model of a config, evaluate it, and leave the files of a run in `train.output_dir`.

    Args:
        config: The config, with `model`, `dataloader`, `optimizer`, `lr_multiplier` and `train`, whose keys
            configs/common/train.py explains.
        resume: Whether to continue from the last checkpoint in the output folder, if there is one.
        stop: What stops the run before its end; None if nothing does.

    Raises:
        Stopped: The run was asked to stop, and has saved a checkpoint if it had taken a step.
        ValueError: Settings, data or weights do not fit.
        FloatingPointError: Losses, gradients or weights are not finite; nothing is saved over good weights.
        OSError: A checkpoint cannot be written.
    """
    settings = config.train
    stop = stop or StopRequest()
    seed_all_rng(settings.seed + comm.get_rank())
    measure = _build_measure(config, stop)
    trainer = build_trainer(config, stop=stop)
    decay = OmegaConf.select(settings, "ema.decay", default=0)
    averages = {"ema": WeightAverage(trainer.model, decay=decay)} if decay else {}
    deployed = averages["ema"].model if averages else trainer.model
    checkpointer = Checkpointer(trainer.model, settings.output_dir, trainer=trainer, **averages)
    metrics = MetricsFile(os.path.join(settings.output_dir, "metrics.json"))
    start = 0

    def begin() -> None:
        check_finite(checkpointer.model.state_dict())
        begin_run(config, fresh=start == 0)
        if start == 0:
            metrics.clear()

    writers = build_writers(config, metrics, resume=resume) if comm.is_main_process() else []
    bookkeeping = Bookkeeping(
        max_iter=settings.max_iter,
        begin=begin,
        save=PeriodicSaver(checkpointer=checkpointer, max_iter=settings.max_iter, **settings.checkpointer),
        evaluate=None if measure is None else lambda: measure(deployed),
        eval_period=settings.eval_period,
        best=BestCheckpoint(metric=settings.best_metric, checkpointer=checkpointer),
        metrics=metrics,
        writers=writers,
        log_period=settings.log_period,
        stop=stop,
        patience=settings.get("patience", 0),
        show=picture_hook(config, deployed, writers) if comm.is_main_process() else None,
    )
    schedule = hooks.LRScheduler(scheduler=instantiate(config.lr_multiplier))
    # Bookkeeping comes last: its checkpoint holds what the others have put down.
    alarms = instantiate(settings.get("alarms"))
    trainer.register_hooks([hooks.IterationTimer(), schedule, ScalarHistory(), *averages.values(), alarms, bookkeeping])
    start = _load_start(config, trainer, checkpointer, resume=resume)
    announce_training(config, trainer, start=start)
    if start >= settings.max_iter:
        logger.info("The training had ended, after iteration %d; no step is left", start - 1)
    try:
        with stop.deferred():
            trainer.train(start, max(start, settings.max_iter))
    except NoImprovement as reason:
        logger.info("%s", reason)


def _build_measure(config: DictConfig, stop: StopRequest) -> Callable[[nn.Module], Mapping] | None:
    """What measures a model: the evaluation, with the loss on the test set as the task `validation` if that is wanted.

    Raises:
        ValueError: The test set cannot be read, or a setting does not fit.
    """
    evaluation, validation = build_evaluation(config, stop=stop), build_validation(config)
    if evaluation is None:
        return None
    evaluation.check_metric(config.train.best_metric)
    if validation is None:
        return evaluation
    return lambda model: evaluation(model) | {"validation": validation(model)}


def evaluate(config: DictConfig, *, resume: bool) -> OrderedDict:
    """Evaluate `train.init_checkpoint` or, with `resume`, the last checkpoint of the output folder, if there is one.

    Returns:
        `{task: {name: value}}` on the main process; empty on others.

    Raises:
        ValueError: There is no evaluator, or the test set or the weights do not fit.
    """
    evaluation = build_evaluation(config)
    if evaluation is None:
        raise ValueError("dataloader.evaluator is null; wanted one to evaluate with")
    model = build_model(config)
    announce_model(model)
    announce_device(config)
    checkpointer = Checkpointer(model, config.train.output_dir, allow_pickle=config.train.allow_pickle)
    checkpointer.resume_or_load(config.train.init_checkpoint, resume=resume)
    return evaluation(distribute(model, **config.train.ddp))


def build_trainer(config: DictConfig, *, stop: Callable[[], bool] = lambda: False) -> Trainer:
    """Model, optimiser and data of a config, ready to train."""
    model = build_model(config)
    freeze(model, config.train.get("freeze", []))
    if not isinstance(model, CountsSteps):
        logger.info(
            "%s divides its losses by counts of the images that it is given: they are averaged over processes and over "
            "the parts of train.accumulate, each with the same weight",
            type(model).__name__,
        )
    config.optimizer.params.model = model
    optimizer = instantiate(config.optimizer)
    config.optimizer.params.model = None  # the config is written to a file later
    for group in optimizer.param_groups:
        count = sum(p.numel() for p in group["params"])
        logger.debug("Optimiser group: %d numbers, lr %g, decay %g", count, group["lr"], group["weight_decay"])
    if config.train.compile:
        compile_parts(model)
    return Trainer(
        model=distribute(model, **config.train.ddp),
        data_loader=instantiate(config.dataloader.train),
        optimizer=optimizer,
        amp_dtype=amp_dtype(config.train.amp, resolve_device(config.train.device)),
        accumulate=config.train.accumulate,
        clip_grad_norm=config.train.clip_grad_norm,
        seed=config.train.seed,
        stop=stop,
    )


def _load_start(config: DictConfig, trainer: Trainer, checkpointer: Checkpointer, *, resume: bool) -> int:
    """Load what the training starts from, and return its first iteration."""
    start = 0
    if resume and checkpointer.has_checkpoint():
        path = checkpointer.get_checkpoint_file()
        checkpointer.load(path)
        logger.info("Resumed from %s, after iteration %d", path, trainer.iter)
        start = trainer.iter + 1
    else:
        if resume:
            logger.warning("--resume: no checkpoint in %s; the training starts afresh", config.train.output_dir)
        load_fresh_start(config, checkpointer.model)
    if isinstance(trainer.data_loader, TrainLoader):
        trainer.data_loader.start_iter = start
    elif start:
        logger.warning(
            "%s cannot go on where it was cut, as TrainLoader can: a resumed run sees other samples than the unbroken",
            type(trainer.data_loader).__name__,
        )
    return start
