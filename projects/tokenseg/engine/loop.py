"""Training and evaluation of a config, which `train_net.py` runs in each of its processes.

Any Detectron2 model can be trained: it is called with a list of records and returns a dict of losses in training.
"""

import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping

import torch
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
from .checkpoint import Checkpointer, check_finite, last_checkpoint
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
from .sharding import Replica, check_sharding, shard
from .stopping import StopRequest
from .trainer import Trainer
from .validation import build_validation

logger = logging.getLogger(__name__)


def train(config: DictConfig, *, resume: bool, stop: StopRequest | None = None) -> None:
    """Train the model of a config, evaluate it, and write the files of the run to `train.output_dir`.

    Args:
        config: The config, with `model`, `dataloader`, `optimizer`, `lr_multiplier` and `train`. The keys of `train`
            are explained in configs/common/train.py.
        resume: Whether to continue from the last checkpoint in the output folder, if there is one.
        stop: The request that can stop the run before its end, or None if nothing can.

    Raises:
        Stopped: The run was asked to stop. It has saved a checkpoint if it had taken a step.
        ValueError: Settings, data or weights do not fit.
        FloatingPointError: Losses, gradients or weights are not finite. The last good weights are not overwritten.
        OSError: A checkpoint cannot be written.
    """
    settings = config.train
    stop = stop or StopRequest()
    seed_all_rng(settings.seed + comm.get_rank())
    measure = _build_measure(config, stop)  # first, so that a mistake in the test data shows early
    resumes = resume and bool(last_checkpoint(settings.output_dir))
    trainer = build_trainer(config, stop=stop, fresh=not resumes)
    decay = OmegaConf.select(settings, "ema.decay", default=0)
    averages = {"ema": _average(trainer, decay)} if decay else {}
    deployed = averages["ema"].whole if averages else trainer.whole
    checkpointer = Checkpointer(trainer.model, settings.output_dir, trainer=trainer, **averages)
    metrics = MetricsFile(os.path.join(settings.output_dir, "metrics.json"))
    start = 0  # set again below, before the first step, which is when `begin` reads it

    def evaluate_deployed() -> Mapping:
        with deployed() as model:
            return measure(model) if measure else {}

    writers = build_writers(config, metrics, resume=resume) if comm.is_main_process() else []
    bookkeeping = Bookkeeping(
        max_iter=settings.max_iter,
        begin=lambda: _take_over_folder(config, checkpointer, metrics, fresh=start == 0),
        save=PeriodicSaver(checkpointer=checkpointer, max_iter=settings.max_iter, **settings.checkpointer),
        evaluate=None if measure is None else evaluate_deployed,
        eval_period=settings.eval_period,
        best=BestCheckpoint(metric=settings.best_metric, checkpointer=checkpointer),
        metrics=metrics,
        writers=writers,
        log_period=settings.log_period,
        stop=stop,
        patience=settings.get("patience", 0),
        show=picture_hook(config, trainer.model, deployed, writers),
    )
    schedule = hooks.LRScheduler(scheduler=instantiate(config.lr_multiplier))
    # Bookkeeping comes last, since its checkpoint contains the state of all other hooks after the step.
    alarms = instantiate(settings.get("alarms"))
    trainer.register_hooks([hooks.IterationTimer(), schedule, ScalarHistory(), *averages.values(), alarms, bookkeeping])
    start = _load_start(config, trainer, checkpointer, resume=resume)
    announce_training(config, trainer, start=start)
    try:
        with stop.deferred():
            trainer.train(start, max(start, settings.max_iter))
    except NoImprovement as reason:
        logger.info("%s", reason)


def _take_over_folder(config: DictConfig, checkpointer: Checkpointer, metrics: MetricsFile, *, fresh: bool) -> None:
    """Take over the output folder from an earlier run, after the first successful step of this one.

    A run that fails in its first step thus leaves the files of the earlier run as they are.

    Raises:
        FloatingPointError: The weights are not finite.
    """
    check_finite(checkpointer.model.state_dict())
    if comm.is_main_process():
        begin_run(config, fresh=fresh)
        if fresh:
            metrics.clear()


