"""Applies overrides from the command line to a config, after checking each of them."""

import difflib
import inspect
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from detectron2.config import LazyConfig
from detectron2.utils.registry import locate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .data_choice import KEY, choose_data

# Well-known keys of Detectron2's YAML configs (yacs) -> their counterparts here, for users who are used to them.
YACS_KEYS = {
    "MODEL.WEIGHTS": "train.init_checkpoint",
    "OUTPUT_DIR": "train.output_dir",
    "SOLVER.MAX_ITER": "train.max_iter",
    "SOLVER.BASE_LR": "optimizer.lr",
    "SOLVER.IMS_PER_BATCH": "dataloader.train.total_batch_size",
    "SOLVER.AMP.ENABLED": "train.amp.enabled",
    "TEST.EVAL_PERIOD": "train.eval_period",
    "SEED": "train.seed",
}


_LIST = "a list, such as '[a,b]' or @FILE"


def apply_overrides(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Apply `key=value` overrides to a config, in place, and return it.

    The override `data=NAME` is applied before all others.

    Args:
        config: The config.
        overrides: The overrides; see `load_config` for their forms.

    Raises:
        ValueError: An override has no `=`, names an unknown key, or has a value of the wrong type.
    """
    choices = [word for word in overrides if word.startswith(f"{KEY}=") and KEY not in config]
    for word in choices:
        choose_data(config, word.partition("=")[2])
    for override in (word for word in overrides if word not in choices):
        key, equals, value = override.partition("=")
        if not equals:
            raise ValueError(_no_equals(override))
        _check_key(config, key)
        old = _value_of(config, key)
        known = set(_keys(config))
        try:
            if value.startswith("@"):
                OmegaConf.update(config, key, _lines(value[1:]))
            elif isinstance(old, DictConfig) and value.replace(" ", "") == "{}":
                OmegaConf.update(config, key, _emptied(old), merge=False)
            else:
                LazyConfig.apply_overrides(config, [override])
        except Exception as error:  # the errors of Hydra and OmegaConf have no common base class
            reason = f"wanted {_LIST}" if isinstance(old, ListConfig) and _is_sweep(value) else _one_line(error)
            raise ValueError(f"override '{override}' cannot be applied: {reason}") from error
        new = OmegaConf.select(config, key)
        _check_type(override, old, new)
        if isinstance(old, DictConfig) and isinstance(new, DictConfig):
            _check_new_keys(config, key, known)
        if type(old) is int and isinstance(new, float) and new.is_integer():  # such as 1e3
            OmegaConf.update(config, key, int(new))
    return config


def _value_of(config: DictConfig, key: str) -> object:
    """Return the value that an override replaces, or None if it refers to a key that does not exist so far."""
    try:
        return OmegaConf.select(config, key)
    except OmegaConfBaseException:
        return None


def _emptied(mapping: DictConfig) -> dict:
    if "_target_" in mapping:
        raise ValueError("it would also remove the call itself; wanted null, or arguments")
    return {}


def _lines(path: str) -> list[str]:
    """Read the lines of a text file that are not empty."""
    with open(os.path.expanduser(path), "rb") as file:
        content = file.read()
    try:
        return [line.strip() for line in content.decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {number} of {path} is not UTF-8 text; wanted the file saved as UTF-8") from error


def _is_sweep(value: str) -> bool:
    """Return whether a value has commas outside of brackets, which Hydra interprets as several values to try."""
    return "," in re.sub(r"\[.*\]|\{.*\}|\(.*\)|'.*'", "", value)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _no_equals(override: str) -> str:
    message = f"'{override}' is not an override; wanted key=value, such as train.max_iter=1000"
    if override in YACS_KEYS:
        message += f"; this project uses LazyConfigs, where {override} is {YACS_KEYS[override]}=..."
    return message


def _check_key(config: DictConfig, key: str) -> None:
    """Refuse a key that nothing would read: Detectron2 would create it silently.

    A key is accepted if the config has it, or if it is an argument of a call that the config leaves at its default.
    """
    parent_key, _, name = key.rpartition(".")
    try:
        parent = OmegaConf.select(config, parent_key) if parent_key else config
    except OmegaConfBaseException:
        parent = None
    if "[" in key:  # OmegaConf accepts this notation of an index, but Hydra's grammar does not
        parent = None
    if isinstance(parent, DictConfig) and (
        name in parent or _is_argument(parent, name) or _is_free(config, parent_key)
    ):
        return
    if isinstance(parent, ListConfig) and name.isdigit() and int(name) < len(parent):
        return
    raise ValueError(_no_key(key, _keys(config)))


def _no_key(key: str, known: Iterable[str]) -> str:
    hint = YACS_KEYS.get(key)
    near = [hint] if hint else _nearest(key, [*known])
    return f"the config has no key '{key}'" + (f"; nearest: {', '.join(near)}" if near else "")


def _nearest(key: str, known: list[str]) -> list[str]:
    """Find up to three keys that a user may have meant: first those with nearly the same name, in any section."""
    name = key.rpartition(".")[2]
    names = difflib.get_close_matches(name, {each.rpartition(".")[2] for each in known}, n=2, cutoff=0.9)
    alike = [each for each in known if each.rpartition(".")[2] in names]
    near = difflib.get_close_matches(key, alike, n=3, cutoff=0) + difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    return [*dict.fromkeys(near)][:3]


def _check_new_keys(config: DictConfig, key: str, known: set[str]) -> None:
    """Refuse keys that a mapping given for `key` added to the `known` ones, if nothing would read them."""
    for inner in _keys(OmegaConf.select(config, key), f"{key}."):
        parent_key, _, name = inner.rpartition(".")
        node = OmegaConf.select(config, parent_key)
        unread = isinstance(node, DictConfig) and not _is_argument(node, name) and not _is_free(config, parent_key)
        if inner not in known and unread:
            raise ValueError(_no_key(inner, known))


def _is_free(config: DictConfig, key: str) -> bool:
    """Return whether the mapping at `key` is, or lies inside, an argument of a call, and so may have any keys."""
    parts = key.split(".")
    above = [OmegaConf.select(config, ".".join(parts[:place])) for place in range(1, len(parts) + 1)]
    calls = [isinstance(node, DictConfig) and "_target_" in node for node in above]
    return any(calls[:-1]) and not calls[-1]


def _is_argument(node: DictConfig, name: str) -> bool:
    """Return whether `name` is an argument of the call that `node` describes, given in the config or not."""
    target = node.get("_target_")
    if target is None:
        return False
    target = locate(target) if isinstance(target, str) else target
    try:
        return name in inspect.signature(target).parameters
    except (TypeError, ValueError):
        return False


def _keys(node: DictConfig | ListConfig, prefix: str = "") -> Iterator[str]:
    """Yield all dotted keys of a config, including those of inner nodes."""
    places: Iterable[Any] = node.keys() if isinstance(node, DictConfig) else range(len(node))
    for place in places:
        if place == "_target_":
            continue
        key = f"{prefix}{place}"
        yield key
        child = node._get_node(place)
        if isinstance(child, (DictConfig, ListConfig)) and not child._is_none() and not child._is_interpolation():
            yield from _keys(child, f"{key}.")


def _check_type(override: str, old: object, new: object) -> None:
    """Refuse a new value of another type than the old one, such as text for a number.

    Hydra reads every value that it cannot parse otherwise as text.
    """
    if isinstance(old, bool):
        fits, wanted = isinstance(new, bool), "true or false"
    elif isinstance(old, (int, float)):
        fits, wanted = new is None or (isinstance(new, (int, float)) and not isinstance(new, bool)), "a number"
    elif isinstance(old, (DictConfig, ListConfig)):
        fits = not isinstance(new, (str, int, float))
        wanted = _LIST if isinstance(old, ListConfig) else "a mapping"
    else:
        return
    if not fits:
        what = "a mapping" if isinstance(old, DictConfig) else "a list" if isinstance(old, ListConfig) else repr(old)
        raise ValueError(f"override '{override}' gives {new!r} for {what}; wanted {wanted}")
