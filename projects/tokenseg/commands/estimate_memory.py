"""The body of the command `estimate_memory`, which calculates the memory of training steps and what fits a GPU."""

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import NamedTuple

from omegaconf import DictConfig
from tabulate import tabulate
from tqdm import tqdm

from ..config.load import load_config
from .step_memory import StepMemory, step_memory

GIB = 2**30
# The configs for which `--recipes` prints recipes by default.
RECIPES = (
    "structtoken_pwe_vit_t_ade20k_512_160k",
    "structtoken_pwe_vit_s_ade20k_512_160k",
    "structtoken_pwe_vit_b_ade20k_512_160k",
    "structtoken_pwe_vit_l_ade20k_640_160k",
    "segvit_vit_b_ade20k_512_160k",
    "segvit_vit_l_ade20k_640_160k",
    "segvit_shrunk_vit_l_ade20k_640_160k",
    "ecenet_swin_b_ade20k_640_160k",
    "ecenet_swin_l_ade20k_640_160k",
    "fcn_sgr_resnet_101_ade20k_512_160k",
    "deeplab_v3_sgr_resnet_101_ade20k_512_160k",
    "uper_net_swin_t_ade20k_512_160k",
    "mask_former_resnet_101c_ade20k_512_160k",
    "mask2former_swin_t_coco_stuff_10k_512_60k",
    "mask_rcnn_dc5_sgr_resnet_101_coco_800_270k",
    "mask_rcnn_c4_resnet_101_coco_800_270k",
    "mask_rcnn_fpn_sgr_resnet_101_coco_800_270k",
    "mask_rcnn_fpn_swin_t_coco_800_270k",
    "mask_rcnn_sfp_vit_b_coco_800_270k",
)
CARDS = (12, 24, 80)  # GiB
# The share of a GPU's memory that a recipe may use by this calculation. The rest is for what is not calculated, such as
# the CUDA context and the allocator's reserve.
SHARE = 0.8
IMAGES = (16, 8, 4, 2, 1)
# Memory is linear in the number of images, so steps with these two numbers determine it for all.
_POINTS = (2, 4)


class Setting(NamedTuple):
    """The options that save memory and keep the batch size."""

    amp: bool
    checkpointing: bool


SETTINGS = (Setting(False, False), Setting(True, False), Setting(True, True))


class Line(NamedTuple):
    """The bytes of a step as a linear function of the number of images, but at least the bytes of the update."""

    fixed: float
    each: float
    update: float

    def at(self, images: int) -> float:
        return max(self.fixed + self.each * images, self.update)


def overrides(setting: Setting, config: DictConfig, accumulate: int = 1) -> list[str]:
    """Return the overrides that apply a setting to a config."""
    words = ["train.amp.enabled=true"] if setting.amp else []
    words += [f"{_timm_backbone(config)}.activation_checkpointing=true"] if setting.checkpointing else []
    return words + ([f"train.accumulate={accumulate}"] if accumulate > 1 else [])


def _timm_backbone(config: DictConfig) -> str:
    """Return the config key of the timm model in the backbone, which components and pyramids may wrap."""
    key, node = "model.backbone", config.model.backbone
    while inner := [name for name in ("bottom_up", "net", "backbone") if name in node]:
        key, node = f"{key}.{inner[0]}", node[inner[0]]
    return key


def line(steps: Mapping[int, StepMemory]) -> Line:
    """Compute the line through the memory of two steps, given by their number of images."""
    (few, first), (many, second) = steps.items()
    each = (second.peak - first.peak) / (many - few)
    return Line(first.peak - each * few, each, first.update)


def recipe(
    lines: Mapping[Setting, Line], *, batch: int, gradients: float, limit: float, batch_norms: bool
) -> tuple[Setting, int] | None:
    """Find the cheapest setting, and the number of parts into which the batch is divided, that fit; None if none fits.

    Mixed precision comes first, since it costs nothing. Dividing the batch comes next, and activation checkpointing
    last, since it computes blocks twice. But if the model has batch norms, whose statistics are then those of a part,
    checkpointing comes before dividing.

    Args:
        lines: The memory in each setting, with the batch in one part.
        batch: The number of images of the batch.
        gradients: The bytes of the gradients. If a batch runs in parts, those of earlier parts are kept all the time.
        limit: The available bytes.
        batch_norms: Whether the model has batch norms in training mode.
    """
    parts = [count for count in range(1, batch + 1) if batch % count == 0 and count & (count - 1) == 0]
    tried = [(setting, count) for setting in SETTINGS[1:] for count in parts]
    if batch_norms:
        tried.sort(key=lambda each: each[1])
    for setting, count in [(SETTINGS[0], 1), *tried]:
        if lines[setting].at(batch // count) + gradients * (count > 1) <= limit:
            return setting, count
    return None


def rows_of_recipes(names: list[str]) -> Iterator[list[str]]:
    """Calculate the row of the table of recipes for each config."""
    for name in names:
        config = load_config(name, [])
        steps = {setting: _steps(name, overrides(setting, config)) for setting in SETTINGS}
        lines = {setting: line(each) for setting, each in steps.items()}
        batch, memory = config.dataloader.train.total_batch_size, steps[SETTINGS[0]][_POINTS[0]]
        fits = [
            recipe(
                lines,
                batch=batch,
                gradients=memory.gradients,
                limit=SHARE * card * GIB,
                batch_norms=memory.batch_norms,
            )
            for card in CARDS
        ]
        curves = [", ".join(f"{lines[setting].at(images) / GIB:.1f}" for images in IMAGES) for setting in SETTINGS]
        yield [f"`{name}`", str(batch), *curves, *map(_told, fits)]


def _steps(name: str, words: list[str]) -> dict[int, StepMemory]:
    return {images: step_memory(load_config(name, words), images=images) for images in _POINTS}


def _told(fit: tuple[Setting, int] | None) -> str:
    """Abbreviate a recipe: A for mixed precision, C for activation checkpointing, P4 for a batch in four parts."""
    if fit is None:
        return "-"
    setting, parts = fit
    words = ["A"] * setting.amp + ["C"] * setting.checkpointing + [f"P{parts}"] * (parts > 1)
    return " ".join(words) or "as it is"


def print_recipes(names: list[str]) -> None:
    """Print the recipes as a Markdown table, each row as soon as it has been calculated."""
    images = ", ".join(map(str, IMAGES))
    heads = [f"GiB of {images} images", "A", "A C", *(f"{card} GB" for card in CARDS)]
    print(f"| config | batch | {' | '.join(heads)} |")
    print("|---" * (2 + len(heads)) + "|")
    for row in tqdm(rows_of_recipes(names), total=len(names), unit="config", disable=None):
        print(f"| {' | '.join(row)} |", flush=True)


def main(args: argparse.Namespace) -> None:
    """Print the memory of the training step of `args.config_file`, or the table of recipes."""
    if args.recipes is not None:
        print_recipes(args.recipes or list(RECIPES))
        return
    config = load_config(args.config_file, args.overrides, trust_config=args.trust_config)
    steps = {images: step_memory(config, images=images) for images in args.images}
    if args.json:
        print(json.dumps({images: asdict(step) | {"most": step.most} for images, step in steps.items()}))
        return
    names = ("parameters", "gradients", "optimizer", "averages", "kept", "peak", "update", "most")
    lines = [[images, *(getattr(step, name) / GIB for name in names)] for images, step in steps.items()]
    print("GiB of a training step in one process, calculated, not measured")
    print(tabulate(lines, headers=["images", *names], floatfmt=".3f"))
