"""Checkpoints, which are written atomically, only with finite weights, and loaded strictly."""

import logging
import os
import re
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import Tensor

from ..atomic_file import replacing
from ..backbone_file import is_backbone_file
from ..checkpoint_file import DamagedFile, check_exists, check_sums, needs_pickle, read_checkpoint, weights_to_use
from ..weight_sources import local_file
from .sharding import finite_everywhere, gathered, is_sharded, local, spread_like

logger = logging.getLogger(__name__)


class Checkpointer(DetectionCheckpointer):
    """Detectron2's checkpointer with atomic writes, strict keys, and files that may only contain data, not code."""

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
            model: The model whose weights are saved and loaded.
            save_dir: The output folder.
            strict: Whether missing or unexpected keys are errors; otherwise they are only logged.
            skip_mismatched: Whether weights whose shape differs, as after a change of the class count, are left out.
            allow_pickle: Whether to read files that contain pickled objects, such as .pkl, which can run code.
            checkpointables: Further objects with a `state_dict`, such as the trainer.
        """
        super().__init__(model, save_dir, **checkpointables)
        self.strict, self.skip_mismatched, self.allow_pickle = strict, skip_mismatched, allow_pickle
        self._held: Mapping[str, Any] = {}  # the weights that the last file contained, under the model's names
        self._wanted: list[str] = []  # the names of the checkpointables that a file has to contain

    def has_checkpoint(self) -> bool:
        return bool(self.get_checkpoint_file())

    def get_checkpoint_file(self) -> str:
        """Return the path of the checkpoint from which a run resumes, or "" if there is none; see `last_checkpoint`."""
        return last_checkpoint(self.save_dir)

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict:
        """Load a file into the model and the checkpointables.

        Args:
            path: The path or address of the file; see `local_file` for addresses on a server.
            checkpointables: The names of the further objects to load; by default all of them.

        Returns:
            What the file contains beside the weights and these objects.

        Raises:
            ValueError: The file does not exist, cannot be downloaded or read, could run code, is an exported backbone,
                or its weights are not those of the model. If the run was to resume from a damaged checkpoint, the
                message names the newest intact one before it.
        """
        path = local_file(path)
        if "://" in path:
            path = self._downloaded(path)
        elif path:
            check_exists(path)
            _refuse_backbone(path)
        self._wanted = [*(self.checkpointables if checkpointables is None else checkpointables)]
        try:
            return super().load(path, checkpointables)
        except DamagedFile as error:
            if not self.save_dir or path != self.get_checkpoint_file():
                raise
            raise DamagedFile(f"{error}; {_before(path)}") from error

    def _downloaded(self, address: str) -> str:
        """Return the local path of a file such as detectron2://ImageNetPretrained/MSRA/R-50.pkl.

        Detectron2 downloads it once and then keeps it in its cache.
        """
        if address.endswith(".pkl") and not self.allow_pickle:
            raise ValueError(needs_pickle(address, "train.allow_pickle=true"))
        try:
            return self.path_manager.get_local_path(address)
        except OSError as error:
            raise ValueError(
                f"weights '{address}' cannot be downloaded: {error}; wanted a network connection, or the path of a "
                "local copy"
            ) from error

    def _load_file(self, filename: str) -> dict:
        if filename.endswith(".pkl"):
            if not self.allow_pickle:
                raise ValueError(needs_pickle(filename, "train.allow_pickle=true"))
            return super()._load_file(filename)
        loaded = read_checkpoint(filename, allow_pickle=self.allow_pickle)
        found = dict(loaded) if "model" in loaded else {"model": loaded}
        if not self._wanted and (averaged := weights_to_use(found)) is not found["model"]:
            logger.info("%s contains averaged weights (train.ema), which are used", filename)
            found = {**found, "model": averaged}
        _check_weights(filename, found["model"])
        lacking = [key for key in self._wanted if key not in found]
        if lacking:
            raise ValueError(
                f"'{filename}' contains weights without the state of the {' and the '.join(lacking)}; wanted a "
                "checkpoint that a run saved, or these weights as train.init_checkpoint"
            )
        return found

    def _convert_ndarray_to_tensor(self, state_dict: dict) -> None:
        # Detectron2 calls this with the weights under the model's names right before they are loaded. Only here is it
        # known what the file itself contained, since modules fill gaps silently, as batch norms do with
        # num_batches_tracked.
        super()._convert_ndarray_to_tensor(state_dict)
        self._held = state_dict
        if is_sharded(self.model):
            for name, weight in self.model.state_dict().items():
                if name in state_dict:
                    state_dict[name] = spread_like(state_dict[name], weight)

    def _load_model(self, checkpoint: dict) -> object:
        found = super()._load_model(checkpoint)
        misshapen = [f"{key} {tuple(got)}, wanted {tuple(want)}" for key, got, want in found.incorrect_shapes]
        present = {key for key, _, _ in found.incorrect_shapes}  # fvcore also counts these as missing
        missing = [key for key in found.missing_keys if key not in present]
        unexpected = list(found.unexpected_keys)
        wrong = {
            "missing": [] if not self.strict else missing,
            "unexpected": [] if not self.strict else unexpected,
            "of another shape": [] if self.skip_mismatched else misshapen,
        }
        report = "; ".join(f"{len(keys)} {kind}: {', '.join(keys[:5])}" for kind, keys in wrong.items() if keys)
        self._check_loaded(present, unexpected, report)
        if report:
            hint = " (train.skip_mismatched=true leaves out weights of another shape)" if misshapen else ""
            raise ValueError(f"the checkpoint does not fit this model: {report}{hint}")
        for kind, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("left out, of another shape", misshapen),
        ):
            if keys:
                logger.warning("%d weights %s:\n  %s", len(keys), kind, "\n  ".join(keys))
        return found

    def _check_loaded(self, misshapen: set[str], unexpected: list[str], report: str) -> None:
        """Refuse a file without any weight of the model, or of its backbone, and log how many weights it contains.

        Args:
            misshapen: The names of the weights that have another shape in the file.
            unexpected: The names in the file that the model does not have.
            report: A description of what is wrong with the file; it may be empty.

        Raises:
            ValueError: The file has no weight of the model or, if `strict` is False, none of its backbone.
        """
        # Many checkpoints lack this counter, and nothing in the model depends on it.
        names = [key for key in self.model.state_dict() if not key.endswith("num_batches_tracked")]
        loaded = {key for key in names if key in self._held and key not in misshapen}
        if not loaded:
            raise ValueError(
                f"the checkpoint contains none of the model's {len(names)} weights; {report or 'no name matches'}"
            )
        backbone = [key for key in names if key.startswith("backbone.")]
        if not self.strict and backbone and loaded.isdisjoint(backbone):
            raise ValueError(
                f"the checkpoint contains none of the backbone's {len(backbone)} weights, such as {backbone[0]}, which "
                f"would stay random; {len(unexpected)} of its names are unknown to the model: "
                f"{', '.join(unexpected[:5])}"
            )
        logger.info("%d of the model's %d weights are in the checkpoint", len(loaded), len(names))

    def save(self, name: str, *, tag: bool = True, **extra: object) -> None:
        """Write `<name>.pth` under a temporary name and then move it into place.

        All processes must call this; the main one writes. Weights and states that are sharded over the processes are
        gathered, so the file does not differ from that of a run without sharding.

        Args:
            name: The file name without its suffix.
            tag: Whether `last_checkpoint` will name this file, so that `--resume` continues from it.
            extra: Plain values that are stored along with the weights.

        Raises:
            FloatingPointError: The weights are not finite. An earlier file of this name is kept.
            OSError: The file cannot be written, for example because the disk is full. An earlier file is kept.
        """
        weights = self.model.state_dict()
        check_finite(weights)
        sharded = is_sharded(self.model)
        if not self.save_dir or not (self.save_to_disk or sharded):
            return
        data: dict[str, Any] = {"model": weights}
        data |= {key: value.state_dict() for key, value in self.checkpointables.items()}
        data = gathered(data, keep=self.save_to_disk) if sharded else data
        if not self.save_to_disk:
            return
        path = os.path.join(self.save_dir, f"{name}.pth")
        self.logger.info("Saving checkpoint to %s", path)
        try:
            with replacing(path) as unfinished:
                torch.save(data | extra, unfinished)
        except (OSError, RuntimeError) as error:  # torch's writer reports a full disk as a RuntimeError
            free, reason = shutil.disk_usage(self.save_dir).free / 1e6, " ".join(str(error).split())
            raise OSError(
                f"checkpoint {path} cannot be written ({free:.1f} MB are free there): {reason}; the checkpoints "
                "before it are intact"
            ) from error
        if tag:
            self.tag_last_checkpoint(os.path.basename(path))

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        with (
            replacing(os.path.join(self.save_dir, "last_checkpoint")) as unfinished,
            open(unfinished, "w") as file,
        ):
            file.write(last_filename_basename)


def _refuse_backbone(path: str) -> None:
    if is_backbone_file(path):
        raise ValueError(
            f"'{path}' is an exported backbone, without heads; wanted a checkpoint (to start a fresh training from an "
            f"exported backbone, set train.init_backbone.file={path})"
        )


def _check_weights(path: str, weights: object) -> None:
    """Refuse anything but a dict of tensors, before Detectron2 takes it for the state of a model."""
    if not isinstance(weights, Mapping):
        raise ValueError(f"weights '{path}' contain a {type(weights).__name__}; wanted a dict of tensors by name")
    others = {
        key: type(value).__name__ for key, value in weights.items() if not isinstance(value, (Tensor, np.ndarray))
    }
    if others:
        shown = ", ".join(f"{key} ({kind})" for key, kind in [*others.items()][:5])
        raise ValueError(
            f"weights '{path}' contain {len(others)} values that are not tensors: {shown}; wanted a dict of tensors by "
            "name, on its own or under the key model"
        )


def _before(path: str) -> str:
    """Return the advice for a damaged checkpoint, which names the newest intact one before it."""
    folder, name = os.path.split(path)
    names = [*numbered_checkpoints(folder).values()]
    for candidate in reversed(names[: names.index(name)] if name in names else names):
        try:
            check_sums(os.path.join(folder, candidate))
        except DamagedFile:
            continue
        tag = os.path.join(folder, "last_checkpoint")
        return f"the one before it, {candidate}, is intact: to continue from there, write its name into {tag}"
    return "no checkpoint before it is intact"


def last_checkpoint(folder: str) -> str:
    """Return the path of the checkpoint in an output folder from which a run resumes, or "" if there is none.

    The file `last_checkpoint` names it. If a run was killed before it wrote this file, the newest checkpoint is used.
    """
    try:
        with open(os.path.join(folder, "last_checkpoint")) as file:
            return os.path.join(folder, file.read().strip())
    except FileNotFoundError:
        names = [*numbered_checkpoints(folder).values(), "model_final.pth"]
        paths = [path for path in (os.path.join(folder, name) for name in names) if os.path.exists(path)]
        return max(paths, key=os.path.getmtime, default="")


def numbered_checkpoints(folder: str) -> dict[int, str]:
    """List the checkpoints `model_<iteration>.pth` in a folder: iteration -> file name, in ascending order."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    found = [re.fullmatch(r"model_(\d{7,})\.pth", name) for name in names]
    return dict(sorted((int(match[1]), match[0]) for match in found if match))


def check_finite(weights: Mapping[str, Tensor]) -> None:
    """Refuse weights of which the norm of a tensor is not finite.

    The norm also catches weights that are still finite but so large that their squares overflow; with such weights no
    later loss would be finite.

    Args:
        weights: The weights of a model, by name. If they are sharded, all processes must call this together.

    Raises:
        FloatingPointError: The norm of a tensor is not finite.
    """
    values = {key: value for key, value in weights.items() if value.is_floating_point() and value.numel()}
    norms = [torch.linalg.vector_norm(local(value.detach()).float()) for value in values.values()]
    finite = finite_everywhere(torch.stack(norms).isfinite(), [*values.values()]) if norms else None
    if finite is None or bool(finite.all()):  # the only host-device synchronisation if all is well
        return
    wrong = [key for key, fine in zip(values, finite.tolist(), strict=True) if not fine]
    raise FloatingPointError(
        f"{len(wrong)} of the model's {len(weights)} weights are not finite, such as {wrong[0]}. They are not saved, "
        "and all earlier checkpoints are kept; a lower learning rate, warm-up or gradient clipping "
        "(train.clip_grad_norm) may help"
    )
