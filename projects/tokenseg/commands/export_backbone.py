"""The body of the command `export_backbone`, which writes the backbone of a trained model to its own file."""

import argparse
import hashlib
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from ..backbone_file import export_backbone, write_backbone
from ..backbone_parts import COUNT, find_parts
from ..checkpoint_file import read_checkpoint, weights_to_use
from ..config.instantiate import instantiate
from ..config.load import load_config
from ..weight_rules import unwrap


def main(args: argparse.Namespace) -> None:
    """Write the backbone of the model of `args.config_file`, with the weights of `args.weights`, to `args.output`."""
    config = load_config(args.config_file, args.overrides, trust_config=args.trust_config)
    image_format = channel_order(config)
    checkpoint = read_checkpoint(str(args.weights), allow_pickle=args.allow_pickle, permission="--allow-pickle")
    state = unwrap(weights_to_use(checkpoint))
    model = instantiate(config.model)
    run = dict(
        output_dir=OmegaConf.select(config, "train.output_dir"),
        config=args.config_file,
        iteration=checkpoint.get("iteration"),
        checkpoint=str(args.weights),
        sha256=_sha256(args.weights),
    )
    file = export_backbone(model, image_format=image_format, run=run, state=state)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_backbone(file, str(args.output))

    kept = find_parts(model).names()
    dropped = [name for name in state if name not in set(kept.values())]
    print(f"{_total(state.values())} read from {args.weights}")
    print(f"kept: {_total(file.weights.values())}, listed by their names in the file")
    _list(kept)
    counts = [name for name in dropped if name.endswith(COUNT) and name.removesuffix(COUNT) in _stems(kept.values())]
    print(f"dropped: {_total(state[name] for name in dropped)}")
    _list(name for name in dropped if name not in counts)
    if counts:
        print("  and the counts of batches in the backbone's batch norms, which are not needed:")
        _list(counts)
    print(f"written to {args.output}: {_told(file.facts)}")


def channel_order(config: DictConfig) -> str:
    """Return the channel order of a config's images, `RGB` or `BGR`.

    Raises:
        ValueError: The config does not state it.
    """
    keys = ("dataloader.train.mapper.image_format", "dataset.image_format")
    found = next((value for key in keys if (value := OmegaConf.select(config, key))), None)
    if found is None:
        raise ValueError(f"the config does not state whether its images are RGB or BGR; wanted {' or '.join(keys)}")
    return found


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _total(weights: Iterable[Tensor]) -> str:
    sizes = [value.numel() for value in weights]
    return f"{len(sizes)} weights, {sum(sizes) / 1e6:.2f} M numbers"


def _stems(names: Iterable[str]) -> set[str]:
    """Return the names of the modules that contain these weights, each with a dot at its end."""
    return {f"{name.rpartition('.')[0]}." for name in names}


def _list(names: Iterable[str]) -> None:
    """Print names of weights, with one paragraph for each module and its layers."""
    groups = defaultdict(list)
    for name in names:
        *path, layer, weight = ["", "", *name.split(".")]
        groups[".".join(filter(None, path))].append(f"{layer}.{weight}".lstrip("."))
    for module, weights in groups.items():
        line = f"  {module or 'the model'}: {', '.join(weights)}"
        print(textwrap.fill(line, width=120, subsequent_indent="      ", break_long_words=False))


def _told(facts: Mapping[str, Mapping]) -> str:
    backbone = facts["backbone"]
    parts = [f"{part['kind']} on {feature}" for feature, part in facts["components"].items()]
    return " with ".join([f"{backbone['model_name']} at output stride {backbone['output_stride']}", *parts])
