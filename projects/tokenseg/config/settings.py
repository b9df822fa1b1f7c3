"""The valid values of the numbers, switches and texts of a config, checked in one place."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException


@dataclass(frozen=True)
class Kind:
    """A kind of valid values.

    Attributes:
        words: A description of the valid values, which completes "wanted ..." in an error message.
        fits: A function that returns whether a value is valid.
    """

    words: str
    fits: Callable[[Any], bool]

    def or_null(self) -> "Kind":
        """Return a kind that also accepts None."""
        return Kind(f"{self.words}, or null", lambda value: value is None or self.fits(value))


def _whole(low: int, high: float = math.inf) -> Kind:
    words = f"a whole number from {low} to {high}" if high < math.inf else f"a whole number, {low} or more"
    return Kind(words, lambda value: type(value) is int and low <= value <= high)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _weighs(value: Any) -> bool:
    """Return whether a value is a number of 0 or more, or the text of one, such as a line that was read from a file."""
    try:
        return math.isfinite(float(value)) and float(value) >= 0 and not isinstance(value, bool)
    except (TypeError, ValueError):
        return False


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


_POSITIVE = Kind("a number above 0", lambda value: _is_number(value) and value > 0)
_NOT_NEGATIVE = Kind("a number, 0 or more", lambda value: _is_number(value) and value >= 0)
_DECAY = Kind("a number, 0 or more and below 1", lambda value: _is_number(value) and 0 <= value < 1)
_SHARE = Kind("a share above 0 and up to 1", lambda value: _POSITIVE.fits(value) and value <= 1)
_SWITCH = Kind("true or false", lambda value: isinstance(value, bool))
_TEXT = Kind("a text", _is_text)
_PATH = Kind("a path, or empty", lambda value: isinstance(value, str))
_MAPPING = Kind("a mapping", lambda value: isinstance(value, DictConfig))
_CHANNELS = Kind(
    "a number for each channel of the images, such as three for colours",
    lambda value: isinstance(value, ListConfig) and len(value) > 0 and all(map(_is_number, value)),
)
_RANGE = Kind(
    "two numbers, the lower first", lambda value: _CHANNELS.fits(value) and len(value) == 2 and value[0] < value[1]
)
_SPREAD = Kind(
    "a number above 0 for each channel of the images", lambda value: _CHANNELS.fits(value) and min(value) > 0
)
_NAMES = Kind(
    "a list of names, such as '[a,b]' or @FILE",
    lambda value: (
        isinstance(value, ListConfig) and len(value) > 0 and all(isinstance(n, (str, int, float)) for n in value)
    ),
)

_PATTERNS = Kind(
    "a list of names, such as '[backbone]'",
    lambda value: isinstance(value, ListConfig) and all(isinstance(pattern, str) and pattern for pattern in value),
)

_WEIGHTS = Kind(
    "a list of numbers of 0 or more, one for each class, balanced, or null",
    lambda value: value is None or value == "balanced" or (isinstance(value, ListConfig) and all(map(_weighs, value))),
)

# Key -> the kind of its value. A config may lack any of these keys.
KINDS = {
    "train": _MAPPING,
    "train.output_dir": _TEXT,
    "train.overwrite": _SWITCH,
    "train.init_backbone": _MAPPING,
    "train.init_backbone.file": _PATH,
    "train.init_backbone.accept_stride": _whole(1).or_null(),
    "train.init_backbone.drop_component": _SWITCH,
    "train.skip_mismatched": _SWITCH,
    "train.allow_pickle": _SWITCH,
    "train.max_iter": _whole(1),
    "train.seed": _whole(0, 2**31),
    "train.device": _TEXT,
    "train.amp": _MAPPING,
    "train.amp.enabled": _SWITCH,
    "train.accumulate": _whole(1),
    "train.clip_grad_norm": _POSITIVE.or_null(),
    "train.tta": _MAPPING,
    "train.tta.enabled": _SWITCH,
    "train.tta.flip": _SWITCH,
    "train.compile": _SWITCH,
    "train.shard": _SWITCH,
    "train.ddp": _MAPPING,
    "train.checkpointer": _MAPPING,
    "train.checkpointer.period": _whole(1),
    "train.checkpointer.max_to_keep": _whole(1).or_null(),
    "train.eval_period": _whole(0),
    "train.best_metric": _TEXT,
    "train.log_period": _whole(1),
    "train.patience": _whole(0),
    "train.validation_images": _whole(0),
    "train.ema": _MAPPING,
    "train.ema.decay": _DECAY,
    "train.freeze": _PATTERNS,
    "train.pictures": _whole(0),
    "train.wandb": _MAPPING,
    "train.alarms": _MAPPING.or_null(),
    "train.alarms.period": _whole(0),
    "train.alarms.images": _whole(2),
    "train.alarms.patience": _whole(1),
    "model": _MAPPING,
    "model.pixel_mean": _CHANNELS,
    "model.pixel_std": _SPREAD,
    "dataloader": _MAPPING,
    "dataloader.train.total_batch_size": _whole(1),
    "dataloader.train.num_workers": _whole(0),
    "dataloader.train.filter_empty": _SWITCH,
    "dataloader.train.group_by_aspect_ratio": _SWITCH,
    "dataloader.train.repeat_threshold": _SHARE.or_null(),
    "dataloader.test.num_workers": _whole(0),
    "dataloader.test.batch_size": _whole(1),
    "optimizer.lr": _POSITIVE,
    "optimizer.weight_decay": _NOT_NEGATIVE,
    "lr_multiplier.warmup_iter": _whole(0),
    "dataset.bands": _NAMES.or_null(),
    "dataset.value_range": _RANGE.or_null(),
    "dataset.ignore_label": _whole(0),
    "dataset.short_side": _whole(1),
    "dataset.long_side": _whole(1),
    "dataset.test_short_side": _whole(1),
    "dataset.test_long_side": _whole(1).or_null(),
    "dataset.test_least_short_side": _whole(0),
    "dataset.crop": _whole(1),
    "dataset.classes": _NAMES,
    "dataset.num_classes": _whole(1),
    "dataset.class_weights": _WEIGHTS,
    "dataset.id_map": _MAPPING.or_null(),
}


def check_settings(config: DictConfig) -> None:
    """Refuse a config with an invalid setting.

    Args:
        config: The config, with all overrides applied.

    Raises:
        ValueError: A setting is invalid. The message names the first such key and its valid values.
    """
    for key, kind in KINDS.items():
        for value in _value(config, key):
            if not kind.fits(value):
                raise ValueError(f"{key} is {_shown(value)}; wanted {kind.words}")
    weights, classes = (OmegaConf.select(config, f"dataset.{name}") for name in ("class_weights", "num_classes"))
    if isinstance(weights, ListConfig) and len(weights) != classes:
        raise ValueError(f"dataset.class_weights has {len(weights)} numbers; wanted {classes}, one for each class")
    _check_channels(config)


def _check_channels(config: DictConfig) -> None:
    """Refuse a mean or a standard deviation without exactly one number per channel of the data set's images."""
    bands = OmegaConf.select(config, "dataset.bands")
    channels = 3 if bands is None else len(bands)
    for key in ("model.pixel_mean", "model.pixel_std"):
        values = OmegaConf.select(config, key)
        if values is not None and len(values) != channels:
            told = "three numbers, or dataset.bands" if bands is None else f"{channels} numbers, one per band"
            raise ValueError(f"{key} is {_shown(values)}; wanted {told}")


def check_training(config: DictConfig) -> None:
    """Refuse a config that lacks a part that training needs.

    Raises:
        ValueError: A part is missing. The message names the first such key.
    """
    evaluates = OmegaConf.select(config, "dataloader.evaluator") is not None
    for key in ("dataloader.train", "optimizer", "lr_multiplier", *(["dataloader.test"] if evaluates else [])):
        if OmegaConf.select(config, key) is None:
            raise ValueError(f"{key} is null, but the training needs it; wanted a value for it")


def _value(config: DictConfig, key: str) -> Iterator[object]:
    """Yield the value of a key, or nothing if the config does not have the key."""
    parent_key, _, name = key.rpartition(".")
    try:
        parent = OmegaConf.select(config, parent_key) if parent_key else config
        if isinstance(parent, DictConfig) and name in parent:
            yield parent[name]
    except (OmegaConfBaseException, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{key} cannot be determined: {reason}") from error


def _shown(value: object) -> str:
    """Format a value as on the command line, shortened to one line."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return (text if len(text) <= 60 else f"{text[:60]}...") or "empty"
