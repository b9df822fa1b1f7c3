"""Pretrained weights of timm models: off the hub or its local cache, or out of a file handed over."""

import logging
import math
import os
import sys
from collections.abc import Mapping
from typing import Any

import timm
from huggingface_hub import constants
from timm.models import adapt_input_conv
from torch import Tensor, nn

from ..checkpoint_file import DamagedFile, check_sums
from ..weight_sources import hub_file, local_file
from .timm_models import TimmModel, weightless

logger = logging.getLogger(__name__)


class StartingWeights:
    """Where the weights of a timm model in a backbone come from, and whether any have come yet.

    A backbone that should begin from pretrained weights and trains from random ones costs days and raises nothing by
    itself. So the backbone's first training step does: in `train_net.py` this cannot happen, in a loop that does not
    call `load_pretrained` it would. A checkpoint counts as well, if it holds weights of the backbone.

    Attributes:
        came: Whether weights were loaded, pretrained ones or a checkpoint's.
    """

    def __init__(self, *, timm_args: Mapping[str, Any], weights_file: str) -> None:
        """
        Args:
            timm_args: The name, as `model_name`, and the further arguments that made the timm model.
            weights_file: The file to begin from; empty for timm's own weights off the hub.
        """
        self._timm_args, self._weights_file, self.came = timm_args, weights_file, False

    def load(self, model: nn.Module) -> None:
        """Load pretrained weights into the timm model; see `load_timm_weights`."""
        load_timm_weights(model, self._timm_args, weights_file=self._weights_file)
        self.came = True

    def check(self) -> None:
        """Raise a ValueError unless weights have come."""
        if not self.came:
            raise ValueError(
                f"the backbone {self._timm_args['model_name']} is to begin from pretrained weights, but trains from "
                "random ones: nothing was loaded. Call tokenseg.engine.build.load_pretrained(model) before the first "
                "step, or load a checkpoint; to begin from random weights, give model.backbone.pretrained=false"
            )


def note_checkpoint(backbone: Any, state: Mapping[str, Tensor], prefix: str, *_: object) -> None:
    """Pre-hook of `load_state_dict` on a backbone with `starting_weights`: notes that a state holds weights of it."""
    backbone.starting_weights.came |= any(prefix + name in state for name, _ in backbone.named_parameters())


def load_timm_weights(model: TimmModel, timm_args: Mapping[str, Any], *, weights_file: str = "") -> None:
    """Load pretrained weights into a timm model whose head, norm or last blocks may be gone.

    Position codes, tables of relative positions and patches are resampled to the model's size by timm's own rules,
    which also read the files of the models' authors. What did not load is logged. No file is read that could run code.

    Args:
        model: Takes the weights, in place.
        timm_args: `model_name` and the further arguments that made the model.
        weights_file: The file of the weights, or its address (see `local_file`); empty for timm's own on the hub.

    Raises:
        ValueError: No such file, no network, or weights of another model; says what to do.
    """
    name = timm_args["model_name"]
    path = local_file(weights_file) or _file_off_hub(model.pretrained_cfg, name)
    if os.path.isdir(path):
        raise ValueError(f"weights_file '{path}' is a folder; wanted a file in it")
    if not os.path.isfile(path):
        raise ValueError(f"weights_file '{path}' does not exist (looked in {os.getcwd()})")
    logger.info("Reading pretrained weights of %s from %s", name, path)
    try:
        if path.endswith(".npz"):
            _load_npz(model, path)
            return
        check_sums(path)
        state = timm.models.load_state_dict(path)
        whole = weightless(**timm_args)
        state = _convert(state, whole)
    except DamagedFile:
        raise
    except Exception as error:  # whatever timm's rules stumble over in a foreign file
        raise ValueError(f"'{path}' cannot be read as weights of {name}: {error}") from error
    _load(model, state, whole, source=f"'{path}', read as weights of {name},")


