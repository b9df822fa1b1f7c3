"""Compares a config with that of the run that is resumed: some changes take effect, some do not, some are refused."""

import logging
import os
import tempfile
from collections.abc import Iterator

import yaml
from detectron2.config import LazyConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .safe_yaml import read_plain

logger = logging.getLogger(__name__)

# The prefixes of keys that a resumed run must not change. Its samples have to be those of the interrupted run, and the
# optimiser continues with the learning rates in its checkpoint.
_FIXED = ("dataloader.train.", "optimizer.", "train.seed", "train.freeze")
# The exceptions, on which no sample depends.
_FREE = ("dataloader.train.num_workers",)
# The names of paths, which may change if the old path no longer exists, since then the data was probably moved. If the
# old path still exists, the new one is other data.
_FOLDERS = ("images", "labels", "annotations", "test_images", "test_labels", "test_annotations")
# The settings that only a fresh training reads.
_UNREAD = (
    "train.init_backbone",
    "train.init_checkpoint",
    "train.skip_mismatched",
    "train.allow_pickle",
    "train.overwrite",
)


def check_changes(config: DictConfig, path: str) -> None:
    """Compare a config with that of the run that is resumed, and log the changed settings.

    Args:
        config: The config of this run.
        path: The path of the config.yaml of the run that is resumed.

    Raises:
        ValueError: A setting changed on which the stream of samples or the state of the optimiser depends.
    """
    try:
        before = OmegaConf.create(read_plain(path), flags={"allow_objects": True})
        after = OmegaConf.create(as_saved(config), flags={"allow_objects": True})
        was, now = (dict(_leaves(OmegaConf.to_container(node, resolve=True))) for node in (before, after))
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        logger.warning(
            "The config cannot be compared with that of the run that is resumed: %s", " ".join(str(error).split())
        )
        return
    # Raw values, with interpolations unresolved, name only the keys that the user has changed. The check of fixed keys
    # needs resolved values, since a changed key elsewhere may change them.
    raw_was, raw_now = (dict(_leaves(OmegaConf.to_container(node))) for node in (before, after))
    changed = [key for key in {**raw_now, **raw_was} if _differ(key, raw_was, raw_now)]
    fixed = [key for key in {**now, **was} if _is_fixed(key, was) and _differ(key, was, now)]
    if fixed:
        said = ", ".join(_said(key, was, now) for key in fixed[:3]) + (", ..." if len(fixed) > 3 else "")
        raise ValueError(
            f"--resume continues with the samples and the optimiser of the interrupted run, but {said} (changed: "
            f"{', '.join(changed[:5])}); wanted the old values, or a new run from these weights (another "
            "train.output_dir, and train.init_checkpoint)"
        )
    for words, keys in (
        ("take effect", [key for key in changed if not key.startswith(_UNREAD)]),
        ("have no effect on --resume", [key for key in changed if key.startswith(_UNREAD)]),
    ):
        if keys:
            logger.warning("Changed settings %s: %s", words, ", ".join(_said(key, raw_was, raw_now) for key in keys))


def as_saved(config: DictConfig) -> dict:
    """Convert a config to plain values as a run saves them, in which calls are given by name."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "config.yaml")
        LazyConfig.save(config, path)
        return read_plain(path)


def _leaves(node: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Yield the dotted key and the value of every leaf of a config, including the items of lists and tuples."""
    if isinstance(node, dict) and node:
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, (list, tuple)) and node:
        for place, value in enumerate(node):
            yield from _leaves(value, f"{key}.{place}")
    else:
        yield key, node


def _differ(key: str, was: dict, now: dict) -> bool:
    if key == "train.output_dir":
        return False
    old, new = was.get(key), now.get(key)
    if key.endswith("._target_"):  # only the names of callables count, since their modules may have moved
        old, new = (str(value).rpartition(".")[2] for value in (old, new))
    return old != new


def _is_fixed(key: str, was: dict) -> bool:
    if not key.startswith(_FIXED) or key.startswith(_FREE):
        return False
    has_moved = key.rpartition(".")[2] in _FOLDERS and not os.path.exists(os.path.expanduser(str(was.get(key))))
    return not has_moved


def _said(key: str, was: dict, now: dict) -> str:
    return f"{key} is {_short(now.get(key))} and was {_short(was.get(key))}"


def _short(value: object) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