def _build_measure(config: DictConfig, stop: StopRequest) -> Callable[[nn.Module], Mapping] | None:
    """Build the function that evaluates a model, or return None if the config has no evaluator.

    If the config requests the loss on the test set, it is added to the results as the task `validation`.

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

    Args:
        config: The config.
        resume: Whether to evaluate the last checkpoint of the output folder.

    Returns:
        The results `{task: {name: value}}` on the main process; empty on the others.

    Raises:
        ValueError: There is no evaluator, the test set cannot be read, or the weights do not fit the model.
    """
    evaluation = build_evaluation(config)
    if evaluation is None:
        raise ValueError("dataloader.evaluator is null; wanted an evaluator")
    model = build_model(config)
    announce_model(model)
    announce_device(config)
    checkpointer = Checkpointer(model, config.train.output_dir, allow_pickle=config.train.allow_pickle)
    checkpointer.resume_or_load(config.train.init_checkpoint, resume=resume)
    return evaluation(distribute(model, **config.train.ddp))


def build_trainer(config: DictConfig, *, stop: Callable[[], bool] = lambda: False, fresh: bool = False) -> Trainer:
    """Build the trainer of a config, with its model, optimiser and data.

    Args:
        config: The config of the run.
        stop: A function that returns whether this process has been asked to stop.
        fresh: Whether to load the initial weights of a fresh training.

    Raises:
        ValueError: Settings, data or weights do not fit.
    """
    settings, device = config.train, resolve_device(config.train.device)
    shards = settings.get("shard", False)
    check_sharding(settings, comm.get_world_size())
    model = build_model(config, device="cpu" if shards else device)
    freeze(model, settings.get("freeze", []))
    if not isinstance(model, CountsSteps):
        logger.info(
            "%s normalises its losses over the images of each call: they are averaged over the processes and over the "
            "parts of train.accumulate, each with the same weight",
            type(model).__name__,
        )
    if fresh:
        load_fresh_start(config, model)
    replica = Replica(model)  # before the model is compiled or sharded, since it is a copy
    if settings.compile:
        compile_parts(model)
    if shards:
        shard(model, device)
    return Trainer(
        model=model if shards else distribute(model, **settings.ddp),
        data_loader=instantiate(config.dataloader.train),
        optimizer=_build_optimizer(config, model),
        amp_dtype=amp_dtype(settings.amp, device),
        accumulate=settings.accumulate,
        clip_grad_norm=settings.clip_grad_norm,
        seed=settings.seed,
        stop=stop,
        replica=replica,
    )


def _build_optimizer(config: DictConfig, model: nn.Module) -> torch.optim.Optimizer:
    config.optimizer.params.model = model
    optimizer = instantiate(config.optimizer)
    config.optimizer.params.model = None  # the config is saved later, and a model cannot be written to YAML
    for group in optimizer.param_groups:
        count = sum(p.numel() for p in group["params"])
        logger.debug("Optimiser group: %d values, lr %g, decay %g", count, group["lr"], group["weight_decay"])
    return optimizer


def _load_start(config: DictConfig, trainer: Trainer, checkpointer: Checkpointer, *, resume: bool) -> int:
    """Load the checkpoint from which the training continues, if there is one, and return the first iteration."""
    start = 0
    if resume and checkpointer.has_checkpoint():
        path = checkpointer.get_checkpoint_file()
        checkpointer.load(path)
        logger.info("Resumed from %s, after iteration %d", path, trainer.iter)
        start = trainer.iter + 1
    else:
        if resume:
            logger.warning("--resume: %s has no checkpoint; the training starts afresh", config.train.output_dir)
    if isinstance(trainer.data_loader, TrainLoader):
        trainer.data_loader.start_iter = start
    elif start:
        logger.warning(
            "%s cannot continue its stream of samples after an interruption, as TrainLoader can: the resumed run sees "
            "other samples than an uninterrupted one would",
            type(trainer.data_loader).__name__,
        )
    return start


def _average(trainer: Trainer, decay: float) -> WeightAverage:
    assert trainer.replica is not None  # `build_trainer` always passes one
    return WeightAverage(trainer.model, decay=decay, replica=trainer.replica)
