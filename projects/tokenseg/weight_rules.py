"""Checkpoints of other code: rules from its names of weights to ours, which must leave nothing over.

A method's rules stand in its `convert.py`, a backbone's beside it; `commands/convert_weights.py` brings them together.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

# Keys under which training code stores weights.
WRAPPERS = ("state_dict", "model")


@dataclass(frozen=True)
class WeightRule:
    """Where weights of certain names go.

    Attributes:
        source: Regular expression that matches the whole of their name.
        target: Our name, with the groups of `source` as in `re.Match.expand`; several names share the rows of the value
            in equal parts; None drops the weight.
        transform: From their value to ours; None leaves it as it is.
    """

    source: str
    target: str | tuple[str, ...] | None
    transform: Callable[[Tensor], Tensor] | None = None

    def values(self, value: Tensor) -> tuple[Tensor, ...]:
        """The values for our names, of theirs."""
        value = self.transform(value) if self.transform else value
        return value.tensor_split(len(self.target)) if isinstance(self.target, tuple) else (value,)


def layer_rules(source: str, target: str, layers: Mapping[str, str]) -> list[WeightRule]:
    """Rules for layers that have a weight, a bias or both.

    Args:
        source: Regular expression for the name of the module that they lie in.
        target: Ours for it, with the groups of `source`.
        layers: Their names in these modules, theirs to ours.
    """
    return [
        WeightRule(rf"{source}\.{re.escape(theirs)}\.(?P<tensor>weight|bias)", rf"{target}.{ours}.\g<tensor>")
        for theirs, ours in layers.items()
    ]


def unwrap(checkpoint: object) -> dict[str, Tensor]:
    """The weights of a checkpoint that was read: out of what wraps them, their names without the prefix `module.`.

    Arrays, as Detectron2 publishes them, become tensors.

    Raises:
        ValueError: It holds no weights.
    """
    state: Any = checkpoint
    while isinstance(state, Mapping) and (wrapper := next((key for key in WRAPPERS if key in state), None)):
        state = state[wrapper]
    if isinstance(state, Mapping):
        state = {name: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for name, v in state.items()}
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        found = ", ".join(map(str, list(state)[:5])) if isinstance(state, Mapping) else type(state).__name__
        raise ValueError(
            f"the checkpoint holds {found or 'nothing'}; wanted weights by name, alone or as {' or '.join(WRAPPERS)}"
        )
    weights = dict(state)
    consume_prefix_in_state_dict_if_present(weights, "module.")
    return weights


def convert(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], rules: Iterable[WeightRule]
) -> tuple[dict[str, Tensor], list[str]]:
    """Their weights under our names.

    Args:
        state: Theirs.
        wanted: Ours, with the shapes and types that they shall have; on any device, `meta` too.
        rules: Exactly one for every name of `state`.

    Returns:
        A weight for every name of `wanted`, and the names of `state` that a rule drops.

    Raises:
        ValueError: A weight that no rule knows, that has no place in the model, is missing or of another shape.
    """
    problems: dict[str, list[str]] = defaultdict(list)
    homes, dropped = _homes(state, list(rules), problems)
    converted = {}
    for target, (name, rule, part) in homes.items():
        if target not in wanted:
            problems["without a place in the model"].append(f"{name} ({target})")
            continue
        value = rule.values(state[name])[part]
        if value.shape != wanted[target].shape:
            problems["of another shape"].append(f"{name} {tuple(value.shape)}, wanted {tuple(wanted[target].shape)}")
        # a copy, since of a view all would be saved that it views
        converted[target] = value.to(wanted[target].dtype, copy=True)
    problems["missing for the model"] += [target for target in wanted if target not in homes]
    report = "; ".join(f"{len(names)} {kind}: {', '.join(names[:3])}" for kind, names in problems.items() if names)
    if report:
        raise ValueError(f"the checkpoint is not of this model: {report}")
    return {target: converted[target] for target in wanted}, dropped


def _homes(
    names: Iterable[str], rules: list[WeightRule], problems: dict[str, list[str]]
) -> tuple[dict[str, tuple[str, WeightRule, int]], list[str]]:
    """Our name -> (their name, its rule, which of its values), and their names that are dropped; `problems` takes what
    does not fit."""
    homes: dict[str, tuple[str, WeightRule, int]] = {}
    dropped = []
    for name in names:
        found = list(_matches(name, rules))
        if len(found) != 1:
            problems["that several rules match" if found else "that no rule knows"].append(name)
            continue
        targets, rule = found[0]
        if not targets:
            dropped.append(name)
        for part, target in enumerate(targets):
            if target in homes:
                problems["for a place that is taken"].append(f"{name} ({target}, by {homes[target][0]})")
            else:
                homes[target] = name, rule, part
    return homes, dropped


def _matches(name: str, rules: list[WeightRule]) -> Iterator[tuple[list[str], WeightRule]]:
    """Our names, none to drop it, by every rule that matches."""
    for rule in rules:
        match = re.fullmatch(rule.source, name)
        if match:
            targets = (rule.target,) if isinstance(rule.target, str) else rule.target or ()
            yield [match.expand(target) for target in targets], rule
