"""Measure the images per second of a whole model, in a training step with its optimiser and in inference.

Pixels are random. Inference runs backbone and head and resizes the scores; it does not include reading and cropping of
images. `of matmul %` is the share of the machine's speed that does useful work: the rate of operations in matrix
products, convolutions and attention (two per multiply-add, and three times the forward pass in training), divided by
the rate of a large matrix product of the same data type, which is measured in the same run. `page faults` is the number
of memory pages that the system gave to the process in a step, and `peak MiB` is the peak memory of the process, without
GPU memory. To measure without TokenSeg's settings of the memory allocator, set the environment variable
TOKENSEG_MALLOC=0.
"""

import argparse
import copy
import resource
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from detectron2.config import instantiate
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from tokenseg.config.load import load_config
from tokenseg.engine.build import begin_random
from tokenseg.engine.devices import process_memory
from tokenseg.engine.precision import autocast

from ._methods import samples
from ._runs import Clock


def cases(args: argparse.Namespace) -> dict[str, Callable[[], "Throughput"]]:
    return {
        mode: lambda mode=mode: _throughput(args, training=mode == "training") for mode in ("training", "inference")
    }


@dataclass(frozen=True)
class Throughput:
    """Measures the speed of a model, and its share of the machine's speed.

    Attributes:
        run: The function that runs one batch.
        images: The number of images in a batch.
        operations: The number of floating-point operations of one batch.
        dtype: The data type of the matrix products.
    """

    run: Callable[[], object]
    images: int
    operations: int
    dtype: torch.dtype

    def measure(self, clock: Clock, rounds: int) -> list[dict]:
        """Return one row with the medians over the rounds."""
        for _ in range(2):
            self.run()
        steps, products, faults = [], [], []
        side = 8192 if clock.device.type == "cuda" else 2048
        matrices = torch.randn(2, side, side, device=clock.device).to(self.dtype)
        torch.mm(*matrices)
        for _ in tqdm(range(rounds), unit="round", leave=False, disable=None):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            steps.append(clock.seconds(self.run))
            faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
            products.append(clock.seconds(lambda: torch.mm(*matrices)))
        step, rate = statistics.median(steps), 2 * side**3 / statistics.median(products)
        return [
            {
                "images/s": self.images / step,
                "s/step": step,
                "GFLOP/image": self.operations / self.images / 1e9,
                "GFLOP/s": self.operations / step / 1e9,
                "matmul GFLOP/s": rate / 1e9,
                "of matmul %": 100 * self.operations / step / rate,
                "page faults": statistics.median(faults),
                "peak MiB": process_memory("VmHWM") / 2**20,
            }
        ]


def _throughput(args: argparse.Namespace, *, training: bool) -> Throughput:
    cfg = load_config(args.config_file, args.overrides)
    model = begin_random(instantiate(cfg.model)).to(args.device)
    height, width = args.size or (cfg.dataset.crop, cfg.dataset.crop)
    inputs = samples(cfg, args.batch, (height, width))
    dtype = torch.bfloat16 if args.amp else torch.float32
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer)
    operations = _operations(model, inputs) * (3 if training else 1)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(args.device, dtype if args.amp else None):
            loss = sum(model(inputs).values())
        loss.backward()
        optimizer.step()

    def infer() -> None:
        with autocast(args.device, dtype if args.amp else None):
            _segment(model, inputs)

    model.train(training)
    if args.compile:
        for part in (model.backbone, model.sem_seg_head):
            part.compile()
    return Throughput(run=step if training else infer, images=args.batch, operations=operations, dtype=dtype)


@torch.no_grad()
def _segment(model: nn.Module, inputs: list[dict]) -> None:
    model.segment([(x["image"].to(model.device) - model.pixel_mean) / model.pixel_std for x in inputs])


def _operations(model: nn.Module, inputs: list[dict]) -> int:
    """Count the operations of a forward pass.

    The backward pass is not counted, since torch counts its grouped convolutions as dense ones.
    """
    # Parameters require no gradients here, since the counter would build a graph for them.
    counted = copy.deepcopy(model).eval().requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        _segment(counted, inputs)
    return counter.get_total_flops()
