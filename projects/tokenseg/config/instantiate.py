"""Builds the objects that a config describes, with errors that name the key at fault."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, cast

from detectron2.utils.registry import locate
from omegaconf import DictConfig, ListConfig, OmegaConf

# The errors that a constructor may raise because of unsuitable arguments. Other errors, such as missing files, are not
# converted.
_UNFIT = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)


class UnfitSetting(ValueError):
    """A node of a config cannot be built. The message begins with its key."""


def instantiate(node: object) -> Any:
    """Build a node of a config like Detectron2's `instantiate`: call its `_target_` with the other keys as arguments.

    Inner nodes are built first. Lists among the arguments become plain lists, where Detectron2's stay nodes of a
    config: an optimiser keeps its `betas`, and torch refuses to load a checkpoint in which they are not plain.

    Args:
        node: A mapping with `_target_`, a list of such mappings, or an object that OmegaConf has wrapped, which is
            given back as it was. Anything else is returned unchanged.

    Raises:
        UnfitSetting: A call raised an error that its arguments may have caused. The message names the key of the call,
            and the keys to which its arguments refer.
    """
    key = node._get_full_key(None) if isinstance(node, (DictConfig, ListConfig)) else ""
    return _build(node, key)


def _build(node: object, key: str) -> Any:
    if isinstance(node, (list, ListConfig)):
        return [_build(item, f"{key}.{place}") for place, item in enumerate(node)]
    if isinstance(node, DictConfig) and dataclasses.is_dataclass(OmegaConf.get_type(node)):
        return OmegaConf.to_object(node)  # OmegaConf keeps an object, such as a ShapeSpec, as its fields
    if not isinstance(node, Mapping) or "_target_" not in node:
        return node
    arguments = {str(name): _build(value, f"{key}.{name}") for name, value in node.items()}
    target = arguments.pop("_target_")
    try:
        call = locate(target) if isinstance(target, str) else target
    except Exception as error:  # Detectron2 uses Hydra here, which raises several types for a name that does not exist
        reason = " ".join(str(error).split())
        raise UnfitSetting(f"{key} calls {target}, which cannot be imported: {reason}") from error
    if not callable(call):
        raise UnfitSetting(f"{key} calls {target}, which is not callable")
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
    """Describe the keys to which arguments refer, for those arguments that an error message mentions."""
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
