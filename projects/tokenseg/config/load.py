"""Loads a config, which is a LazyConfig file or the config.yaml that a run saved, and applies overrides.

Configs may use two resolvers: `${count:${a.b}}` is the number of items of the list a.b, and `${category_names:${a.b}}`
is the list of class names in the annotation file a.b, which is in COCO's format.
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

# Resolvers are evaluated late, so a class count follows from the class names even after overrides.
OmegaConf.register_new_resolver("count", len, replace=True)
OmegaConf.register_new_resolver("category_names", category_names, replace=True)


def load_config(path: str, overrides: Sequence[str] = (), *, trust_config: bool = False) -> DictConfig:
    """Load a LazyConfig file (.py, or the .yaml that a run saved) and apply overrides.

    A .py file is a program, which is run. A .yaml file cannot run code unless it is trusted; see `load_yaml`.

    Args:
        path: The path of the file, or the name of a config that comes with TokenSeg (see `list_models`).
        overrides: The overrides, each of the form `key=value` in Hydra's grammar. A mapping is merged into the existing
            one, and `key={}` empties it. `key=@FILE` gives a list with one item per line of the file. `data=NAME`
            replaces the data set (see `choose_data`).
        trust_config: Whether a .yaml file may call anything, such as the user's own classes, and thus run any code.

    Raises:
        ValueError: The file does not exist, is not a config, or calls something that it must not call; an override does
            not fit the config; or a setting has an invalid value. The message says what is valid.
    """
    path = config_file(path)
    if os.path.isdir(path):
        raise ValueError(f"config file '{path}' is a folder; wanted a file, such as the config.yaml in it")
    if not os.path.isfile(path):
        raise ValueError(f"config file '{path}' does not exist (looked in {os.getcwd()})")
    if os.path.splitext(path)[1] not in (".py", ".yaml", ".yml"):
        raise ValueError(f"config file '{path}' is of an unknown type; wanted a name that ends in .py or .yaml")
    try:
        is_plain = not path.endswith(".py") and not trust_config
        config = load_yaml(path) if is_plain else LazyConfig.load(os.path.abspath(path))
    except Exception as error:  # a .py config is the user's program and may raise anything
        raise ValueError(f"config file '{path}' cannot be loaded: {_reason(error)}") from error
    wanted = ("model", "dataloader", "train")
    missing = [key for key in wanted if not isinstance(config, DictConfig) or key not in config]
    if missing:
        raise ValueError(f"'{path}' has no {' and no '.join(missing)}; wanted model, dataloader and train")
    config = apply_overrides(config, overrides)
    _write_classes(config)
    check_settings(config)
    return config


def _write_classes(config: DictConfig) -> None:
    """Write class names that are read from a file into the config, so that a saved config does not need the file."""
    dataset = config.get("dataset")
    if not isinstance(dataset, DictConfig) or not OmegaConf.is_interpolation(dataset, "classes"):
        return
    reference = cast("dict[str, Any]", OmegaConf.to_container(dataset))["classes"]
    try:
        dataset.classes = [*dataset.classes]
    except (OmegaConfBaseException, TypeError) as error:
        # Keep only the message of the function that reads the file, which OmegaConf wraps in its own words.
        reason = str(error).splitlines()[0].rpartition("while resolving interpolation: ")[2]
        raise ValueError(
            f"dataset.classes is {reference}, but {reason}; wanted another file, or the names themselves: "
            "'dataset.classes=[a,b]'"
        ) from error


def _file(error: Exception) -> str:
    """Return the name of the file with a syntax error as ` of FILE`, or "" if Detectron2's message does not name it."""
    found = re.match(r"Config file (.*) has syntax error!", str(error))
    return f" of {found[1]}" if found else ""


def _reason(error: Exception) -> str:
    """Describe an error in a config in one line, with the file and the line in which it occurred."""
    # Detectron2 replaces a syntax error by one that does not name the line.
    cause = error.__cause__ if isinstance(error.__cause__, SyntaxError) else error
    text = " ".join(str(cause).split()) or type(cause).__name__
    if isinstance(cause, SyntaxError) and cause.lineno:
        return f"{cause.msg} in line {cause.lineno}{_file(error)}"
    # Configs run at the level of a module, so the innermost such frame is the line of the config.
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.name == "<module>"]
    places = [frame for frame in places if frame.filename.endswith(".py")]
    if not places or isinstance(cause, SyntaxError):
        return text
    return f"{type(cause).__name__}: {text} in line {places[-1].lineno} of {places[-1].filename}"
