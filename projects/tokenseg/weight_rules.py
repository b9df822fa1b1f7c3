"""Converts checkpoints of other code by rules that rename its weights. Every weight must be covered by a rule.

The rules of a method are in its `convert.py`, those of a backbone in a module beside it; the command
`commands/convert_weights.py` combines them. "Their" names are those of the other code, "our" names those of this
package.
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

# The keys under which training code commonly stores the weights of a checkpoint.
WRAPPERS = ("state_dict", "model")


@dataclass(frozen=True)
class WeightRule:
    """A rule for the weights whose names match a pattern.

    Attributes:
        source: A regular expression that matches the whole of their name.
        target: Our name, in which groups of `source` are inserted as in `re.Match.expand`. With several names, the rows
            of the value are split into equal parts. None drops the weight.
        transform: A function from their value to ours; None keeps the value.
    """

    source: str
    target: str | tuple[str, ...] | None
    transform: Callable[[Tensor], Tensor] | None = None

    def values(self, value: Tensor) -> tuple[Tensor, ...]:
        """Convert their value to the values for our names."""
        value = self.transform(value) if self.transform else value
        return value.tensor_split(len(self.target)) if isinstance(self.target, tuple) else (value,)


def layer_rules(source: str, target: str, layers: Mapping[str, str]) -> list[WeightRule]:
    """Create rules for layers that have a weight, a bias or both.

    Args:
        source: A regular expression for their name of the module that contains the layers.
        target: Our name of this module, in which groups of `source` are inserted.
        layers: Their name of each layer in this module -> our name.
    """
    return [
        WeightRule(rf"{source}\.{re.escape(theirs)}\.(?P<tensor>weight|bias)", rf"{target}.{ours}.\g<tensor>")
        for theirs, ours in layers.items()
    ]


def unwrap(checkpoint: object) -> dict[str, Tensor]:
    """Extract the weights from a checkpoint, under names without the prefix `module.` of DistributedDataParallel.

    NumPy arrays, which Detectron2 publishes, become tensors.

    Args:
        checkpoint: The content of the file: weights by name, or a dict with such weights under one of `WRAPPERS`.

    Raises:
        ValueError: The checkpoint does not contain weights.
    """
    state: Any = checkpoint
    while isinstance(state, Mapping) and (wrapper := next((key for key in WRAPPERS if key in state), None)):
        state = state[wrapper]
    if isinstance(state, Mapping):
        state = {name: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for name, v in state.items()}
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        found = ", ".join(map(str, list(state)[:5])) if isinstance(state, Mapping) else type(state).__name__
        raise ValueError(
            f"the checkpoint contains {found or 'nothing'}; wanted weights by name, on their own or under the key "
            f"{' or '.join(WRAPPERS)}"
        )
    weights = dict(state)
    consume_prefix_in_state_dict_if_present(weights, "module.")
    return weights


def convert(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], rules: Iterable[WeightRule]
) -> tuple[dict[str, Tensor], list[str]]:
    """Convert their weights to our names.

    Args:
        state: Their weights by name.
        wanted: Our weights by name, of which only shapes and data types are used; they may be on the device `meta`.
        rules: The rules. Exactly one must match each name of `state`.

    Returns:
        A weight for every name of `wanted`, and the names of `state` that a rule drops.

    Raises:
        ValueError: A weight has no rule, has no place in the model, is missing for the model, or has another shape.
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
        # A copy is needed, since saving a view would also save the whole tensor that it belongs to.
        converted[target] = value.to(wanted[target].dtype, copy=True)
    problems["missing for the model"] += [target for target in wanted if target not in homes]
    report = "; ".join(f"{len(names)} {kind}: {', '.join(names[:3])}" for kind, names in problems.items() if names)
    if report:
        raise ValueError(f"the checkpoint does not fit this model: {report}")
    return {target: converted[target] for target in wanted}, dropped


def _homes(
    names: Iterable[str], rules: list[WeightRule], problems: dict[str, list[str]]
) -> tuple[dict[str, tuple[str, WeightRule, int]], list[str]]:
    """Find the source of each of our weights.

    Args:
        names: Their names.
        rules: The rules.
        problems: Kind of problem -> the names with this problem; new problems are added to it.

    Returns:
        Our name -> (their name, its rule, the index among the rule's values), and the list of their names that a rule
        drops.
    """
    homes: dict[str, tuple[str, WeightRule, int]] = {}
    dropped = []
    for name in names:
        found = list(_matches(name, rules))
        if len(found) != 1:
            problems["that several rules match" if found else "that no rule matches"].append(name)
            continue
        targets, rule = found[0]
        if not targets:
            dropped.append(name)
        for part, target in enumerate(targets):
            if target in homes:
                problems["for a place that is already taken"].append(f"{name} ({target}, by {homes[target][0]})")
            else:
                homes[target] = name, rule, part
    return homes, dropped


def _matches(name: str, rules: list[WeightRule]) -> Iterator[tuple[list[str], WeightRule]]:
    """Yield every rule that matches their name, with our names by this rule; none if the rule drops the weight."""
    for rule in rules:
        match = re.fullmatch(rule.source, name)
        if match:
            targets = (rule.target,) if isinstance(rule.target, str) else rule.target or ()
            yield [match.expand(target) for target in targets], rule
