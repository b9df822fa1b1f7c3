"""Building what a config describes, with errors that name the key."""

import re
from collections.abc import Mapping
from typing import Any, cast

from detectron2.utils.registry import locate
from omegaconf import DictConfig, ListConfig, OmegaConf

# What a constructor raises for arguments that it was not made for; others, such as files that are missing, pass.
_UNFIT = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)


class UnfitSetting(ValueError):
    """Something in a config cannot be built; the message begins with its key."""


def instantiate(node: object) -> Any:
    """Build a node of a config as Detectron2's `instantiate` does: call its `_target_` with the other keys, from the
    inside out.

    Args:
        node: The node; whatever is neither a list nor a mapping with `_target_` is handed back as it is.

    Raises:
        UnfitSetting: A call raised an error that arguments can cause; names the key of the call, and the keys that its
            arguments refer to.
    """
    key = node._get_full_key(None) if isinstance(node, (DictConfig, ListConfig)) else ""
    return _build(node, key)


def _build(node: object, key: str) -> Any:
    if isinstance(node, (list, ListConfig)):
        items = [_build(item, f"{key}.{place}") for place, item in enumerate(node)]
        return ListConfig(items, flags={"allow_objects": True}) if isinstance(node, ListConfig) else items
    if not isinstance(node, Mapping) or "_target_" not in node:
        return node
    arguments = {str(name): _build(value, f"{key}.{name}") for name, value in node.items()}
    target = arguments.pop("_target_")
    try:
        call = locate(target) if isinstance(target, str) else target
    except Exception as error:  # Detectron2 asks Hydra, which has several types for a name that is not there
        reason = " ".join(str(error).split())
        raise UnfitSetting(f"{key} calls {target}, which cannot be imported: {reason}") from error
    if not callable(call):
        raise UnfitSetting(f"{key} calls {target}, which is nothing that can be called")
    try:
        return call(**arguments)
    except UnfitSetting:
        raise
    except _UNFIT as error:
        raise UnfitSetting(_told(error, node, key)) from error


def _told(error: Exception, node: Mapping, key: str) -> str:
    text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    text = " ".join(text.split())
    references = _references(node, text)
    return f"{key}: {text}{f' ({references})' if references else ''}"


def _references(node: Mapping, text: str) -> str:
    """Which keys the arguments that a message speaks of refer to."""
    if not isinstance(node, DictConfig):
        return ""
    plain = cast("dict[str, Any]", OmegaConf.to_container(node, resolve=False))
    found = {
        name: value
        for name, value in plain.items()
        if isinstance(value, str) and value.startswith("${") and value[2:-1] not in text
        if re.search(rf"\b{name}\b", text)
    }
    return ", ".join(f"{name} comes from {value[2:-1]}" for name, value in found.items())
