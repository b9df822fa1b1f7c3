"""The training step: Detectron2's SimpleTrainer with mixed precision, gradient accumulation and clipping."""

import contextlib
import time
from collections.abc import Iterable

import numpy as np
import torch
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .precision import autocast


class Trainer(SimpleTrainer):
    """One step: batch in parts, forward in mixed precision, backward, clip, step.

    The loss is checked on every rank before the weights change, so that a step that is not finite leaves them as they
    were. Random numbers of a step (dropout, stochastic depth) depend on seed, rank and iteration alone, so that a
    resumed run draws those of the unbroken one.
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
    ) -> None:
        """
        Args:
            model: returns a dict of scalar losses in training.
            data_loader: endless batches of this process.
            optimizer: of the model's parameters.
            amp_dtype: type of mixed precision; None is off. Float16 scales its losses.
            accumulate: parts in which a batch runs one after the other; their gradients are averaged. Each part
                normalises its losses by its own valid pixels.
            clip_grad_norm: bound on the norm of all gradients together; None is off.
            seed: of the random numbers of the steps, 0 or more.
        """
        super().__init__(model, data_loader, optimizer)
        self.amp_dtype, self.accumulate, self.clip_grad_norm = amp_dtype, accumulate, clip_grad_norm
        self.seed = seed
        self.device = next(model.parameters()).device
        self.grad_scaler = torch.amp.GradScaler(self.device.type, enabled=amp_dtype == torch.float16)

    def run_step(self) -> None:
        assert self.model.training, "the model was left in eval mode"
        start = time.perf_counter()
        batch = next(self._data_loader_iter)
        data_time = time.perf_counter() - start

        words = np.random.SeedSequence([self.seed, comm.get_rank(), self.iter]).generate_state(1)
        seed_all_rng(int(words[0]))
        self.optimizer.zero_grad(set_to_none=True)
        parts = self._split(batch)
        sums: dict[str, Tensor] = {}
        for place, part in enumerate(parts):
            with self._sync(last=place == len(parts) - 1):
                with autocast(self.device, self.amp_dtype):
                    losses = {name: loss / len(parts) for name, loss in self.model(part).items()}
                self._check_finite(losses, part)
                self.grad_scaler.scale(sum(losses.values())).backward()
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0) + loss.detach()
        self._step()
        self._write_metrics(sums, data_time)

    def _split(self, batch: list[dict]) -> list[list[dict]]:
        if len(batch) % self.accumulate:
            raise ValueError(
                f"train.accumulate is {self.accumulate}; wanted a divisor of the {len(batch)} images of this process"
            )
        size = len(batch) // self.accumulate
        return [batch[start : start + size] for start in range(0, len(batch), size)]

    def _sync(self, *, last: bool) -> contextlib.AbstractContextManager:
        """Gradients go round once, with the last part."""
        wait = isinstance(self.model, DistributedDataParallel) and not last
        return self.model.no_sync() if wait else contextlib.nullcontext()

    def _check_finite(self, losses: dict[str, Tensor], part: list[dict]) -> None:
        if torch.isfinite(sum(loss.detach() for loss in losses.values())):
            return
        terms = ", ".join(f"{name}={loss.item():.4g}" for name, loss in losses.items())
        files = ", ".join(str(record.get("file_name")) for record in part)
        raise FloatingPointError(
            f"the loss is not finite at iteration {self.iter}: {terms}; files of the batch: {files}. "
            "The weights are those of the iteration before; a lower learning rate, warm-up, clipping "
            "(train.clip_grad_norm) or bfloat16 instead of float16 may help"
        )

    def _step(self) -> None:
        if self.clip_grad_norm is not None:
            self.grad_scaler.unscale_(self.optimizer)
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_grad_norm)
            self.storage.put_scalar("grad_norm", norm.item())
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def state_dict(self) -> dict:
        return super().state_dict() | {"grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        if state_dict["grad_scaler"]:  # empty when the run went on without float16 until now
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
