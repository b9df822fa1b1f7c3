"""Finds the tokens, attention and regions in a model, and measures them without changing the model's state."""

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..contracts import HasRegions, HasTokens
from ..layers.attention import Attention
from ..segmentor import Segmentor
from .measures import attention_entropy, dead_tokens, mean_cosine, region_masses, variance_shares


def measure(model: nn.Module, inputs: Sequence[dict]) -> dict[str, float]:
    """Run a model on images in eval mode, and measure every part that can collapse.

    Weights, buffers, modes and random number generators are the same afterwards as before.

    Args:
        model: The model. A `Segmentor` runs the images as one batch, whatever its inference policy; any other model is
            called with them.
        inputs: The records of two images or more, of the same size.

    Returns:
        `<name of the part>/<measure>` -> value, in the order of the model's parts. A part with tokens has
        `image`, `token`, `image_x_token`, `cosine` and `dead_tokens`; cross-attention has `entropy`; a part with
        regions has `mass` and `dead_regions`.
    """
    found: dict[str, dict[str, float]] = {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(undisturbed(model))
        stack.enter_context(torch.no_grad())
        for handle in _probes(model, found):
            stack.callback(handle.remove)
        if isinstance(model, Segmentor):
            model.predict(model.normalised(list(inputs)))
        else:
            model(list(inputs))
    return {f"{part}/{name}": value for part, values in found.items() for name, value in values.items()}


@contextlib.contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Inside the block a model is in eval mode. After it, all modes and random states are as before."""
    modes = [(part, part.training) for part in model.modules()]
    states = random.getstate(), np.random.get_state()
    devices = {parameter.device for parameter in model.parameters() if parameter.is_cuda}
    model.eval()
    try:
        with torch.random.fork_rng(list(devices)):
            yield
    finally:
        for part, mode in modes:
            part.training = mode
        random.setstate(states[0])
        np.random.set_state(states[1])


def _probes(model: nn.Module, found: dict[str, dict[str, float]]) -> Iterator[torch.utils.hooks.RemovableHandle]:
    """Register hooks on the parts that can be measured. Each hook writes its values to `found` by the part's name."""
    for name, part in model.named_modules():
        register = part.register_forward_hook
        if isinstance(part, HasTokens):
            yield part.token_part().register_forward_hook(_token_probe(found, name or "model"))
        if isinstance(part, Attention):
            yield part.register_forward_pre_hook(_attention_probe(found, name), with_kwargs=True)
        if isinstance(part, HasRegions):
            yield register(_region_probe(found, name or "model"))


def _token_probe(found: dict[str, dict[str, float]], name: str) -> Callable[..., None]:
    def probe(_part: nn.Module, _inputs: tuple, output: Tensor | tuple[Tensor, ...]) -> None:
        tokens = (output if isinstance(output, Tensor) else output[0]).flatten(2)
        values = variance_shares(tokens) | {"cosine": mean_cosine(tokens), "dead_tokens": dead_tokens(tokens)}
        found.setdefault(name, {}).update(values)

    return probe


def _attention_probe(found: dict[str, dict[str, float]], name: str) -> Callable[..., None]:
    def probe(part: Attention, inputs: tuple, options: dict) -> None:
        tokens, memory = inputs[:2]
        if tokens is memory or torch.equal(tokens, memory):
            return  # self-attention of tokens may be uniform without being collapsed
        allowed = options.get("allowed")
        entropy = attention_entropy(part.weights(tokens, memory, allowed=allowed), allowed)
        found.setdefault(name, {})["entropy"] = entropy

    return probe


def _region_probe(found: dict[str, dict[str, float]], name: str) -> Callable[..., None]:
    def probe(part: HasRegions, inputs: tuple, output: object) -> None:
        beside = output[-1] if isinstance(output, tuple) else output
        if not isinstance(beside, Mapping):
            return  # a component inside a backbone; the backbone reports its regions
        features = beside if beside is output else {**inputs[0], **beside}
        found.setdefault(name, {}).update(region_masses(part.region_weights(features)))

    return probe