def resampled(state: Mapping[str, Tensor], timm_args: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weights of a timm model at the input size of another one, by timm's own rules: position codes and their like.

    Args:
        state: The weights by timm's names; some may be absent, as of blocks that were cut off.
        timm_args: The name of the other model, as `model_name`, and the further arguments that make it.

    Returns:
        The same names with weights in the shapes of the other model.
    """
    found = _apply_rules(dict(state), weightless(**timm_args))
    return {name: found.get(name, value) for name, value in state.items()}


def _load_npz(model: TimmModel, path: str) -> None:
    if not hasattr(model, "load_pretrained"):
        raise ValueError("timm reads .npz files for ViTs alone")
    model.load_pretrained(path)


def _convert(state: dict[str, Tensor], whole: nn.Module) -> dict[str, Tensor]:
    """The weights under the names and in the shapes of the whole model."""
    if getattr(whole, "num_prefix_tokens", None) == 0:
        state = _without_class_token(state)
    return _with_channels_of(_apply_rules(state, whole), whole)


def _with_channels_of(state: dict[str, Tensor], whole: TimmModel) -> dict[str, Tensor]:
    """Weights whose first convolutions take as many channels as those of the model: timm's own inflation."""
    stems = whole.pretrained_cfg.get("first_conv") or ()
    wanted = whole.state_dict()
    for name in (f"{stem}.weight" for stem in ((stems,) if isinstance(stems, str) else stems)):
        if name in state and name in wanted and state[name].shape[1] != wanted[name].shape[1]:
            state[name] = adapt_input_conv(wanted[name].shape[1], state[name])
            logger.info("%s: three channels inflated to %d by timm's rule", name, wanted[name].shape[1])
    return state


def _apply_rules(state: dict[str, Tensor], whole: nn.Module) -> dict[str, Tensor]:
    # by timm's convention the rules stand beside the model
    rules = getattr(sys.modules[type(whole).__module__], "checkpoint_filter_fn", None)
    return rules(state, whole) if rules else state


def _without_class_token(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a ViT for a model that has no class token; timm would resample its position code with the others."""
    state = {key: value for key, value in state.items() if key != "cls_token"}
    codes = state.get("pos_embed")
    if codes is not None and math.isqrt(codes.shape[1] - 1) ** 2 == codes.shape[1] - 1:
        state["pos_embed"] = codes[:, 1:]
    return state


def _load(model: nn.Module, state: dict[str, Tensor], whole: nn.Module, *, source: str) -> None:
    wanted = model.state_dict()
    fitting = [key for key in wanted if key in state]
    if not fitting:
        raise ValueError(
            f"{source} holds none of its {len(wanted)} weights: it has {', '.join(list(state)[:3])}, ...; "
            f"wanted {', '.join(list(wanted)[:3])}, ... (a checkpoint of a training here is for "
            "train.init_checkpoint, an exported backbone for train.init_backbone.file)"
        )
    misshapen = [
        f"{key} {tuple(state[key].shape)}, wanted {tuple(wanted[key].shape)}"
        for key in fitting
        if state[key].shape != wanted[key].shape
    ]
    if misshapen:
        raise ValueError(f"{source} has {len(misshapen)} weights of another shape: {', '.join(misshapen[:3])}")
    found = model.load_state_dict(state, strict=False)
    logger.info("%d of the backbone's %d weights loaded", len(fitting), len(wanted))
    # what comes after the maps: blocks, final norm, head
    beyond = {name for name, child in whole.named_children() if not list(child.parameters())} | {"head"}
    known = whole.state_dict().keys()
    unknown = [key for key in found.unexpected_keys if key not in known and key.split(".")[0] not in beyond]
    unneeded = {".".join(key.split(".")[:2]) for key in found.unexpected_keys if key not in unknown}
    if unneeded:
        logger.info("Not needed of the file: %s", ", ".join(sorted(unneeded)))
    for kind, keys in (("missing in the file", found.missing_keys), ("unknown to the model", unknown)):
        if keys:
            logger.warning("%d weights %s:\n  %s", len(keys), kind, "\n  ".join(keys))


def _file_off_hub(cfg: Mapping[str, Any], name: str) -> str:
    """Path of the weights in the hub's local cache, downloaded if they are not there yet."""
    repository, _, revision = (cfg.get("hf_hub_id") or "").partition("@")
    if not repository:
        raise ValueError(
            f"timm knows no weights of {name} on the hub; {cfg.get('url') or 'it knows none at all'}; "
            "give model.backbone.weights_file=FILE, another model_name, or model.backbone.pretrained=false"
        )
    names = [cfg["hf_hub_filename"]] if cfg.get("hf_hub_filename") else ["model.safetensors", "pytorch_model.bin"]
    try:
        return hub_file(repository, names, revision=revision or None)
    except ValueError as error:
        raise ValueError(
            f"no weights for {name}: {error}. Download {names[0]} of {constants.ENDPOINT}/{repository} elsewhere and "
            "give model.backbone.weights_file=FILE, or begin from random weights with model.backbone.pretrained=false"
        ) from error
