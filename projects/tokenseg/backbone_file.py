"""A trained backbone in a file of its own: exported from a model, and loaded into another model.

The file is in the safetensors format. It contains the weights of a backbone and of the components around it, such as
SGR, but no heads. Its metadata contains facts that the weights do not show: timm's name of the model, the pixels that
it expects, its output stride, further arguments, and the run that it comes from. Weights in the file are called
`backbone.<name>` and `components.<map>.<name>`. The position of these parts in a model is searched for, so an FPN or a
detector around them makes no difference. The batch counters of batch norms are left out.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from .atomic_file import replacing
from .backbone_parts import BackboneParts, check_component, check_facts, facts_of, find_parts
from .checkpoint_file import DamagedFile, check_exists

logger = logging.getLogger(__name__)

_FORMAT, _VERSION = "tokenseg backbone", "1"


@dataclass(frozen=True)
class BackboneFile:
    """The content of an exported file.

    Attributes:
        facts: The facts that the weights do not show, as plain values: those of the `backbone`; of the `components`, by
            the names of their maps; of the `pixels`; and of the `run` from which the weights come.
        weights: The weights by their names in the file.
    """

    facts: Mapping[str, Mapping[str, Any]]
    weights: Mapping[str, Tensor]


def export_backbone(
    model: nn.Module,
    *,
    image_format: str,
    run: Mapping[str, Any] | None = None,
    state: Mapping[str, Tensor] | None = None,
) -> BackboneFile:
    """Export the backbone of a model, and the components around it.

    Args:
        model: A segmentor or a detector that normalises its images. Its backbone may be inside an FPN or another
            wrapper.
        image_format: The order of the channels with which the model was trained, `RGB` or `BGR`.
        run: Plain values that describe the origin of the weights, such as a folder and an iteration.
        state: The weights of a checkpoint by their names in the model; None for the model's own weights.

    Raises:
        ValueError: The model has no backbone that can be exported, or the checkpoint lacks weights of it.
    """
    if image_format not in ("RGB", "BGR"):
        raise ValueError(f"image_format is '{image_format}'; wanted RGB or BGR")
    parts = find_parts(model)
    facts = facts_of(model, parts, image_format=image_format)
    if facts["pixels"]["mean"] is None:
        raise ValueError(f"{type(model).__name__} has no pixel_mean and no pixel_std; wanted the whole model")
    own, names = model.state_dict(), parts.names()
    state = own if state is None else state
    _check_state(state, {name: own[name] for name in names.values()})
    weights = {ours: state[theirs].detach().clone() for ours, theirs in names.items()}
    return BackboneFile({**facts, "run": dict(run or {})}, weights)


def _check_state(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Refuse a checkpoint that lacks weights of the backbone."""
    missing = [name for name in wanted if name not in state]
    if len(missing) == len(wanted):
        raise ValueError(
            f"the checkpoint contains no backbone of this model: none of its {len(wanted)} weights, such as "
            f"{missing[0]}; it has {', '.join(list(state)[:3]) or 'nothing'}, ..."
        )
    if missing:
        raise ValueError(
            f"the checkpoint lacks {len(missing)} of the backbone's {len(wanted)} weights: {', '.join(missing[:5])}"
        )
    _check_shapes(state, wanted)


