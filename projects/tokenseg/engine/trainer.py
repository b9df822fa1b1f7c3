"""The training step: Detectron2's SimpleTrainer with mixed precision, gradient accumulation and clipping."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterable

import numpy as np
import torch
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..contracts import CountsSteps
from ..d2_compat import undistributed
from .precision import autocast
from .sharding import Replica, is_sharded, spread_optimizer_state, total_norm

# The loss scale of float16 starts at 2**16 and is halved at every overflow. After this many overflows in a row it is
# almost zero, and the training will not recover.
_MOST_SKIPPED = 40


class Trainer(SimpleTrainer):
    """Runs training steps in mixed precision, with gradient accumulation and clipping.

    A step counts the labels of the batch, runs the batch forward and backward in one or several parts, clips the
    gradients and updates the weights. Losses and gradients of all processes are checked before any weight changes. The
    random numbers of a step (dropout, stochastic depth) depend only on the seed, the process and the iteration, so that
    a resumed run draws the same ones.

    Attributes:
        skipped: The number of the latest float16 steps in a row that were skipped because a gradient overflowed.
        replica: The replica of the model, or None.
        stopping: Whether any process had been asked to stop by the end of the last step; equal in all processes.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        data_loader: Iterable[list[dict]],
        optimizer: torch.optim.Optimizer,
        amp_dtype: torch.dtype | None = None,
        accumulate: int = 1,
        clip_grad_norm: float | None = None,
        seed: int = 0,
        stop: Callable[[], bool] = lambda: False,
        replica: Replica | None = None,
    ) -> None:
        """
        Args:
            model: The model, which returns a dict of scalar losses in training. If it implements the protocol
                `CountsSteps`, it divides them by counts of the whole step; otherwise the losses are averaged over the
                parts of a batch.
            data_loader: An endless iterable of the batches of this process.
            optimizer: The optimiser of the model's parameters.
            amp_dtype: The data type of mixed precision, or None for full precision. With float16 the losses are scaled.
            accumulate: The number of parts of a batch that run one after the other, to save memory.
            clip_grad_norm: The upper limit of the norm of all gradients together; None for no limit.
            seed: The seed of the random numbers that steps draw, 0 or more.
            stop: A function that returns whether this process has been asked to stop.
            replica: The replica of the model. A sharded model needs one.
        """
        super().__init__(model, data_loader, optimizer)
        self.amp_dtype, self.accumulate, self.clip_grad_norm = amp_dtype, accumulate, clip_grad_norm
        self.seed, self.skipped = seed, 0
        self.stopping, self._stop = False, stop
        self.replica, self._sharded = replica, is_sharded(model)
        self.device = next(model.parameters()).device
        self.grad_scaler = torch.amp.GradScaler(self.device.type, enabled=amp_dtype == torch.float16)

    def whole(self) -> contextlib.AbstractContextManager[nn.Module]:
        """Return a context manager that gives a model with the current weights, which each process can run alone.

        If the model is sharded, this is its replica, and all processes must enter the context together.
        """
        if not self._sharded:
            return contextlib.nullcontext(self.model)
        assert self.replica is not None  # a sharded model has one
        return self.replica.holding(self.model)

    def run_step(self) -> None:
        assert self.model.training, "the model was left in eval mode"
        start = time.perf_counter()
        batch = next(self._data_loader_iter)
        data_time = time.perf_counter() - start

        words = np.random.SeedSequence([self.seed, comm.get_rank(), self.iter]).generate_state(1)
        seed_all_rng(int(words[0]))
        self.optimizer.zero_grad(set_to_none=True)
        losses = self._backward(batch)
        self.grad_scaler.unscale_(self.optimizer)
        if self._clip_and_check(losses, batch):
            self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        self._write_metrics(losses, data_time)

    def _backward(self, batch: list[dict]) -> dict[str, Tensor]:
        """Run all parts of a batch forward and backward, and return the sum of their losses by name."""
        parts = self._split(batch)
        run = self._run_by_counts(batch) if self._counts_steps else self._run_by_average(len(parts))
        sums: dict[str, Tensor] = {}
        for place, part in enumerate(parts):
            with self._sync(last=place == len(parts) - 1):
                # Cached casts would keep copies of all weights, while a sharded model gathers one block at a time.
                with autocast(self.device, self.amp_dtype, keep_casts=not self._sharded):
                    losses = run(part)
                self.grad_scaler.scale(_total(losses)).backward()
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0) + loss.detach()
        return sums

    @property
    def _counts_steps(self) -> bool:
        return isinstance(undistributed(self.model), CountsSteps)

    def _run_by_counts(self, batch: list[dict]) -> Callable[[list[dict]], dict[str, Tensor]]:
        whole = undistributed(self.model)
        assert isinstance(whole, CountsSteps)
        counts = whole.count(batch)
        return lambda part: self.model(part, counts)

    def _run_by_average(self, parts: int) -> Callable[[list[dict]], dict[str, Tensor]]:
        return lambda part: {name: loss / parts for name, loss in self.model(part).items()}

    def _split(self, batch: list[dict]) -> list[list[dict]]:
        if len(batch) % self.accumulate:
            raise ValueError(
                f"train.accumulate is {self.accumulate}; wanted a divisor of the {len(batch)} images of this process"
            )
        size = len(batch) // self.accumulate
        return [batch[start : start + size] for start in range(0, len(batch), size)]

    def _sync(self, *, last: bool) -> contextlib.AbstractContextManager:
        """Synchronise gradients between processes only after the last part, when they are complete.

        The gradients of a sharded model are reduced after each part, since whole gradients would not fit in memory.
        """
        wait = isinstance(self.model, DistributedDataParallel) and not last
        return self.model.no_sync() if wait else contextlib.nullcontext()

    def _clip_and_check(self, losses: dict[str, Tensor], batch: list[dict]) -> bool:
        """Clip the gradients, and return whether the step may be taken.

        Raises:
            FloatingPointError: The loss or a gradient is not finite in one of the processes; all of them raise this.
                With float16 the loss scale may cause gradients that are not finite: these skip the step, and only many
                of them in a row are an error.
        """
        parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        norm = total_norm([parameter.grad for parameter in parameters])
        if self.clip_grad_norm is not None:
            nn.utils.clip_grads_with_norm_(parameters, self.clip_grad_norm, norm)
        total = _total(losses)
        on = torch.full_like(norm, not self._stop())
        finite = torch.stack([torch.isfinite(total).to(norm.dtype), torch.isfinite(norm).to(norm.dtype), on])
        if comm.get_world_size() > 1:
            # Losses and signals differ between processes, but all of them must come to the same decisions.
            torch.distributed.all_reduce(finite, op=torch.distributed.ReduceOp.MIN)
        # One transfer for all values, so that a GPU is waited for once and not four times.
        loss_is_finite, gradient_is_finite, on, norm = torch.cat([finite, norm[None]]).tolist()
        self.stopping = not on
        if self.clip_grad_norm is not None:
            self.storage.put_scalar("grad_norm", norm)
        if loss_is_finite and gradient_is_finite:
            self.skipped = 0
            return True
        if loss_is_finite and self.grad_scaler.is_enabled() and self.skipped < _MOST_SKIPPED:
            self.skipped += 1
            self.storage.put_scalar("skipped_steps", self.skipped)
            return False
        raise FloatingPointError(self._not_finite(losses, batch, loss_is_finite=bool(loss_is_finite)))

    def _not_finite(self, losses: dict[str, Tensor], batch: list[dict], *, loss_is_finite: bool) -> str:
        terms = ", ".join(f"{name}={loss.item():.4g}" for name, loss in losses.items())
        files = ", ".join(str(record.get("file_name")) for record in batch)
        what = "a gradient" if loss_is_finite else "the loss"
        again = f" (the {self.skipped} steps before were skipped for this reason)" if self.skipped else ""
        return (
            f"{what} is not finite at iteration {self.iter}{again}: {terms}; files of the batch: {files}. "
            "The weights have not been changed by this iteration; a lower learning rate, warm-up, gradient clipping "
            "(train.clip_grad_norm) or bfloat16 instead of float16 may help"
        )

    def state_dict(self) -> dict:
        return super().state_dict() | {"grad_scaler": self.grad_scaler.state_dict(), "skipped": self.skipped}

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(
            {**state_dict, "optimizer": spread_optimizer_state(state_dict["optimizer"], self.optimizer)}
        )
        self.skipped = state_dict["skipped"]
        if state_dict["grad_scaler"]:  # empty if the checkpoint was saved without float16
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])


def _total(losses: dict[str, Tensor]) -> Tensor:
    return functools.reduce(torch.add, losses.values())
