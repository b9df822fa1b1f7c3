"""Parameter groups and learning rate schedules, by rules that stand in the config."""

from collections import defaultdict
from collections.abc import Mapping

import timm.layers
from detectron2.solver.lr_scheduler import WarmupParamScheduler
from fvcore.common.param_scheduler import ParamScheduler, PolynomialDecayParamScheduler
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


def parameter_groups(
    *,
    model: nn.Module,
    lr: float,
    weight_decay: float,
    lr_factors: Mapping[str, float] | None = None,
    decay_norms: bool = False,
) -> list[dict]:
    """Optimiser groups of the trainable parameters, one per pair of learning rate and weight decay.

    Parameters that a module names in its `no_weight_decay()` (timm's convention: position codes, class tokens) have no
    decay.

    Args:
        model: whose parameters are grouped.
        lr: base learning rate.
        weight_decay: of all parameters without another rule.
        lr_factors: beginning of parameter names -> factor on the base learning rate; the longest match counts.
        decay_norms: whether weights and biases of norms decay.

    Raises:
        ValueError: a key of `lr_factors` that no parameter's name begins with, unless it is that of a part without
            parameters, such as extra losses that were left out.
    """
    lr_factors = dict(lr_factors or {})
    exempt = _without_decay(model, decay_norms=decay_norms)
    groups, unused = defaultdict(list), set(lr_factors)
    for name, parameter in model.named_parameters():
        prefixes = [prefix for prefix in lr_factors if name.startswith(prefix)]
        unused -= set(prefixes)
        if not parameter.requires_grad:
            continue
        factor = lr_factors[max(prefixes, key=len)] if prefixes else 1.0
        groups[lr * factor, 0.0 if name in exempt else weight_decay].append(parameter)
    unused = {prefix for prefix in unused if not _is_left_out(model, prefix)}
    if unused:
        parts = sorted({name.split(".")[0] for name, _ in model.named_parameters()})
        raise ValueError(
            f"no parameter's name begins with {', '.join(map(repr, sorted(unused)))} (lr_factors); "
            f"names begin with {', '.join(parts)}"
        )
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]


def _is_left_out(model: nn.Module, prefix: str) -> bool:
    """Whether a prefix is the name of a module that has no parameters, or lies in one."""
    modules = dict(model.named_modules())
    while prefix and prefix not in modules:
        prefix = prefix.rpartition(".")[0]
    return bool(prefix) and not any(True for _ in modules[prefix].parameters())


def _without_decay(model: nn.Module, *, decay_norms: bool) -> set[str]:
    names = set()
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        if hasattr(module, "no_weight_decay"):
            names |= {prefix + name for name in module.no_weight_decay()}
        if isinstance(module, _NORMS) and not decay_norms:
            names |= {prefix + name for name, _ in module.named_parameters(recurse=False)}
    return names


def warmup_poly(*, max_iter: int, warmup_iter: int, power: float, warmup_factor: float = 1e-6) -> ParamScheduler:
    """Factor on the learning rate: linear warm-up from `warmup_factor`, then (1 - iteration / max_iter) ** power.

    Args:
        max_iter: iterations of the training.
        warmup_iter: iterations of the warm-up.
        power: of the polynomial.
        warmup_factor: factor at iteration 0.

    Raises:
        ValueError: a warm-up longer than the training.
    """
    if not 0 <= warmup_iter <= max_iter:
        raise ValueError(
            f"lr_multiplier.warmup_iter is {warmup_iter}; wanted 0 to train.max_iter, {max_iter} "
            "(give lr_multiplier.warmup_iter=0 for a short trial)"
        )
    poly = PolynomialDecayParamScheduler(base_value=1.0, power=power)
    if warmup_iter == 0:
        return poly
    return WarmupParamScheduler(poly, warmup_factor=warmup_factor, warmup_length=warmup_iter / max_iter)
