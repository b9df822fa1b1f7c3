"""The body of the command `export`, which writes a whole segmentor to one file."""

import argparse
import os
import tempfile
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from .. import __version__
from ..config.instantiate import instantiate
from ..config.load import load_config
from ..contracts import Head
from ..data.transforms import ResizeToBase
from ..deployment.exported_files import open_file, write_file
from ..deployment.file_facts import FileFacts
from ..deployment.tracing import trace
from ..deployment.verification import verify
from ..deployment.whole_pass import WholePass
from ..engine.checkpoint import Checkpointer
from ..predictor import class_metadata
from ..visualize import palette


def main(args: argparse.Namespace) -> None:
    """Write the model of `args.config_file`, with the weights of `args.weights`, to `args.output`."""
    config = load_config(args.config_file, args.overrides, trust_config=args.trust_config)
    model = WholePass(instantiate(config.model), output_kind=args.output_kind)
    if args.weights:
        Checkpointer(model.segmentor).load(args.weights)
    size = None if args.dynamic_size else _size(args, config)
    program = trace(model, size=size)
    facts = file_facts(config, model, size=size, source=_source(args))
    args.output.parent.mkdir(parents=True, exist_ok=True)
    # The file gets its final name only when it is complete and verified.
    with tempfile.TemporaryDirectory(dir=args.output.parent, prefix=".export_") as folder:
        path = Path(folder, args.output.name)
        write_file(program, path, facts=facts)
        if args.verify:
            worst = verify(open_file(path, allow_pickle=True)[0], model, size=size)
        for part in sorted(Path(folder).iterdir(), key=lambda part: part == path):
            os.replace(part, args.output.parent / part.name)
    height, width = size or ("any height", "any width")
    print(f"written to {args.output}: (N, {model.channels}, {height}, {width}) images to {args.output_kind}")
    if not args.weights:
        print("The weights are random, since --weights was not given.")
    if args.verify:
        print(f"verified: its outputs differ from those of the model by at most {worst:.1e}")


def file_facts(config: DictConfig, model: WholePass, *, size: tuple[int, int] | None, source: str) -> FileFacts:
    """Collect the facts about a model that its exported file will store.

    Args:
        config: The config of the model.
        model: The traced model.
        size: The size (height, width) of the images that the file accepts; None for any size.
        source: A description of the config and weights from which the file was made.

    Raises:
        ValueError: The test data of the config has no class names.
    """
    metadata = class_metadata(config)
    if metadata.get("stuff_classes") is None:
        raise ValueError(f"data set '{metadata.name}' has no stuff_classes in its metadata; wanted a name per class")
    augmentations = instantiate(config.dataloader.test.mapper.augmentations)
    base = next((each for each in augmentations if isinstance(each, ResizeToBase)), None)
    head = model.segmentor.sem_seg_head
    return FileFacts(
        class_names=list(metadata.stuff_classes),
        class_colors=palette(metadata).tolist(),
        image_format=config.dataloader.test.mapper.image_format,
        pixel_mean=model.segmentor.pixel_mean.flatten().tolist(),
        pixel_std=model.segmentor.pixel_std.flatten().tolist(),
        size=list(size) if size else None,
        divisor=model.divisor,
        output_kind=model.output_kind,
        probabilities=isinstance(head, Head) and head.gives_probabilities,
        short_side=base.short if base else None,
        long_side=base.long if base else None,
        source=source,
    )


def _size(args: argparse.Namespace, config: DictConfig) -> tuple[int, int]:
    if args.size:
        return tuple(args.size)
    crop = OmegaConf.select(config, "dataset.crop")
    if crop is None:
        raise ValueError("the config has no dataset.crop; wanted --size H W, or --dynamic-size")
    return crop, crop


def _source(args: argparse.Namespace) -> str:
    weights = os.path.basename(args.weights) or "random weights"
    name = os.path.basename(args.config_file)
    return f"{name} with {weights}, by TokenSeg {__version__} and torch {torch.__version__}"
