"""What changed in a config since the run that is resumed: what takes effect, what does not, and what may not change."""

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

# Sections that a resumed run has to share with the run before. A sample is a function of the seed and its position in
# the stream, and the optimiser goes on with the rates that its checkpoint holds.
_FIXED = ("dataloader.train.", "optimizer.", "train.seed", "train.freeze")
# What may change in them, since no sample depends on it.
_FREE = ("dataloader.train.num_workers",)
# Folders and files may have moved; another one beside the old one is other data.
_FOLDERS = ("images", "labels", "annotations", "test_images", "test_labels", "test_annotations")
# What only a fresh training reads.
_UNREAD = (
    "train.init_backbone",
    "train.init_checkpoint",
    "train.skip_mismatched",
    "train.allow_pickle",
    "train.overwrite",
)


def check_changes(config: DictConfig, path: str) -> None:
    """Compare a config with that of the run that is resumed, and say what changed.

    Args:
        config: The config of this run.
        path: The config.yaml of the run that is resumed.

    Raises:
        ValueError: Something changed on which the samples of the stream or the state of the optimiser depend.
    """
    try:
        before = OmegaConf.create(read_plain(path), flags={"allow_objects": True})
        after = OmegaConf.create(as_saved(config), flags={"allow_objects": True})
        was, now = (dict(_leaves(OmegaConf.to_container(node, resolve=True))) for node in (before, after))
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        logger.warning("What changed since the run that is resumed is unknown: %s", " ".join(str(error).split()))
        return
    raw_was, raw_now = (dict(_leaves(OmegaConf.to_container(node))) for node in (before, after))
    changed = [key for key in {**raw_now, **raw_was} if _differ(key, raw_was, raw_now)]
    fixed = [key for key in {**now, **was} if _is_fixed(key, was) and _differ(key, was, now)]
    if fixed:
        said = ", ".join(_said(key, was, now) for key in fixed[:3]) + (", ..." if len(fixed) > 3 else "")
        raise ValueError(
            f"--resume goes on with the samples and the optimiser of the run before, but {said} (changed: "
            f"{', '.join(changed[:5])}); wanted these as they were, or another train.output_dir with "
            "train.init_checkpoint for a new run from these weights"
        )
    for words, keys in (
        ("take effect", [key for key in changed if not key.startswith(_UNREAD)]),
        ("have no effect on --resume", [key for key in changed if key.startswith(_UNREAD)]),
    ):
        if keys:
            logger.warning("Changed settings %s: %s", words, ", ".join(_said(key, raw_was, raw_now) for key in keys))


def as_saved(config: DictConfig) -> dict:
    """A config as a run saves it, with calls by name."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "config.yaml")
        LazyConfig.save(config, path)
        return read_plain(path)


def _leaves(node: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Every value of a config with its key; of lists and tuples the items."""
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
    if key.endswith("._target_"):  # modules may have moved since
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
