"""Other data under a config, by one override: `data=own` puts the data set of `configs/common/data/own.py` there."""

import difflib
import os
import re

from detectron2.config import LazyConfig
from omegaconf import DictConfig, OmegaConf

from .shipped import CONFIGS

KEY = "data"
# What the recipe of the config says, whatever data it runs on: sizes, and the channels that the model expects.
_RECIPE = {"crop", "short_side", "long_side", "short_sides", "image_format"}
_RECIPE |= {"test_short_side", "test_long_side", "test_least_short_side"}
_FOLDER = CONFIGS / "common" / "data"


def choose_data(config: DictConfig, name: str) -> None:
    """Replace the data set of a config, in place.

    What is replaced are the keys of `dataset`: names, folders, classes. Sizes, crop, augmentations, targets that are
    made of labels, loaders and the evaluator stay those of the config; a detector gets the evaluator of the data.

    Args:
        config: The config.
        name: A file of `configs/common/data` without its suffix, such as `own`, or the path of a .py like these.

    Raises:
        ValueError: There is no such file, or the config or the data is of another task.
    """
    path = name if name.endswith(".py") else str(_FOLDER / f"{name}.py")
    if not os.path.isfile(path):
        known = sorted(file.stem for file in _FOLDER.glob("*.py") if file.stem not in ("sem_seg", "coco_instances"))
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"wanted one of {', '.join(known)}, or the path of a .py"
        raise ValueError(f"{KEY}={name}: there is no such data set; {hint}")
    chosen = LazyConfig.load(os.path.abspath(path))
    if not all(isinstance(each.get("dataset"), DictConfig) for each in (config, chosen)):
        raise ValueError(f"{KEY}={name}: the config, or the file of the data, has no dataset; wanted one in both")
    labelled = ["ignore_label" in each.dataset for each in (config, chosen)]
    if labelled[0] != labelled[1]:
        wanted = "label maps, such as own" if labelled[0] else "boxes, such as own_coco"
        raise ValueError(f"{KEY}={name} is for another task than the config; wanted data with {wanted}")
    there = {*_RECIPE, *chosen.dataset}
    kept = {key: _kept(config.dataset, key, there) for key in config.dataset if key in _RECIPE}
    content = {key: chosen.dataset._get_node(key) for key in chosen.dataset if key not in kept}
    OmegaConf.update(config, "dataset", content | kept, merge=False)
    if not labelled[0]:
        OmegaConf.update(config, "dataloader.evaluator", chosen.dataloader.evaluator, merge=False)


def _kept(dataset: DictConfig, key: str, there: set[str]) -> object:
    """A setting to keep: what it refers to, or its value if it refers to a key that is not among those `there`."""
    node = dataset._get_node(key)
    return dataset[key] if set(re.findall(r"\bdataset\.(\w+)", str(node))) - there else node
