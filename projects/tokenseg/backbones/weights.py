"""Loading of pretrained weights into timm models, from the hub, from its local cache, or from a file."""

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
    """The source of a backbone's pretrained weights, and whether any weights were loaded.

    A training that accidentally starts from random weights wastes days without any error. So the backbone calls `check`
    in its training steps. `train_net.py` always loads the weights, but a user's own training loop may forget to call
    `load_pretrained`. A checkpoint that holds weights of the backbone counts as well.

    Attributes:
        came: Whether weights were loaded, either pretrained ones or those of a checkpoint.
    """

    def __init__(self, *, timm_args: Mapping[str, Any], weights_file: str) -> None:
        """
        Args:
            timm_args: The name of the timm model, as `model_name`, and the further arguments that created it.
            weights_file: The file to start from; empty for timm's own weights on the hub.
        """
        self._timm_args, self._weights_file, self.came = timm_args, weights_file, False

    def load(self, model: nn.Module) -> None:
        """Load pretrained weights into the timm model; see `load_timm_weights`."""
        load_timm_weights(model, self._timm_args, weights_file=self._weights_file)
        self.came = True

    def check(self) -> None:
        """Raise a ValueError unless weights were loaded."""
        if not self.came:
            raise ValueError(
                f"the backbone {self._timm_args['model_name']} should start from pretrained weights, but trains from "
                "random ones: nothing was loaded. Call tokenseg.engine.build.load_pretrained(model) before the first "
                "step, or load a checkpoint; to start from random weights, set model.backbone.pretrained=false"
            )


def note_checkpoint(backbone: Any, state: Mapping[str, Tensor], prefix: str, *_: object) -> None:
    """Record that a state holds weights of a backbone with `starting_weights`: its pre-hook of `load_state_dict`."""
    backbone.starting_weights.came |= any(prefix + name in state for name, _ in backbone.named_parameters())


def load_timm_weights(model: TimmModel, timm_args: Mapping[str, Any], *, weights_file: str = "") -> None:
    """Load pretrained weights into a timm model whose head, final norm or last blocks may have been removed.

    Position codes, tables of relative positions and patch embeddings are resampled to the model's size by timm's own
    rules, which also read the files of the models' authors. Weights that were not loaded are logged. Files that could
    run code when read are rejected.

    Args:
        model: The timm model, which is modified in place.
        timm_args: The name of the timm model, as `model_name`, and the further arguments that created it.
        weights_file: The path or address of the weights (see `local_file`); empty for timm's own on the hub.

    Raises:
        ValueError: There is no such file or no network, or the weights belong to another model. The message says what
            to do.
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
    except Exception as error:  # timm's rules can fail in any way on a file that they do not expect
        raise ValueError(f"'{path}' cannot be read as weights of {name}: {error}") from error
    _load(model, state, whole, source=f"'{path}', read as weights of {name},")


def resampled(state: Mapping[str, Tensor], timm_args: Mapping[str, Any]) -> dict[str, Tensor]:
    """Resample a timm model's weights, such as position codes, to the input size of another model by timm's own rules.

    Args:
        state: The weights by timm's names; some may be missing, such as those of removed blocks.
        timm_args: The name of the other model, as `model_name`, and the further arguments that create it.

    Returns:
        The weights by the same names, in the shapes of the other model.
    """
    found = _apply_rules(dict(state), weightless(**timm_args))
    return {name: found.get(name, value) for name, value in state.items()}


def _load_npz(model: TimmModel, path: str) -> None:
    if not hasattr(model, "load_pretrained"):
        raise ValueError("timm reads .npz files only for ViTs")
    model.load_pretrained(path)


def _convert(state: dict[str, Tensor], whole: nn.Module) -> dict[str, Tensor]:
    """Convert weights to the names and shapes of the whole model."""
    if getattr(whole, "num_prefix_tokens", None) == 0:
        state = _without_class_token(state)
    return _with_channels_of(_apply_rules(state, whole), whole)


def _with_channels_of(state: dict[str, Tensor], whole: TimmModel) -> dict[str, Tensor]:
    """Adapt the first convolutions to the model's number of input channels, by timm's own rule."""
    stems = whole.pretrained_cfg.get("first_conv") or ()
    wanted = whole.state_dict()
    for name in (f"{stem}.weight" for stem in ((stems,) if isinstance(stems, str) else stems)):
        if name in state and name in wanted and state[name].shape[1] != wanted[name].shape[1]:
            state[name] = adapt_input_conv(wanted[name].shape[1], state[name])
            logger.info("%s: converted from three input channels to %d by timm's rule", name, wanted[name].shape[1])
    return state


def _apply_rules(state: dict[str, Tensor], whole: nn.Module) -> dict[str, Tensor]:
    # By timm's convention, this function is defined in the module of the model's class.
    rules = getattr(sys.modules[type(whole).__module__], "checkpoint_filter_fn", None)
    return rules(state, whole) if rules else state


def _without_class_token(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop a ViT's class token and its position code, which timm would otherwise resample together with the others."""
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
            f"wanted {', '.join(list(wanted)[:3])}, ... (use train.init_checkpoint for a checkpoint of a training, "
            "and train.init_backbone.file for an exported backbone)"
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
    # Weights of removed parts (last blocks, final norm, head) are expected in the file, and not worth a warning.
    beyond = {name for name, child in whole.named_children() if not list(child.parameters())} | {"head"}
    known = whole.state_dict().keys()
    unknown = [key for key in found.unexpected_keys if key not in known and key.split(".")[0] not in beyond]
    unneeded = {".".join(key.split(".")[:2]) for key in found.unexpected_keys if key not in unknown}
    if unneeded:
        logger.info("Weights in the file that the backbone does not need: %s", ", ".join(sorted(unneeded)))
    for kind, keys in (("missing in the file", found.missing_keys), ("unknown to the model", unknown)):
        if keys:
            logger.warning("%d weights %s:\n  %s", len(keys), kind, "\n  ".join(keys))


def _file_off_hub(cfg: Mapping[str, Any], name: str) -> str:
    """Return the path of the weights in the hub's local cache, and download them if they are not there yet."""
    repository, _, revision = (cfg.get("hf_hub_id") or "").partition("@")
    if not repository:
        raise ValueError(
            f"timm knows no weights of {name} on the hub; {cfg.get('url') or 'it knows none at all'}; "
            "set model.backbone.weights_file=FILE, another model_name, or model.backbone.pretrained=false"
        )
    names = [cfg["hf_hub_filename"]] if cfg.get("hf_hub_filename") else ["model.safetensors", "pytorch_model.bin"]
    try:
        return hub_file(repository, names, revision=revision or None)
    except ValueError as error:
        raise ValueError(
            f"no weights for {name}: {error}. Download {names[0]} from {constants.ENDPOINT}/{repository} elsewhere and "
            "set model.backbone.weights_file=FILE, or start from random weights with model.backbone.pretrained=false"
        ) from error
