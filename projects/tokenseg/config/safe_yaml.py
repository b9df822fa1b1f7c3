"""Reads a config.yaml from any source safely: only plain values, and only calls of known names, are accepted."""

import functools
import logging
import re
from collections.abc import Iterator
from typing import Any

import yaml
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone.resnet import BottleneckBlock
from detectron2.utils.registry import locate
from omegaconf import DictConfig, OmegaConf

from .callables import DETECTION, OURS

logger = logging.getLogger(__name__)

TRUST = "if you trust the file, use --trust-config, or trust_config=True in Python"
# The allowed interpolations: a reference to another key, in which brackets may contain the value of a key, or the count
# of a key's items. OmegaConf's own resolvers are not allowed, since they could construct a `_target_` from text.
_INTERPOLATION = re.compile(r"\$\{(?:count:\$\{[\w.\[\]]+\}|(?:[\w.\[\]]|\[\$\{[\w.\[\]]+\}\])+)\}")


class _PlainLoader(yaml.SafeLoader):
    """Loads plain values, tuples, and the two types of Detectron2 whose values its configs contain.

    These are `ShapeSpec` and the class `BottleneckBlock`.
    """

    def construct_tuple(self, node: yaml.SequenceNode) -> tuple:
        return tuple(self.construct_sequence(node, deep=True))

    def construct_shape(self, node: yaml.Node) -> ShapeSpec:
        if isinstance(node, yaml.MappingNode):
            return ShapeSpec(**self.construct_mapping(node, deep=True))
        return ShapeSpec(*self.construct_sequence(node, deep=True))

    def construct_block(self, node: yaml.ScalarNode) -> type:
        return BottleneckBlock


_PYTHON = "tag:yaml.org,2002:python"
_SHAPE, _BLOCK = (f"{kind.__module__}.{kind.__qualname__}" for kind in (ShapeSpec, BottleneckBlock))
_PlainLoader.add_constructor(f"{_PYTHON}/tuple", _PlainLoader.construct_tuple)
_PlainLoader.add_constructor(f"{_PYTHON}/name:{_BLOCK}", _PlainLoader.construct_block)
for _kind in ("object", "object/new"):  # ShapeSpec is a dataclass in some versions of Detectron2, a tuple in others
    _PlainLoader.add_constructor(f"{_PYTHON}/{_kind}:{_SHAPE}", _PlainLoader.construct_shape)


def read_plain(path: str) -> dict:
    """Read the values of a config.yaml, without checking which names they would call.

    Args:
        path: The path of the file.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It does not contain a mapping.
        yaml.YAMLError: The file is not YAML, or has values that `_PlainLoader` does not accept.
    """
    with open(path, encoding="utf-8") as file:
        content = yaml.load(file, Loader=_PlainLoader)
    if not isinstance(content, dict):
        raise ValueError(f"it contains a {type(content).__name__}; wanted a mapping of model, dataloader and train")
    return content


def load_yaml(path: str) -> DictConfig:
    """Load a config.yaml, and refuse anything in it that could run code, now or when the config is instantiated.

    Args:
        path: The path of the file.

    Raises:
        ValueError: The file calls a name that is not among `known_names`, or uses OmegaConf's resolvers.
        yaml.YAMLError: The file is not YAML, or has values that `_PlainLoader` does not accept.
    """
    content = read_plain(path)
    if not isinstance(content.get("train", {}), dict):
        raise ValueError(f"train is a {type(content['train']).__name__}; wanted a mapping")
    for key, value in _leaves(content):
        if key.rpartition(".")[2] == "_target_":
            _check_target(key, value)
        elif isinstance(value, str) and "${" in _INTERPOLATION.sub("", value):
            raise ValueError(f"{key} is {value!r}; wanted only other keys in ${{}}, or count: of a key; {TRUST}")
    config = OmegaConf.create(content, flags={"allow_objects": True})
    if content.get("train", {}).get("allow_pickle"):
        config.train.allow_pickle = False
        logger.warning("train.allow_pickle in %s is ignored; only the command line can allow pickles", path)
    return config


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, object]]:
    """Yield the dotted key and the value of every leaf, and of every `_target_` even if its value is no leaf."""
    is_mapping = isinstance(node, dict)
    if key.rpartition(".")[2] == "_target_" or not (is_mapping or isinstance(node, (list, tuple))):
        yield key, node
        return
    for place, value in node.items() if is_mapping else enumerate(node):
        if isinstance(place, str) and "${" in place:
            yield f"the name of a key of {key or 'the file'}", place
        yield from _leaves(value, f"{key}.{place}" if key else str(place))


def _check_target(key: str, name: object) -> None:
    if not isinstance(name, str) or name not in known_names() | other_spellings():
        raise ValueError(
            f"{key.removesuffix('._target_')} would call {str(name)[:80]}, which no config of TokenSeg calls; {TRUST}"
        )


def known_names() -> set[str]:
    """Return the names that a .yaml file may call."""
    return {*OURS, *DETECTION}


@functools.cache
def other_spellings() -> set[str]:
    """Return the known names with the modules that define them.

    LazyConfig saves a callable by the module that defines it, which differs between versions of torch and Detectron2.
    """
    spellings = set()
    for name in known_names():
        try:
            found = locate(name)
        except Exception:  # the name does not exist in the installed version
            continue
        spellings.add(f"{found.__module__}.{found.__qualname__}")
    return spellings
