"""Checkpoints: written whole or not at all, of finite weights alone, and loaded strictly."""

import logging
import os
import pickle
import re
from collections.abc import Mapping

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import Tensor

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
            model: The model whose weights are saved and loaded.
            save_dir: The output folder.
            strict: Whether keys that are missing or unexpected are errors; else they are only listed.
            skip_mismatched: Whether weights of another shape, such as those of another class count, are left out.
            allow_pickle: Whether files may be read that can run code, such as .pkl.
            checkpointables: Further objects with a `state_dict`, such as the trainer.
        """
        super().__init__(model, save_dir, **checkpointables)
        self.strict, self.skip_mismatched, self.allow_pickle = strict, skip_mismatched, allow_pickle
        self._held: Mapping[str, object] = {}

    def has_checkpoint(self) -> bool:
        return bool(self.get_checkpoint_file())

    def get_checkpoint_file(self) -> str:
        """The path of the checkpoint from which a run resumes, see `last_checkpoint`; empty if there is none."""
        return last_checkpoint(self.save_dir)

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict:
        """Load a file into the model and the objects named.

        Raises:
            ValueError: The file does not exist, cannot be read or could run code, or the weights are not those of the
                model.
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

    def _convert_ndarray_to_tensor(self, state_dict: dict) -> None:
        # Called with the weights under the model's names right before they are loaded: what the file itself held is
        # known here alone, since modules fill gaps in silence (batch norms do so with num_batches_tracked).
        super()._convert_ndarray_to_tensor(state_dict)
        self._held = state_dict

    def _load_model(self, checkpoint: dict) -> object:
        found = super()._load_model(checkpoint)
        misshapen = [f"{key} {tuple(got)}, wanted {tuple(want)}" for key, got, want in found.incorrect_shapes]
        present = {key for key, _, _ in found.incorrect_shapes}  # fvcore counts them as missing too
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
            raise ValueError(f"the checkpoint is not of this model: {report}{hint}")
        for kind, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("left out, of another shape", misshapen),
        ):
            if keys:
                logger.warning("%d weights %s:\n  %s", len(keys), kind, "\n  ".join(keys))
        return found

    def _check_loaded(self, misshapen: set[str], unexpected: list[str], report: str) -> None:
        """Refuse a file that held nothing for the model, or nothing for its backbone, and log how much it held.

        Args:
            misshapen: The names of the weights that have another shape in the file.
            unexpected: The names in the file that the model does not have.
            report: A description of what is wrong with the file; may be empty.
        """
        names = [key for key in self.model.state_dict() if not key.endswith("num_batches_tracked")]
        loaded = {key for key in names if key in self._held and key not in misshapen}
        if not loaded:
            raise ValueError(
                f"the checkpoint holds none of the model's {len(names)} weights; {report or 'no name fits'}"
            )
        backbone = [key for key in names if key.startswith("backbone.")]
        if not self.strict and backbone and loaded.isdisjoint(backbone):
            raise ValueError(
                f"the checkpoint holds none of the backbone's {len(backbone)} weights, such as {backbone[0]}, which "
                f"would stay random; it has {len(unexpected)} that are not the model's: {', '.join(unexpected[:5])}"
            )
        logger.info("%d of the model's %d weights are in the checkpoint", len(loaded), len(names))

    def save(self, name: str, *, tag: bool = True, **extra: object) -> None:
        """Write `<name>.pth` beside its place, then move it there. All processes must call it; the main one writes.

        Args:
            name: The file name without suffix.
            tag: Whether `last_checkpoint` is to name this file, so that `--resume` continues from it.
            extra: Plain values that are stored along with the weights.

        Raises:
            FloatingPointError: The weights are not finite; the file that was there before stays.
            OSError: The file cannot be written, for lack of space for example; the one that was there before stays.
        """
        weights = self.model.state_dict()
        check_finite(weights)
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": weights}
        data |= {key: value.state_dict() for key, value in self.checkpointables.items()}
        path = os.path.join(self.save_dir, f"{name}.pth")
        self.logger.info("Saving checkpoint to %s", path)
        try:
            with replacing(path) as unfinished:
                torch.save(data | extra, unfinished)
        except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
            raise OSError(
                f"checkpoint {path} cannot be written: {error}; the checkpoints before it are whole"
            ) from error
        if tag:
            self.tag_last_checkpoint(os.path.basename(path))

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        with (
            replacing(os.path.join(self.save_dir, "last_checkpoint")) as unfinished,
            open(unfinished, "w") as file,
        ):
            file.write(last_filename_basename)


def last_checkpoint(folder: str) -> str:
    """The path of the checkpoint in an output folder from which a run resumes; empty if there is none.

    That is the one which the file `last_checkpoint` names or, if a run was cut before it wrote that file, the newest.
    """
    try:
        with open(os.path.join(folder, "last_checkpoint")) as file:
            return os.path.join(folder, file.read().strip())
    except FileNotFoundError:
        names = [*numbered_checkpoints(folder).values(), "model_final.pth"]
        paths = [path for path in (os.path.join(folder, name) for name in names) if os.path.exists(path)]
        return max(paths, key=os.path.getmtime, default="")


def numbered_checkpoints(folder: str) -> dict[int, str]:
    """The checkpoints `model_<iteration>.pth` in a folder: iteration -> file name, in ascending order."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    found = [re.fullmatch(r"model_(\d{7,})\.pth", name) for name in names]
    return dict(sorted((int(match[1]), match[0]) for match in found if match))


def check_finite(weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not finite, by the norm of every tensor.

    The norm also catches weights that are still finite but so large that their squares overflow, after which no loss is
    finite.

    Args:
        weights: The weights of a model, by name.

    Raises:
        FloatingPointError: The norm of a tensor is not finite.
    """
    values = {key: value for key, value in weights.items() if value.is_floating_point() and value.numel()}
    norms = {key: torch.linalg.vector_norm(value.detach().float()) for key, value in values.items()}
    if not norms or bool(torch.stack([*norms.values()]).isfinite().all()):  # one wait for the device
        return
    wrong = [key for key, norm in norms.items() if not bool(norm.isfinite())]
    raise FloatingPointError(
        f"{len(wrong)} of the model's {len(weights)} weights are not finite, such as {wrong[0]}. They are not saved, "
        "and all earlier checkpoints stay; a lower learning rate, warm-up or clipping (train.clip_grad_norm) may help"
    )


def read_checkpoint(
    path: str, *, allow_pickle: bool = False, permission: str = "train.allow_pickle=true", mmap: bool = False
) -> object:
    """What a file that torch wrote holds, on the CPU, or a pickle of arrays (.pkl).

    Args:
        path: The path of the file.
        allow_pickle: Whether a file may be read that can run code.
        permission: The words with which the user allows that, for the message.
        mmap: Whether tensors stay in the file until they are used; enough to read the plain values beside them.

    Raises:
        ValueError: The file does not exist, cannot be read or could run code.
    """
    _check_exists(path)
    if path.endswith(".pkl") and not allow_pickle:
        raise ValueError(_needs_pickle(path, permission))
    try:
        if path.endswith(".pkl"):
            with open(path, "rb") as stream:
                return pickle.load(stream, encoding="latin1")  # Python 2 wrote some of Detectron2's
        return torch.load(path, map_location="cpu", weights_only=not allow_pickle, mmap=mmap)
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


class replacing:
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
