"""The override `data=NAME`, which replaces the data set of a config by that of `configs/common/data/NAME.py`."""

import difflib
import os
import re

from detectron2.config import LazyConfig
from omegaconf import DictConfig, OmegaConf

from .shipped import CONFIGS

KEY = "data"
# The keys of `dataset` that belong to the recipe of the config, whatever its data: sizes, and the order of channels.
_RECIPE = {"crop", "short_side", "long_side", "short_sides", "image_format"}
_RECIPE |= {"test_short_side", "test_long_side", "test_least_short_side"}
_FOLDER = CONFIGS / "common" / "data"


def choose_data(config: DictConfig, name: str) -> None:
    """Replace the data set of a config, in place.

    The keys of `dataset` are replaced, such as names, folders and classes. Sizes, crop, augmentations, targets that are
    derived from labels, loaders and the evaluator stay those of the config; only a detector gets the evaluator that
    belongs to the data.

    Args:
        config: The config.
        name: The name of a file in `configs/common/data` without its suffix, such as `own`, or the path of a similar
            .py file.

    Raises:
        ValueError: There is no such file, or the config and the data are for different tasks.
    """
    path = name if name.endswith(".py") else str(_FOLDER / f"{name}.py")
    if not os.path.isfile(path):
        known = sorted(file.stem for file in _FOLDER.glob("*.py") if file.stem not in ("sem_seg", "coco_instances"))
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"wanted one of {', '.join(known)}, or the path of a .py file"
        raise ValueError(f"{KEY}={name}: there is no such data set; {hint}")
    chosen = LazyConfig.load(os.path.abspath(path))
    if not all(isinstance(each.get("dataset"), DictConfig) for each in (config, chosen)):
        raise ValueError(f"{KEY}={name}: the config, or the file of the data, has no `dataset`; wanted one in both")
    # The task is recognised by `ignore_label`, which only data with label maps has.
    labelled = ["ignore_label" in each.dataset for each in (config, chosen)]
    if labelled[0] != labelled[1]:
        wanted = "label maps, such as own" if labelled[0] else "boxes, such as own_coco"
        raise ValueError(f"{KEY}={name} is for a different task than the config; wanted data with {wanted}")
    there = {*_RECIPE, *chosen.dataset}
    kept = {key: _kept(config.dataset, key, there) for key in config.dataset if key in _RECIPE}
    content = {key: chosen.dataset._get_node(key) for key in chosen.dataset if key not in kept}
    OmegaConf.update(config, "dataset", content | kept, merge=False)
    if not labelled[0]:
        OmegaConf.update(config, "dataloader.evaluator", chosen.dataloader.evaluator, merge=False)


def _kept(dataset: DictConfig, key: str, there: set[str]) -> object:
    """Return a setting to keep: unresolved if all keys of `dataset` that it refers to are `there`, else its value."""
    node = dataset._get_node(key)
    return dataset[key] if set(re.findall(r"\bdataset\.(\w+)", str(node))) - there else node
