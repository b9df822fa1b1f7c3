"""Finds the backbone of a model and the components around it, and compares them with an exported file."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from .contracts import ExportableBackbone, TellsFacts, normalises_pixels
from .sgr.plug import ReasoningBackbone

# The name of the batch counter of batch norms. Frozen batch norms have none, and nothing here reads it.
COUNT = "num_batches_tracked"
# The output stride of a model without dilation.
_UNDILATED = 32


@dataclass(frozen=True)
class BackboneParts:
    """The parts of a model that are exported, and that are filled when a file is loaded.

    Attributes:
        path: The dotted name of the backbone in the model; "" if it is the model itself.
        backbone: The backbone without its wrappers, a module that is an `ExportableBackbone`.
        components: Name of a map -> the dotted name and the module of the component on this map. Only components
            directly around the backbone are listed.
    """

    path: str
    backbone: Any
    components: Mapping[str, tuple[str, nn.Module]]

    def names(self) -> dict[str, str]:
        """Return the name of each weight in an exported file -> its name in the model."""
        sources = {"backbone": (self.path, self.backbone)}
        sources |= {f"components.{feature}": found for feature, found in self.components.items()}
        return {
            f"{prefix}.{name}": f"{path}.{name}".lstrip(".")
            for prefix, (path, part) in sources.items()
            for name in part.state_dict()
            if not name.endswith(COUNT)
        }


def find_parts(model: nn.Module) -> BackboneParts:
    """Find the backbone of a model, at any depth and in any wrapper, and the components directly around it.

    Raises:
        ValueError: The model has no backbone that can be exported, or several, or two components on one map.
    """
    found = [(path, part) for path, part in model.named_modules() if isinstance(part, ExportableBackbone)]
    if len(found) != 1:
        shown = ", ".join(f"{path or 'the model'} ({type(part).__name__})" for path, part in found) or "none"
        raise ValueError(
            f"of the parts of {type(model).__name__}, these are backbones that can be exported: {shown}; wanted "
            "exactly one, a TimmPyramid or a PlainViT (Detectron2's own ResNet cannot be exported)"
        )
    path, backbone = found[0][0], model.get_submodule(found[0][0])
    components: dict[str, tuple[str, nn.Module]] = {}
    for place, wrapper in _wrappers(model, backbone):
        for feature, part in wrapper.components.items():
            if feature in components:
                raise ValueError(f"there are two components on the map {feature} of the backbone; wanted one")
            components[feature] = f"{place}.components.{feature}".lstrip("."), part
    return BackboneParts(path, backbone, components)


def _wrappers(model: nn.Module, backbone: nn.Module) -> Iterator[tuple[str, ReasoningBackbone]]:
    """Yield the wrappers with components directly around a backbone, from the inside out.

    Wrappers around an FPN are not included, since their components belong to the FPN.
    """
    around = {
        part.backbone: (path, part) for path, part in model.named_modules() if isinstance(part, ReasoningBackbone)
    }
    while backbone in around:
        path, backbone = around[backbone]
        yield path, backbone


def facts_of(model: nn.Module, parts: BackboneParts, *, image_format: str | None = None) -> dict[str, dict]:
    """Collect the facts about a model that its weights do not show, as plain values of JSON.

    Args:
        model: The model.
        parts: Its backbone and the components around it.
        image_format: The order of the channels; None for the model's own `input_format`, if it has one.

    Returns:
        The facts of the `backbone`; of the `components`, by the names of their maps; and of the `pixels`: `mean`, `std`
        and `image_format`, each None if it is unknown, like mean and std of a backbone without a model around it.
    """
    around = next((part for part in model.modules() if normalises_pixels(part)), None)
    facts = dict(
        backbone=_described(parts.backbone),
        components={feature: _described(part) for feature, (_, part) in parts.components.items()},
        pixels=dict(
            mean=None if around is None else _rounded(around.pixel_mean),
            std=None if around is None else _rounded(around.pixel_std),
            image_format=image_format or getattr(around, "input_format", None),
        ),
    )
    # After this round trip, tuples are lists, so that facts of a model and of a file can be compared.
    return json.loads(json.dumps(facts, default=str))


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 4) for value in values.flatten().tolist()]


def _described(part: nn.Module) -> dict[str, Any]:
    return dict(kind=type(part).__name__) | (part.facts() if isinstance(part, TellsFacts) else {})


def check_facts(got: Mapping[str, Mapping], wanted: Mapping[str, Mapping], *, accept_stride: int | None) -> None:
    """Refuse a backbone that differs from that of the model, or that expects different pixels.

    One difference is allowed: a backbone that halves its grid on the way, like that of Shrunk, may start from one that
    does not.

    Args:
        got: The facts of an exported file.
        wanted: The facts of the model. Unknown facts of its pixels are not compared.
        accept_stride: The output stride of the file, to allow that the model has a different one.

    Raises:
        ValueError: Facts differ. The message lists all of them.
    """
    stride = got["backbone"]["output_stride"]
    if accept_stride not in (None, stride):
        raise ValueError(f"accept_stride is {accept_stride}, but the file's output stride is {stride}")
    same_dilations = stride == wanted["backbone"]["output_stride"] != _UNDILATED
    ours, theirs = (_comparable(facts["backbone"], same_dilations) for facts in (wanted, got))
    wrong = _differing(theirs, ours, ("kind", "model_name"))  # if these differ, all others would only add noise
    if not wrong:
        free = {"img_size", "output_stride", *(["downsample"] if theirs.get("downsample") is None else [])}
        wrong = _differing(theirs, ours, sorted({*theirs, *ours} - free))
    wrong += _wrong_pixels(got["pixels"], wanted["pixels"])
    if accept_stride is None:
        hint = f" (accept_stride={stride} loads the weights nevertheless)"
        wrong += [text + hint for text in _differing(theirs, ours, ["output_stride"])]
    if wrong:
        raise ValueError("; ".join(wrong))


def check_component(feature: str, got: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise a ValueError if a component on a map has different facts in a file and in the model."""
    wrong = _differing(got, wanted, ["kind"]) or _differing(got, wanted, sorted({*got, *wanted}))
    if wrong:
        raise ValueError(f"the component on {feature}: {'; '.join(wrong)}")


def _comparable(facts: Mapping[str, Any], same_dilations: bool) -> dict[str, Any]:
    """Remove differences between facts that have no effect.

    The tag in timm's model name names timm's pretrained weights, which are not used. A multi-grid whose factors are all
    1 differs from no multi-grid only in dilated models, so it is only compared if both sides have the same dilation.
    """
    found = {**facts, "model_name": facts["model_name"].split(".")[0]}
    if not same_dilations and set(facts.get("multi_grid") or ()) == {1}:
        found["multi_grid"] = None
    return found


def _differing(got: Mapping[str, Any], wanted: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    return [
        f"{name} is {got.get(name)} in the file, {wanted.get(name)} in the model"
        for name in names
        if got.get(name) != wanted.get(name)
    ]


def _wrong_pixels(got: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    known = [name for name, value in wanted.items() if value is not None]
    wrong = _differing(got, wanted, known)
    if wanted["mean"] and got["mean"] != wanted["mean"] and got["mean"] == wanted["mean"][::-1]:
        wrong.append("the mean is that of the file in reverse, so the order of the channels differs")
    return [text if text.startswith("the mean") else f"the pixels' {text}" for text in wrong]
