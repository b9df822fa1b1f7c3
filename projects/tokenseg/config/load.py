"""Loading a config: a LazyConfig file, or the config.yaml that a run saved, with overrides applied.

`${count:${a.b}}` in a config is the number of items of the list a.b; `${category_names:${a.b}}` are the class names in
the annotation file a.b, which is in COCO's format.
"""

import os
import re
import traceback
from collections.abc import Sequence
from typing import Any, cast

from detectron2.config import LazyConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..datasets.annotation_file import category_names
from .overrides import apply_overrides
from .safe_yaml import load_yaml
from .settings import check_settings
from .shipped import config_file

# A class count follows from the class names, after overrides too.
OmegaConf.register_new_resolver("count", len, replace=True)
OmegaConf.register_new_resolver("category_names", category_names, replace=True)


def load_config(path: str, overrides: Sequence[str] = (), *, trust_config: bool = False) -> DictConfig:
    """Load a LazyConfig file (.py, or the .yaml that a run saved) and apply overrides.

    A .py is a program and runs. A .yaml cannot run code unless it is trusted: see `load_yaml`.

    Args:
        path: The path of the file, or the name of a config that comes with TokenSeg (see `list_models`).
        overrides: `key=value` each, in Hydra's grammar. A mapping is merged into the one there is, `key={}` empties
            it; `key=@FILE` gives a list, one item a line of the file; `data=own` puts own data under the config.
        trust_config: Whether a .yaml may call anything, such as classes of the user's own, and thereby run any code.

    Raises:
        ValueError: No such file, one that is no config or would call what it may not, an override that does not fit, or
            a setting that is not what it may be; says what would.
    """
    path = config_file(path)
    if os.path.isdir(path):
        raise ValueError(f"config file '{path}' is a folder; wanted a file, such as the config.yaml in it")
    if not os.path.isfile(path):
        raise ValueError(f"config file '{path}' does not exist (looked in {os.getcwd()})")
    if os.path.splitext(path)[1] not in (".py", ".yaml", ".yml"):
        raise ValueError(f"config file '{path}' is of no known kind; wanted a name that ends in .py or .yaml")
    try:
        is_plain = not path.endswith(".py") and not trust_config
        config = load_yaml(path) if is_plain else LazyConfig.load(os.path.abspath(path))
    except Exception as error:  # whatever the user's file stumbles over
        raise ValueError(f"config file '{path}' cannot be loaded: {_reason(error)}") from error
    wanted = ("model", "dataloader", "train")
    missing = [key for key in wanted if not isinstance(config, DictConfig) or key not in config]
    if missing:
        raise ValueError(f"'{path}' has no {' and no '.join(missing)}; a config has model, dataloader and train")
    config = apply_overrides(config, overrides)
    _write_classes(config)
    check_settings(config)
    return config


def _write_classes(config: DictConfig) -> None:
    """Write class names that are read from a file into the config, which then tells them without the file."""
    dataset = config.get("dataset")
    if not isinstance(dataset, DictConfig) or not OmegaConf.is_interpolation(dataset, "classes"):
        return
    reference = cast("dict[str, Any]", OmegaConf.to_container(dataset))["classes"]
    try:
        dataset.classes = [*dataset.classes]
    except (OmegaConfBaseException, TypeError) as error:
        # The first line, and without OmegaConf's words before those of the function that reads the file.
        reason = str(error).splitlines()[0].rpartition("while resolving interpolation: ")[2]
        raise ValueError(
            f"dataset.classes is {reference}, but {reason}; wanted another file, or the names themselves: "
            "'dataset.classes=[a,b]'"
        ) from error


def _file(error: Exception) -> str:
    """Which file it is that Detectron2 says has a syntax error, where that is known."""
    found = re.match(r"Config file (.*) has syntax error!", str(error))
    return f" of {found[1]}" if found else ""


def _reason(error: Exception) -> str:
    """What went wrong in a config, in one line, and in which line of which file."""
    cause = error.__cause__ if isinstance(error.__cause__, SyntaxError) else error  # Detectron2's own names no line
    text = " ".join(str(cause).split()) or type(cause).__name__
    if isinstance(cause, SyntaxError) and cause.lineno:
        return f"{cause.msg} in line {cause.lineno}{_file(error)}"
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.name == "<module>"]
    places = [frame for frame in places if frame.filename.endswith(".py")]
    if not places or isinstance(cause, SyntaxError):
        return text
    return f"{type(cause).__name__}: {text} in line {places[-1].lineno} of {places[-1].filename}"
