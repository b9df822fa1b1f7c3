#!/usr/bin/env python
"""Train or evaluate the model of a config.

    train_net.py --config-file C [--num-gpus N] [--resume] [--eval-only] [key=value ...]

A config holds `model`, `dataloader.{train,test,evaluator}`, `optimizer`, `lr_multiplier` and `train`; the keys of the
last are explained in configs/common/train.py. `--num-gpus` is the number of processes, on the CPU too.
"""

import argparse
import logging
import os
import re
import sys
from collections import OrderedDict

import torch
from detectron2.config import instantiate
from detectron2.engine import default_argument_parser, default_writers, hooks, launch
from detectron2.evaluation import inference_on_dataset, print_csv_format
from detectron2.utils import comm
from omegaconf import DictConfig
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from tokenseg.config.load import load_config
from tokenseg.d2_compat import distribute
from tokenseg.engine.build import build_model
from tokenseg.engine.checkpoint import BestCheckpoint, Checkpointer
from tokenseg.engine.devices import resolve_device, share_threads
from tokenseg.engine.logs import start_logs
from tokenseg.engine.precision import amp_dtype, autocast
from tokenseg.engine.run_folder import make_output_dir
from tokenseg.engine.trainer import Trainer

logger = logging.getLogger("tokenseg.train_net")


def do_test(cfg: DictConfig, model: torch.nn.Module) -> OrderedDict:
    """Evaluate on `dataloader.test`, in the precision of the training; results on the main process, else empty."""
    if cfg.dataloader.evaluator is None:
        return OrderedDict()
    device = next(model.parameters()).device
    with autocast(device, amp_dtype(cfg.train.amp, device.type)):
        # compiled parts run eagerly here: every new image size would compile anew
        with torch.compiler.set_stance("force_eager" if cfg.train.compile else "default"):
            results = inference_on_dataset(
                model, instantiate(cfg.dataloader.test), instantiate(cfg.dataloader.evaluator)
            )
    if comm.is_main_process():
        print_csv_format(results)
    return results


def build_trainer(cfg: DictConfig) -> Trainer:
    """Model, optimiser and data of a config, ready to train."""
    model = build_model(cfg)
    logger.info("Model:\n%s", model)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    logger.info("%.2f M trainable parameters", trainable / 1e6)
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer)
    for group in optimizer.param_groups:
        count = sum(p.numel() for p in group["params"])
        logger.info("Optimiser group: %d numbers, lr %g, decay %g", count, group["lr"], group["weight_decay"])
    if cfg.train.compile:
        for part in (model.backbone, model.sem_seg_head):
            part.compile()
    return Trainer(
        model=distribute(model, **cfg.train.ddp),
        data_loader=instantiate(cfg.dataloader.train),
        optimizer=optimizer,
        amp_dtype=amp_dtype(cfg.train.amp, resolve_device(cfg.train.device)),
        accumulate=cfg.train.accumulate,
        clip_grad_norm=cfg.train.clip_grad_norm,
        seed=cfg.train.seed,
    )


def load_start(cfg: DictConfig, trainer: Trainer, checkpointer: Checkpointer, *, resume: bool) -> int:
    """Load what the training starts from, and return its first iteration."""
    if resume and checkpointer.has_checkpoint():
        path = checkpointer.get_checkpoint_file()
        checkpointer.load(path)
        logger.info("Resumed from %s, after iteration %d", path, trainer.iter)
        return trainer.iter + 1
    if resume:
        logger.warning("--resume: there is no checkpoint in %s; the training starts afresh", cfg.train.output_dir)
    model = checkpointer.model
    if cfg.train.init_checkpoint:
        starter = Checkpointer(
            trainer.model,
            strict=False,  # fine-tuning: what fits is taken, the rest is listed
            skip_mismatched=cfg.train.skip_mismatched,
            allow_pickle=cfg.train.allow_pickle,
        )
        starter.load(cfg.train.init_checkpoint)
        logger.info("Initialised from %s", cfg.train.init_checkpoint)
    elif getattr(model.backbone, "pretrained", False):
        model.backbone.load_pretrained()
        logger.info("The backbone begins from its pretrained weights")
    return 0


