"""Reading a config.yaml that may come from anywhere: plain values alone, and calls of known names alone."""

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

TRUST = "if you trust the file, say --trust-config, in Python trust_config=True"
# Another key of the config, which may have the value of a key between brackets, or the number of items of one;
# OmegaConf's own resolvers could make a call out of text.
_INTERPOLATION = re.compile(r"\$\{(?:count:\$\{[\w.\[\]]+\}|(?:[\w.\[\]]|\[\$\{[\w.\[\]]+\}\])+)\}")


class _PlainLoader(yaml.SafeLoader):
    """YAML's plain values, tuples, and what of Detectron2 its configs hold as values: a shape, and a kind of block."""

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
for _kind in ("object", "object/new"):  # a tuple in some versions, a class in others
    _PlainLoader.add_constructor(f"{_PYTHON}/{_kind}:{_SHAPE}", _PlainLoader.construct_shape)


def read_plain(path: str) -> dict:
    """Read the values of a config.yaml, without a look at what they would call.

    Args:
        path: The path of the file.

    Raises:
        ValueError: The file holds no mapping.
        yaml.YAMLError: The file is no YAML, or holds more than plain values, tuples, and what Detectron2's configs do.
    """
    with open(path, encoding="utf-8") as file:
        content = yaml.load(file, Loader=_PlainLoader)
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}; wanted a mapping of model, dataloader and train")
    return content


def load_yaml(path: str) -> DictConfig:
    """Load a config.yaml of which nothing can run code, now or when it is instantiated.

    Args:
        path: The path of the file.

    Raises:
        ValueError: The file holds more than plain values and tuples, calls a name that no config of the checkout and
            none of Detectron2's for detection has, or makes values by OmegaConf's resolvers.
        yaml.YAMLError: The file is no YAML.
    """
    content = read_plain(path)
    if not isinstance(content.get("train", {}), dict):
        raise ValueError(f"train is a {type(content['train']).__name__}; wanted a mapping")
    for key, value in _leaves(content):
        if key.rpartition(".")[2] == "_target_":
            _check_target(key, value)
        elif isinstance(value, str) and "${" in _INTERPOLATION.sub("", value):
            raise ValueError(f"{key} is {value!r}; wanted nothing but other keys in ${{}}, or count: of one; {TRUST}")
    config = OmegaConf.create(content, flags={"allow_objects": True})
    if content.get("train", {}).get("allow_pickle"):
        config.train.allow_pickle = False
        logger.warning("train.allow_pickle of %s does not count; a pickle is read where the command line says it", path)
    return config


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, object]]:
    """Every value of a config with its key, and whatever stands behind `_target_`."""
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
            f"{key.removesuffix('._target_')} would call {str(name)[:80]}, which no config of TokenSeg names; {TRUST}"
        )


def known_names() -> set[str]:
    """The names that a .yaml may call."""
    return {*OURS, *DETECTION}


@functools.cache
def other_spellings() -> set[str]:
    """The known names by the modules that define them, as other versions of torch and Detectron2 may save them."""
    spellings = set()
    for name in known_names():
        try:
            found = locate(name)
        except Exception:  # not in this version
            continue
        spellings.add(f"{found.__module__}.{found.__qualname__}")
    return spellings
