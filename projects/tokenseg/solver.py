"""Parameter groups of the optimiser and learning rate schedules, by rules from the config."""

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
    """A timm model, which defines the layer to which each parameter belongs."""

    def group_matcher(self, coarse: bool = False) -> Mapping[str, Any]:
        """Return timm's patterns of parameter names, which define the layers."""


@runtime_checkable
class ExemptsParameters(Protocol):
    """A module that lists its parameters without weight decay, by timm's convention."""

    def no_weight_decay(self) -> Iterable[str]:
        """Return the names of these parameters in the module."""


def parameter_groups(
    *,
    model: nn.Module,
    lr: float,
    weight_decay: float,
    lr_factors: Mapping[str, float] | None = None,
    decay_norms: bool | Sequence[str] = False,
    layer_decay: float = 1.0,
) -> list[dict]:
    """Group the trainable parameters for the optimiser, one group per pair of learning rate and weight decay.

    Parameters that a module lists in its `no_weight_decay()` have no weight decay. By timm's convention these are
    position codes and class tokens.

    Args:
        model: The model whose parameters are grouped.
        lr: The base learning rate.
        weight_decay: The weight decay of all parameters to which no other rule applies.
        lr_factors: Prefix of parameter names -> the factor by which the base learning rate of these parameters is
            multiplied. The longest matching prefix counts.
        decay_norms: Whether the weights and biases of norms have weight decay, or the prefixes of the names of those
            norms that have it.
        layer_decay: The factor on the learning rate from each layer of a timm backbone to the layer before it, as in
            the fine-tuning of pretrained ViTs such as BEiT and DINOv3; it is multiplied with `lr_factors`. timm defines
            the layers: patches and position codes come first, then each block is a layer. With four blocks and a decay
            of d, the factors are d ** 5, then d ** 4 to d; it is 1 for everything outside the timm model.

    Raises:
        ValueError: No parameter's name begins with a prefix of `lr_factors` or `decay_norms`, and the prefix is not
            that of a part without parameters, such as extra losses that were disabled; or `layer_decay` is out of range
            or is given for a model without layers.
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
            f"wanted a prefix of a parameter's name; these begin with {', '.join(parts)}"
        )


def _is_left_out(model: nn.Module, prefix: str) -> bool:
    """Return whether a prefix is the name of a module without parameters, or of something inside one."""
    modules = dict(model.named_modules())
    while prefix and prefix not in modules:
        prefix = prefix.rpartition(".")[0]
    return bool(prefix) and not any(True for _ in modules[prefix].parameters())


def _layer_factors(model: nn.Module, decay: float) -> Iterator[tuple[str, float]]:
    """Yield the names of the parameters in layers of timm models, and the factors on their learning rates."""
    if not 0 < decay <= 1:
        raise ValueError(f"layer_decay is {decay}; wanted above 0, and at most 1, which means no decay")
    if decay == 1:
        return
    found: list[str] = []
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        layered: Any = module  # mypy forgets that this is a Module once its protocol is checked
        if isinstance(module, HasLayers) and not any(prefix.startswith(outer) for outer in found):
            found.append(prefix)
            places = group_parameters(layered, module.group_matcher(coarse=False), reverse=True)
            above = max(places.values()) + 1
            yield from ((prefix + name, decay ** (above - place)) for name, place in places.items())
    if not found:
        raise ValueError(
            f"layer_decay is {decay}, but {type(model).__name__} has no timm model; wanted 1, or a timm backbone"
        )


def _without_decay(model: nn.Module, *, decaying: tuple[str, ...]) -> set[str]:
    """Find the names of parameters without weight decay.

    These are the parameters that their modules exempt, and those of norms whose names do not begin with one of
    `decaying`.
    """
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
    """The schedule of `warmup_poly`, a function of the completed share of the training between 0 and 1."""

    def __init__(self, *, max_iter: int, warmup_iter: int, power: float, warmup_factor: float) -> None:
        self.poly = PolynomialDecayParamScheduler(base_value=1.0, power=power)
        self.max_iter, self.warmup_iter, self.warmup_factor = max_iter, warmup_iter, warmup_factor

    def __call__(self, where: float) -> float:
        to_go = max(1 - where * self.max_iter / self.warmup_iter, 0.0) if self.warmup_iter else 0.0
        return self.poly(where) * (1 - to_go * (1 - self.warmup_factor))


def warmup_poly(*, max_iter: int, warmup_iter: int, power: float, warmup_factor: float = 1e-6) -> ParamScheduler:
    """Create a polynomial schedule with linear warm-up.

    The factor on the learning rate is (1 - iteration / max_iter) ** power, multiplied during the warm-up by a factor
    that rises linearly to 1. At every iteration this equals mmcv's polynomial schedule with linear warm-up, with which
    the authors of StructToken, SegViT and ECENet trained, and Detectron2's WarmupPolyLR.

    Args:
        max_iter: The number of iterations of the training.
        warmup_iter: The number of iterations of the warm-up.
        power: The power of the polynomial.
        warmup_factor: The factor at the beginning of the warm-up, at iteration 0.

    Raises:
        ValueError: The warm-up is longer than the training.
    """
    _check_warmup(max_iter, warmup_iter)
    return WarmupPoly(max_iter=max_iter, warmup_iter=warmup_iter, power=power, warmup_factor=warmup_factor)


def warmup_step(
    *, max_iter: int, milestones: Sequence[int], warmup_iter: int, gamma: float = 0.1, warmup_factor: float = 1e-3
) -> ParamScheduler:
    """Create a step schedule with linear warm-up.

    The factor on the learning rate rises linearly from `warmup_factor` to 1, and is multiplied by `gamma` at each
    milestone.

    Args:
        max_iter: The number of iterations of the training.
        milestones: The iterations at which the learning rate falls, in ascending order.
        warmup_iter: The number of iterations of the warm-up, which must end by the first milestone.
        gamma: The factor by which the learning rate is multiplied at each milestone.
        warmup_factor: The factor at iteration 0.

    Raises:
        ValueError: The milestones are out of order or outside the training, or the warm-up is negative, longer than
            the training, or ends after the first milestone.
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
            "(set lr_multiplier.warmup_iter=0 for a short trial)"
        )
