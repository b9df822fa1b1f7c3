"""The evaluation of a run, whose loader and evaluator are built once and used for every evaluation."""

import logging
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator
from typing import Any, Literal

import torch
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator, inference_on_dataset, print_csv_format
from detectron2.utils import comm
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..config.instantiate import instantiate
from ..contracts import GivesIds, NamesMetrics, WantsOutputs
from ..d2_compat import undistributed
from .devices import resolve_device
from .metrics_file import write_results
from .precision import amp_dtype, autocast
from .stopping import StopRequest

logger = logging.getLogger(__name__)

_COCO = ("AP", "AP50", "AP75", "APs", "APm", "APl")  # the metrics of Detectron2's COCOEvaluator, beside AP-<class>


class Evaluation:
    """Runs Detectron2's evaluation over a loader, in the precision of the training."""

    def __init__(
        self,
        *,
        loader: DataLoader,
        evaluator: DatasetEvaluator | list[DatasetEvaluator],
        amp_dtype: torch.dtype | None = None,
        eager: bool = False,
        stop: StopRequest | None = None,
        output_dir: str = "",
    ) -> None:
        """
        Args:
            loader: The loader of the batches of this process. It must have a length.
            evaluator: The evaluator, or a list of several.
            amp_dtype: The data type of mixed precision, or None for full precision.
            eager: Whether compiled parts run uncompiled here; otherwise each new image size would compile them again.
            stop: The request that can end an evaluation between two batches; None lets every evaluation finish.
            output_dir: The output folder of the run, to which the results are written; "" does not write them.
        """
        self._loader, self._evaluator = _Stoppable(loader, stop or StopRequest()), evaluator
        self._output_dir, self._amp_dtype = output_dir, amp_dtype
        self._stance: Literal["force_eager", "default"] = "force_eager" if eager else "default"
        evaluators = evaluator if isinstance(evaluator, list) else [evaluator]
        self._also = frozenset().union(*(one.wants for one in evaluators if isinstance(one, WantsOutputs)))

    def check_metric(self, metric: str) -> None:
        """Refuse a metric that the results will not contain, if all evaluators state their metrics in advance.

        Args:
            metric: The value of `train.best_metric`, `<task>/<name>`.

        Raises:
            ValueError: The evaluators compute other metrics.
        """
        evaluators = self._evaluator if isinstance(self._evaluator, list) else [self._evaluator]
        names = [_metric_names(evaluator) for evaluator in evaluators]
        told = [some for some in names if some is not None]
        if len(told) < len(names):
            return
        known = [name for some in told for name in some]
        if metric not in known and metric.partition("-")[0] not in known:
            total = [name for name in known if "-" not in name]  # without those of single classes
            raise ValueError(f"train.best_metric is '{metric}'; wanted one that is evaluated: {', '.join(total)}")

    def __call__(self, model: nn.Module) -> OrderedDict:
        """Evaluate a model, and log and write the results on the main process.

        Args:
            model: The model, which may be wrapped in DistributedDataParallel.

        Returns:
            The results `{task: {name: value}}` on the main process; empty on the others.

        Raises:
            Stopped: A process of the run has been asked to stop.
        """
        device, start = next(model.parameters()).device, time.perf_counter()
        _share_statistics(model)
        with torch.no_grad(), autocast(device, self._amp_dtype), torch.compiler.set_stance(self._stance):
            results = inference_on_dataset(_asked_for_ids(model, self._also), self._loader, self._evaluator)
        if comm.is_main_process():
            seconds, batches = time.perf_counter() - start, len(self._loader)
            logger.info("Evaluated %d batches in %.1f s, %.3g batches/s", batches, seconds, batches / seconds)
            print_csv_format(results)
            if self._output_dir:
                write_results(self._output_dir, results)
        return results


def _metric_names(evaluator: DatasetEvaluator) -> list[str] | None:
    """Return the names `<task>/<name>` of an evaluator's metrics, or None if it does not state them in advance."""
    if isinstance(evaluator, COCOEvaluator):
        return [f"{task}/{name}" for task in ("bbox", "segm", "keypoints") for name in _COCO]
    return evaluator.metric_names() if isinstance(evaluator, NamesMetrics) else None


def _share_statistics(model: nn.Module) -> None:
    """Copy the main process's running statistics of batch norms to all processes, each of which collects its own.

    A checkpoint contains those of the main process, so with others the metrics would not be those of the saved model.
    """
    if comm.get_world_size() == 1:
        return
    whole = undistributed(model)
    learnt = {name for name, _ in whole.named_parameters()}
    for name, value in whole.state_dict().items():
        if name not in learnt:
            torch.distributed.broadcast(value, src=0)


class _Stoppable:
    """A loader that raises `Stopped` once the run has been asked to stop, and shows a progress bar on a terminal."""

    def __init__(self, loader: DataLoader, stop: StopRequest) -> None:
        self._loader, self._stop = loader, stop

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[list[dict]]:
        yield from tqdm(
            self._stop.evaluating(self._loader),
            total=len(self),
            desc="Evaluation",
            unit="batch",
            leave=False,
            disable=None if comm.is_main_process() else True,  # None disables the bar where there is no terminal
        )


class _Ids(nn.Module):
    """Wraps a model so that Detectron2's evaluation, which calls the model itself, gets class ids instead of scores.

    Class ids take a fraction of the memory that the scores of all classes take.
    """

    def __init__(self, model: nn.Module, also: Collection[str]) -> None:
        super().__init__()
        self.model: Any = model
        self._also = also
        self.train(model.training)

    def forward(self, batched_inputs: list[dict]) -> list[dict[str, Tensor]]:
        return self.model.ids(batched_inputs, self._also) if self._also else self.model.ids(batched_inputs)


def _asked_for_ids(model: nn.Module, also: Collection[str]) -> nn.Module:
    """Wrap a model for class ids and the further outputs that the evaluators need; other models stay as they are."""
    whole = undistributed(model)
    return _Ids(whole, also) if isinstance(whole, GivesIds) else model


def build_evaluation(config: DictConfig, *, stop: StopRequest | None = None) -> Evaluation | None:
    """Build the evaluation of a config on `dataloader.test`, or return None if `dataloader.evaluator` is null.

    Args:
        config: The config.
        stop: The request that can end an evaluation.

    Raises:
        ValueError: The test set cannot be read, or a setting does not fit.
    """
    if config.dataloader.evaluator is None:
        return None
    return Evaluation(
        loader=instantiate(config.dataloader.test),
        evaluator=instantiate(config.dataloader.evaluator),
        amp_dtype=amp_dtype(config.train.amp, resolve_device(config.train.device)),
        eager=config.train.compile,
        stop=stop,
        output_dir=config.train.output_dir,
    )
