"""Parameter groups and learning rate schedules, by rules that stand in the config."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import timm.layers
from detectron2.solver.lr_scheduler import WarmupParamScheduler
from fvcore.common.param_scheduler import MultiStepParamScheduler, ParamScheduler, PolynomialDecayParamScheduler
from timm.models import group_parameters
from torch import nn

_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.LocalResponseNorm,
    nn.RMSNorm,
    timm.layers.RmsNorm,
    timm.layers.RmsNorm2d,
    timm.layers.SimpleNorm,
    timm.layers.SimpleNorm2d,
)


@runtime_checkable
class HasLayers(Protocol):
    """A timm model, which knows to which of its layers a parameter belongs."""

    def group_matcher(self, coarse: bool = False) -> Mapping[str, Any]:
        """timm's patterns of parameter names, one set a layer."""


@runtime_checkable
class ExemptsParameters(Protocol):
    """A module that names parameters without weight decay, by timm's convention."""

    def no_weight_decay(self) -> Iterable[str]:
        """Names of parameters of the module."""


def parameter_groups(
    *,
    model: nn.Module,
    lr: float,
    weight_decay: float,
    lr_factors: Mapping[str, float] | None = None,
    decay_norms: bool | Sequence[str] = False,
    layer_decay: float = 1.0,
) -> list[dict]:
    """Optimiser groups of the trainable parameters, one per pair of learning rate and weight decay.

    Parameters that a module names in its `no_weight_decay()` (timm's convention: position codes, class tokens) have no
    decay.

    Args:
        model: The model whose parameters are grouped.
        lr: The base learning rate.
        weight_decay: The weight decay of all parameters without another rule.
        lr_factors: The factor on the base learning rate for parameters whose names begin with a key; the longest match
            counts.
        decay_norms: Whether weights and biases of norms decay; or beginnings of names, for norms below which they do.
        layer_decay: The factor on the learning rate from each layer of a timm backbone to the layer before it, by which
            pretrained ViTs such as BEiT and DINOv3 are fine-tuned; multiplied with `lr_factors`. timm says which layers
            there are: first patches and position codes, then a layer per block. With four blocks and a decay of d,
            these are d ** 5 and d ** 4 to d; everything outside the timm model has 1.

    Raises:
        ValueError: No parameter's name begins with a key of `lr_factors` or an item of `decay_norms`, unless that names
            a part without parameters, such as extra losses that were left out; or `layer_decay` is out of range or
            given for a model without layers.
    """
    layers = dict(_layer_factors(model, layer_decay))
    lr_factors = dict(lr_factors or {})
    if isinstance(decay_norms, str):
        raise ValueError(f"decay_norms is '{decay_norms}'; wanted true, false, or a list of the beginnings of names")
    decaying = [] if isinstance(decay_norms, bool) else list(decay_norms)
    _check_prefixes(model, lr_factors, "lr_factors")
    _check_prefixes(model, decaying, "decay_norms")
    exempt = _without_decay(model, decaying=("",) if decay_norms is True else tuple(decaying))
    groups = defaultdict(list)
    for name, parameter in model.named_parameters():
        prefixes = [prefix for prefix in lr_factors if name.startswith(prefix)]
        if not parameter.requires_grad:
            continue
        factor = (lr_factors[max(prefixes, key=len)] if prefixes else 1.0) * layers.get(name, 1.0)
        groups[lr * factor, 0.0 if name in exempt else weight_decay].append(parameter)
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]


def _check_prefixes(model: nn.Module, prefixes: Iterable[str], argument: str) -> None:
    names = [name for name, _ in model.named_parameters()]
    unused = [prefix for prefix in prefixes if not any(name.startswith(prefix) for name in names)]
    unused = sorted(prefix for prefix in unused if not _is_left_out(model, prefix))
    if unused:
        parts = sorted({name.split(".")[0] for name in names})
        raise ValueError(
            f"no parameter's name begins with {', '.join(map(repr, unused))} ({argument}); "
            f"names begin with {', '.join(parts)}"
        )


def _is_left_out(model: nn.Module, prefix: str) -> bool:
    """Whether a prefix is the name of a module that has no parameters, or lies in one."""
    modules = dict(model.named_modules())
    while prefix and prefix not in modules:
        prefix = prefix.rpartition(".")[0]
    return bool(prefix) and not any(True for _ in modules[prefix].parameters())