def _check_shapes(got: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    wrong = [
        f"{name} {tuple(got[name].shape)}, wanted {tuple(value.shape)}"
        for name, value in wanted.items()
        if got[name].shape != value.shape
    ]
    if wrong:
        raise ValueError(f"{len(wrong)} weights have another shape: {', '.join(wrong[:3])}")


def write_backbone(content: BackboneFile, path: str) -> None:
    """Write an exported backbone to a file, which replaces an earlier one in one atomic move.

    Args:
        content: The exported backbone.
        path: The path of the file.

    Raises:
        OSError: The file cannot be written.
    """
    weights = {name: value.cpu().contiguous() for name, value in content.weights.items()}
    metadata = dict(format=_FORMAT, version=_VERSION, facts=json.dumps(content.facts, default=str), sum=_sum(weights))
    # `safetensors.torch.save_file` is not used, since only their owner may read the files that it creates.
    with replacing(path) as unfinished, open(unfinished, "wb") as file:
        file.write(save(weights, metadata))


def save_backbone(
    model: nn.Module, path: str, *, image_format: str, run: Mapping[str, Any] | None = None
) -> BackboneFile:
    """Write the backbone of a model, and the components around it, to a file, and return its content.

    Args:
        model: The model; see `export_backbone`.
        path: The path of the file. An existing file is replaced.
        image_format: The order of the channels with which the model was trained, `RGB` or `BGR`.
        run: Plain values that describe the origin of the weights.

    Raises:
        ValueError: The model has no backbone that can be exported.
        OSError: The file cannot be written.
    """
    file = export_backbone(model, image_format=image_format, run=run)
    write_backbone(file, path)
    return file


def _sum(weights: Mapping[str, Tensor]) -> str:
    """Compute a checksum over names and values, since the safetensors format has none."""
    sums = hashlib.sha256()
    for name in sorted(weights):
        sums.update(name.encode())
        sums.update(weights[name].reshape(-1).view(torch.uint8).numpy().data)
    return sums.hexdigest()


def read_backbone(path: str, *, facts_alone: bool = False) -> BackboneFile:
    """Read an exported file.

    Args:
        path: The path of the file.
        facts_alone: Whether only the facts are read, without the weights, which is fast.

    Raises:
        DamagedFile: The file is truncated or has changed.
        ValueError: There is no such file, or it is not an exported backbone but, for example, a checkpoint.
    """
    check_exists(path)
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            facts = _facts(path, metadata)
            weights = {} if facts_alone else {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        if path.endswith(".safetensors"):
            raise DamagedFile(f"'{path}' cannot be read: {error}; wanted the file as it was written") from error
        raise ValueError(
            f"'{path}' is not an exported backbone ({error}); wanted a file that tools/export_backbone.py has written "
            "(set train.init_checkpoint for the checkpoint of a training)"
        ) from error
    if weights and _sum(weights) != metadata["sum"]:
        raise DamagedFile(f"'{path}' is damaged: its weights are not those that were written")
    return BackboneFile(facts, weights)


def _facts(path: str, metadata: Mapping[str, str]) -> dict[str, dict]:
    if metadata.get("format") != _FORMAT:
        raise ValueError(
            f"'{path}' contains weights without the facts of an exported backbone; wanted a file that "
            "tools/export_backbone.py has written (set weights_file of the backbone for weights of timm)"
        )
    if metadata["version"] != _VERSION:
        raise ValueError(f"'{path}' has version {metadata['version']} of the format; wanted version {_VERSION}")
    return json.loads(metadata["facts"])


def is_backbone_file(path: str) -> bool:
    """Return whether a file is an exported backbone, whatever its name."""
    try:
        with safe_open(path, framework="pt") as opened:
            return (opened.metadata() or {}).get("format") == _FORMAT
    except (OSError, SafetensorError):
        return False


def load_backbone(
    model: nn.Module,
    path: str,
    accept_stride: int | None = None,
    *,
    drop_component: bool = False,
    image_format: str | None = None,
) -> nn.Module:
    """Load an exported backbone, and its components, into a model that has the same backbone, however it is wrapped.

    Every weight of the file must have a place in the model. A component of the model that the file lacks keeps its
    initial weights, and so does a plain ViT's `downsample` if the file has none; both are logged. Afterwards the
    backbone no longer requests timm's pretrained weights.

    Args:
        model: A segmentor, a detector, or only a backbone, whose normalisation of pixels is then not compared.
        path: The path of the file.
        accept_stride: The output stride of the file, to allow that the model has a different one. The weights fit such
            a model too, but they were trained for maps of another resolution.
        drop_component: Whether the components of the file are left out.
        image_format: The order of the channels of the model's future images, `RGB` or `BGR`, which is compared with
            that of the file. None takes the model's own `input_format`, or compares nothing if it has none.

    Returns:
        The model itself, so that a config can wrap this call around its model.

    Raises:
        ValueError: The file is not an exported backbone, or does not fit the model. The message names the differences.
    """
    file, parts = read_backbone(path), find_parts(model)
    own = facts_of(model, parts, image_format=image_format)
    try:
        check_facts(file.facts, own, accept_stride=accept_stride)
        components = {} if drop_component else file.facts["components"]
        _check_components(components, own["components"])
        weights = parts.backbone.fitted(_under("backbone", file.weights), file.facts["backbone"])
        filled = {"backbone": (parts.backbone, weights)}
        for feature in components:
            prefix = f"components.{feature}"
            filled[prefix] = parts.components[feature][1], _under(prefix, file.weights)
        halved = file.facts["backbone"].get("downsample")
        _check_places(parts, filled, initial=() if halved else ("backbone.downsample.",))
    except ValueError as error:
        raise ValueError(f"the backbone in '{path}' does not fit {type(model).__name__}: {error}") from error
    for part, weights in filled.values():
        part.load_state_dict(weights, strict=False)  # not strict because of the batch counters; other names are checked
    parts.backbone.pretrained = False  # so that `load_pretrained` does not overwrite these weights
    _log(path, file, parts, own, filled)
    return model


def _under(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Select the weights of one part, and return them by their names in this part."""
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in weights.items() if name.startswith(start)}


def _check_components(got: Mapping[str, Mapping], wanted: Mapping[str, Mapping]) -> None:
    for feature, facts in got.items():
        if feature not in wanted:
            raise ValueError(
                f"the file has a component on the map {feature}, {facts['kind']}, but the model has "
                f"{'one on ' + ', '.join(wanted) if wanted else 'none'}; wanted a ReasoningBackbone with it, or "
                "drop_component=true, which leaves it out"
            )
        check_component(feature, facts, wanted[feature])


def _check_places(
    parts: BackboneParts, filled: Mapping[str, tuple[nn.Module, Mapping[str, Tensor]]], *, initial: tuple[str, ...]
) -> None:
    """Refuse weights without a place in the model, places without a weight, and different shapes.

    Places whose names begin with one of `initial` may be without a weight.
    """
    got = {f"{prefix}.{name}": value for prefix, (_, weights) in filled.items() for name, value in weights.items()}
    states = {prefix: part.state_dict() for prefix, (part, _) in filled.items()}
    places = {f"{prefix}.{name}": value for prefix, state in states.items() for name, value in state.items()}
    wanted = {name: places[name] for name in parts.names() if name in places}
    homeless = [name for name in got if name not in wanted]
    empty = [name for name in wanted if name not in got and not name.startswith(initial)]
    for names, what in (
        (homeless, "weights of the file have no place in the model"),
        (empty, "weights of the model are not in the file"),
    ):
        if names:
            raise ValueError(f"{len(names)} {what}: {', '.join(names[:3])}")
    _check_shapes(got, {name: wanted[name] for name in got})


def _log(path: str, file: BackboneFile, parts: BackboneParts, own: Mapping[str, Mapping], filled: Mapping) -> None:
    count = sum(len(weights) for _, weights in filled.values())
    run = ", ".join(f"{name} {value}" for name, value in file.facts["run"].items())
    logger.info("The backbone starts from %s: %d weights, run: %s", path, count, run or "unknown")
    strides = [facts["backbone"]["output_stride"] for facts in (file.facts, own)]
    if strides[0] != strides[1]:
        logger.info(
            "It was trained at output stride %d, but has %d in this model, which accept_stride allows", *strides
        )
    halving = [facts["backbone"].get("downsample") for facts in (file.facts, own)]
    if halving[0] != halving[1]:
        logger.info("It was trained without the %s of this model", halving[1])
    for feature, facts in file.facts["components"].items():
        taken = f"components.{feature}" in filled
        what = "is loaded from the file" if taken else "is left out"
        logger.info("The component %s on %s %s", facts["kind"], feature, what)
    for feature, (_, part) in parts.components.items():
        if f"components.{feature}" not in filled:
            logger.info("The component %s on %s keeps its initial weights", type(part).__name__, feature)
    for name, value in own["pixels"].items():
        if value is None:
            expected = file.facts["pixels"][name]
            logger.info("The %s of the model's pixels is unknown; the backbone expects %s", name, expected)
