"""Checkpoints: written whole or not at all, loaded strictly, and the best one kept."""

import logging
import math
import os
import pickle
from collections.abc import Callable

import torch
from detectron2.checkpoint import DetectionCheckpointer

logger = logging.getLogger(__name__)


class Checkpointer(DetectionCheckpointer):
    """Detectron2's checkpointer with atomic writes, keys that must fit, and files that may hold data alone."""

    def __init__(
        self,
        model: torch.nn.Module,
        save_dir: str = "",
        *,
        strict: bool = True,
        skip_mismatched: bool = False,
        allow_pickle: bool = False,
        **checkpointables: object,
    ) -> None:
        """
        Args:
            model: whose weights are saved and loaded.
            save_dir: output folder.
            strict: whether keys that are missing or unexpected are errors, or just listed.
            skip_mismatched: whether weights of another shape, such as those of another class count, are left out.
            allow_pickle: whether files may be read that can run code, such as .pkl.
            checkpointables: further objects with `state_dict`, such as the trainer.
        """
        super().__init__(model, save_dir, **checkpointables)
        self.strict, self.skip_mismatched, self.allow_pickle = strict, skip_mismatched, allow_pickle

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict:
        """Load a file into the model and the objects named.

        Raises:
            ValueError: a file that does not exist, cannot be read or would have to run code, or weights that are not
                the model's.
        """
        if path and "://" not in path:
            _check_exists(path)
        return super().load(path, checkpointables)

    def _load_file(self, filename: str) -> dict:
        if filename.endswith(".pkl"):
            if not self.allow_pickle:
                raise ValueError(_needs_pickle(filename, "train.allow_pickle=true"))
            return super()._load_file(filename)
        loaded = read_checkpoint(filename, allow_pickle=self.allow_pickle)
        return loaded if "model" in loaded else {"model": loaded}

    def _load_model(self, checkpoint: dict) -> object:
        found = super()._load_model(checkpoint)
        misshapen = [f"{key} {tuple(got)}, wanted {tuple(want)}" for key, got, want in found.incorrect_shapes]
        present = {key for key, _, _ in found.incorrect_shapes}  # fvcore counts them as missing too
        missing = [key for key in found.missing_keys if key not in present]
        wrong = {
            "missing": [] if not self.strict else missing,
            "unexpected": [] if not self.strict else list(found.unexpected_keys),
            "of another shape": [] if self.skip_mismatched else misshapen,
        }
        report = "; ".join(f"{len(keys)} {kind}: {', '.join(keys[:5])}" for kind, keys in wrong.items() if keys)
        total = len(self.model.state_dict())
        loaded = total - len(missing) - len(misshapen)
        if loaded == 0:
            raise ValueError(f"the checkpoint holds none of the model's {total} weights; {report or 'no name fits'}")
        backbone = [key for key in self.model.state_dict() if key.startswith("backbone.")]
        if not self.strict and backbone and set(backbone) <= {*missing, *present}:
            raise ValueError(
                f"the checkpoint holds none of the backbone's {len(backbone)} weights, such as {backbone[0]}, which "
                f"would stay random; it has {len(found.unexpected_keys)} that are not the model's: "
                f"{', '.join(found.unexpected_keys[:5])}"
            )
        if report:
            hint = " (train.skip_mismatched=true leaves out weights of another shape)" if misshapen else ""
            raise ValueError(f"the checkpoint is not of this model: {report}{hint}")
        logger.info("%d of the model's %d weights loaded", loaded, total)
        for kind, keys in (
            ("missing", missing),
            ("unexpected", found.unexpected_keys),
            ("left out, of another shape", misshapen),
        ):
            if keys:
                logger.warning("%d weights %s:\n  %s", len(keys), kind, "\n  ".join(keys))
        return found

    def save(self, name: str, *, tag: bool = True, **extra: object) -> None:
        """Write `<name>.pth` beside its place, then move it there.

        Args:
            name: file name without suffix.
            tag: whether `last_checkpoint` shall name this file, from which `--resume` continues.
            extra: plain values stored along.

        Raises:
            OSError: it cannot be written, for want of space say; what was there before stays.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict()}
        data |= {key: value.state_dict() for key, value in self.checkpointables.items()}
        path = os.path.join(self.save_dir, f"{name}.pth")
        self.logger.info("Saving checkpoint to %s", path)
        try:
            with _replacing(path) as unfinished:
                torch.save(data | extra, unfinished)
        except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
            raise OSError(
                f"checkpoint {path} cannot be written: {error}; the checkpoints before it are whole"
            ) from error
        if tag:
            self.tag_last_checkpoint(os.path.basename(path))

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        with (
            _replacing(os.path.join(self.save_dir, "last_checkpoint")) as unfinished,
            open(unfinished, "w") as file,
        ):
            file.write(last_filename_basename)


def read_checkpoint(path: str, *, allow_pickle: bool = False, permission: str = "train.allow_pickle=true") -> object:
    """What a file that torch wrote holds, on the CPU.

    Args:
        path: of the file.
        allow_pickle: whether a file may be read that can run code.
        permission: what the user says to allow that, for the message.

    Raises:
        ValueError: a file that does not exist, cannot be read or would have to run code.
    """
    _check_exists(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=not allow_pickle)
    except pickle.UnpicklingError as error:
        if allow_pickle:
            raise ValueError(f"weights '{path}' cannot be read: {error}") from error
        raise ValueError(_needs_pickle(path, permission)) from error
    except (AttributeError, EOFError, ImportError, OSError, RuntimeError) as error:  # a pickle's classes may be absent
        raise ValueError(f"weights '{path}' cannot be read: {error}") from error


def _check_exists(path: str) -> None:
    if not os.path.isfile(path):
        raise ValueError(f"weights '{path}' do not exist (looked in {os.getcwd()})")


def _needs_pickle(path: str, permission: str) -> str:
    return (
        f"weights '{path}' are no weights, or hold more than tensors and plain values: a pickle, which can run any "
        f"code when it is read; if you trust where it comes from, say {permission}"
    )


class _replacing:
    """Context: yields a path to write to, which replaces `path` in one move when the block ends well."""

    def __init__(self, path: str) -> None:
        self.path, self.unfinished = path, f"{path}.unfinished"

    def __enter__(self) -> str:
        return self.unfinished

    def __exit__(self, error: type | None, *_: object) -> None:
        if error is None:
            with open(self.unfinished, "rb") as file:
                os.fsync(file.fileno())
            os.replace(self.unfinished, self.path)
        elif os.path.exists(self.unfinished):
            os.remove(self.unfinished)


class BestCheckpoint:
    """Keeps `model_best.pth`: call it after every evaluation."""

    def __init__(self, *, metric: str, save: Callable[[float], None]) -> None:
        """
        Args:
            metric: `<task>/<name>` in the evaluator's results; higher is better.
            save: stores the current model.
        """
        self.task, _, self.name = metric.partition("/")
        self.save, self.best, self.iteration = save, -math.inf, -1

    def __call__(self, results: dict, iteration: int) -> None:
        """
        Args:
            results: `{task: {name: value}}`.
            iteration: the one that just ended.

        Raises:
            ValueError: the results lack the metric.
        """
        try:
            value = float(results[self.task][self.name])
        except KeyError:
            found = [f"{task}/{name}" for task, metrics in results.items() for name in metrics if "-" not in name]
            raise ValueError(f"train.best_metric is '{self.task}/{self.name}'; evaluated were {found}") from None
        if value > self.best:
            self.best, self.iteration = value, iteration
            self.save(value)
        logger.info("Best %s/%s: %.2f, at iteration %d", self.task, self.name, self.best, self.iteration)

    def state_dict(self) -> dict:
        return {"best": self.best, "iteration": self.iteration}

    def load_state_dict(self, state: dict) -> None:
        self.best, self.iteration = state["best"], state["iteration"]