def _layer_factors(model: nn.Module, decay: float) -> Iterator[tuple[str, float]]:
    """Names of the parameters in layers of timm models, and the factors on their learning rates."""
    if not 0 < decay <= 1:
        raise ValueError(f"layer_decay is {decay}; wanted above 0, and at most 1, which is none")
    if decay == 1:
        return
    found: list[str] = []
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        layered: Any = module  # a Module still, which mypy forgets where it is asked for a protocol
        if isinstance(module, HasLayers) and not any(prefix.startswith(outer) for outer in found):
            found.append(prefix)
            places = group_parameters(layered, module.group_matcher(coarse=False), reverse=True)
            above = max(places.values()) + 1
            yield from ((prefix + name, decay ** (above - place)) for name, place in places.items())
    if not found:
        raise ValueError(f"layer_decay is {decay}, but {type(model).__name__} has no timm model, which has layers")


def _without_decay(model: nn.Module, *, decaying: tuple[str, ...]) -> set[str]:
    """Names of parameters that their modules exempt, and of those of norms, unless they begin as one of `decaying`."""
    names = set()
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        if isinstance(module, ExemptsParameters):
            names |= {prefix + name for name in module.no_weight_decay()}
        if isinstance(module, _NORMS):
            own = {prefix + name for name, _ in module.named_parameters(recurse=False)}
            names |= {name for name in own if not name.startswith(decaying)}
    return names


class WarmupPoly(ParamScheduler):
    """The factor of `warmup_poly` at a share of the training between 0 and 1."""

    def __init__(self, *, max_iter: int, warmup_iter: int, power: float, warmup_factor: float) -> None:
        self.poly = PolynomialDecayParamScheduler(base_value=1.0, power=power)
        self.max_iter, self.warmup_iter, self.warmup_factor = max_iter, warmup_iter, warmup_factor

    def __call__(self, where: float) -> float:
        to_go = max(1 - where * self.max_iter / self.warmup_iter, 0.0) if self.warmup_iter else 0.0
        return self.poly(where) * (1 - to_go * (1 - self.warmup_factor))


def warmup_poly(*, max_iter: int, warmup_iter: int, power: float, warmup_factor: float = 1e-6) -> ParamScheduler:
    """Factor on the learning rate: (1 - iteration / max_iter) ** power, times a line that rises in the warm-up to 1.

    The product, iteration by iteration, is the curve of mmcv's linear warm-up with a polynomial, which the authors of
    StructToken, SegViT and ECENet trained with, and of Detectron2's WarmupPolyLR.

    Args:
        max_iter: The number of iterations of the training.
        warmup_iter: The number of iterations of the warm-up.
        power: The power of the polynomial.
        warmup_factor: Where the line begins, at iteration 0.

    Raises:
        ValueError: The warm-up is longer than the training.
    """
    _check_warmup(max_iter, warmup_iter)
    return WarmupPoly(max_iter=max_iter, warmup_iter=warmup_iter, power=power, warmup_factor=warmup_factor)


def warmup_step(
    *, max_iter: int, milestones: Sequence[int], warmup_iter: int, gamma: float = 0.1, warmup_factor: float = 1e-3
) -> ParamScheduler:
    """Factor on the learning rate: linear warm-up from `warmup_factor`, then 1, times `gamma` from each milestone on.

    Args:
        max_iter: The number of iterations of the training.
        milestones: The iterations at which the rate falls, ascending.
        warmup_iter: The number of iterations of the warm-up, which ends before the first milestone.
        gamma: The factor at a milestone.
        warmup_factor: The factor at iteration 0.

    Raises:
        ValueError: The milestones are out of order or outside the training, or the warm-up goes beyond the first.
    """
    steps = list(milestones)
    if steps != sorted(set(steps)) or (steps and not 0 < steps[0] <= steps[-1] < max_iter):
        raise ValueError(
            f"lr_multiplier.milestones are {steps}; wanted them ascending, above 0 and below train.max_iter, {max_iter}"
        )
    if steps and warmup_iter > steps[0]:
        raise ValueError(f"lr_multiplier.warmup_iter is {warmup_iter}; wanted at most the first milestone, {steps[0]}")
    falling = MultiStepParamScheduler(
        [gamma**place for place in range(len(steps) + 1)], num_updates=max_iter, milestones=steps
    )
    _check_warmup(max_iter, warmup_iter)
    if warmup_iter == 0:
        return falling
    return WarmupParamScheduler(falling, warmup_factor=warmup_factor, warmup_length=warmup_iter / max_iter)


def _check_warmup(max_iter: int, warmup_iter: int) -> None:
    if not 0 <= warmup_iter <= max_iter:
        raise ValueError(
            f"lr_multiplier.warmup_iter is {warmup_iter}; wanted 0 to train.max_iter, {max_iter} "
            "(give lr_multiplier.warmup_iter=0 for a short trial)"
        )