def do_train(cfg: DictConfig, *, resume: bool) -> None:
    trainer = build_trainer(cfg)
    best = BestCheckpoint(
        metric=cfg.train.best_metric,
        save=lambda value: checkpointer.save("model_best", tag=False, iteration=trainer.iter, metric=value),
    )
    checkpointer = Checkpointer(trainer.model, cfg.train.output_dir, trainer=trainer, best=best)

    def evaluate() -> OrderedDict:
        results = do_test(cfg, trainer.model)
        if results and comm.is_main_process():
            best(results, trainer.iter)
        return results

    main = comm.is_main_process()
    trainer.register_hooks(
        [
            hooks.IterationTimer(),
            hooks.LRScheduler(scheduler=instantiate(cfg.lr_multiplier)),
            hooks.EvalHook(cfg.train.eval_period, evaluate),
            hooks.PeriodicCheckpointer(checkpointer, **cfg.train.checkpointer) if main else None,
            hooks.PeriodicWriter(default_writers(cfg.train.output_dir, cfg.train.max_iter), period=cfg.train.log_period)
            if main
            else None,
        ]
    )
    start = load_start(cfg, trainer, checkpointer, resume=resume)
    trainer.data_loader.start_iter = start
    if start >= cfg.train.max_iter:
        logger.info("The training had ended at iteration %d; evaluating it", start)
        do_test(cfg, trainer.model)
        return
    trainer.train(start, cfg.train.max_iter)


def do_eval(cfg: DictConfig, *, resume: bool) -> None:
    """Evaluate `train.init_checkpoint`, or with `--resume` the last checkpoint of the output folder."""
    model = build_model(cfg)
    checkpointer = Checkpointer(model, cfg.train.output_dir, allow_pickle=cfg.train.allow_pickle)
    checkpointer.resume_or_load(cfg.train.init_checkpoint, resume=resume)
    do_test(cfg, distribute(model, **cfg.train.ddp))


def main(cfg: DictConfig, args: argparse.Namespace) -> None:
    """One process's work."""
    if resolve_device(cfg.train.device) == "cpu":
        share_threads(args.num_gpus)
    start_logs(cfg, training=not args.eval_only, arguments=args)
    if args.eval_only:
        do_eval(cfg, resume=args.resume)
    else:
        do_train(cfg, resume=args.resume)


def parse_args(argv: list[str]) -> argparse.Namespace:
    """Detectron2's flags, which may also stand after overrides."""
    parser = default_argument_parser(epilog=__doc__)
    parser.set_defaults(dist_url="auto")
    args = parser.parse_args(argv)
    overrides = []
    while flags := [place for place, word in enumerate(args.opts) if word.startswith("--")]:
        # argparse leaves all that follows the first override to `opts`, flags too
        overrides += args.opts[: flags[0]]
        args = parser.parse_args(args.opts[flags[0] :], namespace=args)
    args.opts = overrides + args.opts
    if not args.config_file:
        parser.error("--config-file is missing")
    return args


def check(cfg: DictConfig, args: argparse.Namespace) -> str:
    """Refuse what cannot work before any process starts, and return the device that all will use."""
    device = resolve_device(cfg.train.device)
    if cfg.train.device == "auto":
        logger.info("train.device=auto: using %s", device)
    amp_dtype(cfg.train.amp, device)
    if args.num_gpus < 1:
        raise ValueError(f"--num-gpus is {args.num_gpus}; wanted 1 or more processes")
    if not 0 <= args.machine_rank < args.num_machines:
        raise ValueError(f"--machine-rank is {args.machine_rank}; wanted 0 to {args.num_machines - 1} (--num-machines)")
    if args.num_machines > 1 and args.dist_url == "auto":
        raise ValueError(
            f"--num-machines is {args.num_machines}; wanted --dist-url tcp://HOST:PORT of machine 0 with it"
        )
    if device == "cuda" and args.num_gpus > torch.cuda.device_count():
        raise ValueError(f"--num-gpus is {args.num_gpus}; torch finds {torch.cuda.device_count()} GPU(s)")
    resumable = args.resume and os.path.exists(os.path.join(cfg.train.output_dir, "last_checkpoint"))
    if args.eval_only and not cfg.train.init_checkpoint and not resumable:
        raise ValueError("--eval-only wants weights: train.init_checkpoint=FILE, or --resume for the last checkpoint")
    if not args.eval_only and cfg.train.max_iter < 1:
        raise ValueError(f"train.max_iter is {cfg.train.max_iter}; wanted 1 or more")
    make_output_dir(
        cfg.train.output_dir, resume=args.resume, training=not args.eval_only, overwrite=cfg.train.overwrite
    )
    return device


def invoke(argv: list[str]) -> None:
    args = parse_args(argv)
    cfg = load_config(args.config_file, args.opts)
    if check(cfg, args) == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Detectron2 would choose its backend by the GPUs it sees
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(cfg, args),
    )


def one_line(error: Exception) -> str:
    """What went wrong, without the traceback that errors of other processes carry in their text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
    return re.sub(r"^(\w+\.)*\w+: ", "", lines[-1]) if "Traceback" in str(error) else " ".join(lines)


def command(argv: list[str]) -> None:
    """`invoke`, where mistakes of the user's and lack of space end in one line and exit code 1."""
    try:
        invoke(argv)
    except (ValueError, FloatingPointError, OSError, ProcessExitedException, ProcessRaisedException) as error:
        sys.exit(f"train_net.py: error: {one_line(error)}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    command(sys.argv[1:])
