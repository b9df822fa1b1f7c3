"""Loads trained models by the name of a config, from a folder, or from a repository on the hub."""

import os
from collections.abc import Sequence
from os import PathLike

from .config.shipped import config_file
from .predictor import Predictor
from .weight_sources import local_file

CONFIG, WEIGHTS = "config.yaml", "model.safetensors"
# The names of the weights that a folder may contain, in the order of preference.
_IN_FOLDERS = (WEIGHTS, "model_best.pth", "model_final.pth")


def load(
    model: str | PathLike,
    weights: str | PathLike = "",
    *,
    overrides: Sequence[str] = (),
    trust_config: bool = False,
    batch_size: int = 8,
) -> Predictor:
    """Load a trained model as a function from images to predictions.

        predictor = tokenseg.load("output/my_run")
        predictor = tokenseg.load("segvit_vit_b_ade20k_512_160k", "hf://OWNER/REPOSITORY/model.safetensors")
        predictor = tokenseg.load("hf://OWNER/REPOSITORY")

    Args:
        model: The name or the path of a config, the output folder of a run, or a folder or repository that the command
            `publish` has created.
        weights: The path or address of the weights (see `local_file`). It may be left out for a folder or repository,
            which contains weights: those of a published model, or the best ones of a run, or else its final ones.
        overrides: Changes of the config, each of the form `key=value`, for instance `train.device=cpu`.
        trust_config: Whether a config.yaml may call anything, and thus run any code.
        batch_size: The maximum number of images of a list that the model runs at once.

    Raises:
        ValueError: There is no such model, or it has no weights.
    """
    model, weights = str(model), str(weights)
    if model.startswith("hf://"):
        config = local_file(f"{model.rstrip('/')}/{CONFIG}")
        weights = weights or f"{model.rstrip('/')}/{WEIGHTS}"
    elif os.path.isdir(model):
        config = os.path.join(model, CONFIG)
        weights = weights or weights_in(model)
    else:
        config = config_file(model)
    if not weights:
        raise ValueError(f"'{model}' is a config, but weights is empty; wanted the weights of a model trained with it")
    return Predictor(config, weights, overrides=overrides, trust_config=trust_config, batch_size=batch_size)


def weights_in(folder: str | PathLike) -> str:
    """Return the path of the weights in the folder of a run or of a published model.

    Raises:
        ValueError: The folder has no weights.
    """
    found = [path for path in (os.path.join(folder, name) for name in _IN_FOLDERS) if os.path.isfile(path)]
    if not found:
        raise ValueError(f"'{folder}' has no weights; wanted {', '.join(_IN_FOLDERS[:-1])} or {_IN_FOLDERS[-1]} in it")
    return found[0]
