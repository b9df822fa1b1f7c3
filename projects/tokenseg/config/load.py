"""Loading a config: a LazyConfig file, or the config.yaml that a run saved, with overrides applied.

`${count:${a.b}}` in a config is the number of items of the list a.b.
"""

import os
from collections.abc import Sequence

import yaml
from detectron2.config import LazyConfig
from omegaconf import DictConfig, OmegaConf

from .overrides import apply_overrides

# A class count follows from the class names, after overrides too.
OmegaConf.register_new_resolver("count", len, replace=True)


def load_config(path: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Load a LazyConfig file (.py, or the .yaml that a run saved) and apply overrides.

    Args:
        path: of the file.
        overrides: `key=value` each, in Hydra's grammar. A mapping is merged into the one there is, `key={}` empties
            it; `key=@FILE` gives a list, one item a line of the file.

    Raises:
        ValueError: no such file, one that is no config, or an override that does not fit; says what would.
    """
    if not os.path.isfile(path):
        raise ValueError(f"config file '{path}' does not exist (looked in {os.getcwd()})")
    try:
        config = LazyConfig.load(os.path.abspath(path))
    except (ImportError, SyntaxError, yaml.YAMLError) as error:
        raise ValueError(f"config file '{path}' cannot be loaded: {error}") from error
    missing = [key for key in ("model", "dataloader", "train") if key not in (config or {})]
    if missing:
        raise ValueError(f"'{path}' has no {' and no '.join(missing)}; a config has model, dataloader and train")
    return apply_overrides(config, overrides)
