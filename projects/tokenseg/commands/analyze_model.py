"""The body of the command `analyze_model`, which counts the parameters and operations of models."""

import argparse
import contextlib
import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm.layers
import torch
from detectron2.modeling import GeneralizedRCNN, SemanticSegmentor
from fvcore.nn import FlopCountAnalysis
from omegaconf import DictConfig, OmegaConf
from tabulate import tabulate
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from ..config.instantiate import instantiate
from ..config.load import load_config
from ..config.shipped import CONFIGS
from ..hosts.mask_classifier import MaskClassifierHead
from ..segmentor import Segmentor
from .detector_cost import DetectorCost

PAPER_ROWS = Path(__file__).resolve().parent / "paper_rows"

# The parts that a method's paper leaves out of its GFLOPs, by meta-architecture: the last resize of the scores, and the
# attention modules of the backbone.
PAPER_LEAVES_OUT = {"StructToken": ("resize", "attention")}


class _Inference(nn.Module):
    """Backbone, head, and the resize of the scores to the input size, as separate submodules that are counted apart."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.backbone, self.sem_seg_head, self.resize = model.backbone, model.sem_seg_head, _Resize()

    def forward(self, images: Tensor) -> Tensor:
        scores, _ = self.sem_seg_head(self.backbone(images), None)
        return self.resize(scores, images)


class _Resize(nn.Module):
    def forward(self, scores: Tensor, images: Tensor) -> Tensor:
        return F.interpolate(scores, size=images.shape[-2:], mode="bilinear", align_corners=False)


@torch.no_grad()  # the autograd graph would take gigabytes
def analyze(cfg: DictConfig, size: tuple[int, int]) -> dict:
    """Count the parameters and operations of a config's model.

    Args:
        cfg: The config of the model.
        size: The height and width of the input in pixels.

    Returns:
        A dict with the millions of parameters `params_m`, the GFLOPs as the paper counts them, `gflops`, and as fvcore
        does, `gflops_fvcore`, the input `size`, the `parts` (name -> (millions of parameters, GFLOPs)), and the
        operations that fvcore does not count, `uncounted` (name -> number of calls).

    Raises:
        ValueError: The model is of another kind, or its backbone does not accept the size.
    """
    with _plain_attention():
        model = instantiate(cfg.model).eval()
    if isinstance(model, GeneralizedRCNN):
        return _analyze_detector(model, size)
    if not isinstance(model, (Segmentor, SemanticSegmentor)):
        raise ValueError(f"the model is a {type(model).__name__}; wanted a Segmentor, or a GeneralizedRCNN")
    divisor = model.backbone.size_divisibility
    if divisor and any(side % divisor for side in size):
        raise ValueError(f"--size is {size[0]} {size[1]}; wanted multiples of {divisor} for this backbone")
    counted = _Inference(model)
    images = torch.zeros(1, len(model.pixel_mean), *size)
    flops, uncounted = _count(counted, images)
    left_out = PAPER_LEAVES_OUT.get(type(model).__name__, ())
    skipped = flops["resize"] if "resize" in left_out else 0
    if "attention" in left_out:
        skipped += sum(flops[name] for name, _ in model.named_modules() if _is_backbone_attention(name))
    return {
        "params_m": _millions(model),
        "gflops": (flops[""] - skipped + _masks_of_earlier_stages(model, images)) / 1e9,
        "gflops_fvcore": flops[""] / 1e9,
        "size": list(size),
        "parts": {name: (_millions(part), flops[name] / 1e9) for name, part in counted.named_children()},
        "uncounted": uncounted,
    }


def _analyze_detector(model: GeneralizedRCNN, size: tuple[int, int]) -> dict:
    """Return the dict of `analyze` with the numbers of regions that are counted, `proposals` and `detections`."""
    divisor = max(model.backbone.size_divisibility, 1)
    padded = [-(-side // divisor) * divisor for side in size]
    counted = DetectorCost(model)
    flops, uncounted = _count(counted, torch.zeros(1, len(model.pixel_mean), *padded))
    return {
        "params_m": _millions(model),
        "gflops": flops[""] / 1e9,
        "gflops_fvcore": flops[""] / 1e9,
        "size": padded,
        "parts": {name: (_millions(part), flops[name] / 1e9) for name, part in counted.parts().items()},
        "uncounted": uncounted,
        "proposals": counted.proposals,
        "detections": counted.detections,
    }


def _count(model: nn.Module, images: Tensor) -> tuple[Counter, dict[str, int]]:
    """Return the operations of every module, and the names of uncounted operations with their numbers of calls."""
    analysis = FlopCountAnalysis(model, images)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    return analysis.by_module(), dict(analysis.unsupported_ops())


def _masks_of_earlier_stages(model: Any, images: Tensor) -> int:
    """Count the masks of all stages but the last, which the authors' mask classifiers compute in inference as well.

    Ours compute them only in training, but the papers' figures contain them.
    """
    head = model.sem_seg_head
    if not isinstance(head, MaskClassifierHead):
        return 0
    *earlier, _ = head.decode(model.backbone(images))
    return sum(each.embeddings.numel() * each.features[0, 0].numel() for each in earlier)


@contextlib.contextmanager
def _plain_attention() -> Iterator[None]:
    """Make models built in this context compute attention as matrix products, since fvcore misses fused attention."""
    fused = timm.layers.use_fused_attn()
    timm.layers.set_fused_attn(False)
    try:
        yield
    finally:
        timm.layers.set_fused_attn(fused)


def _is_backbone_attention(name: str) -> bool:
    return name.startswith("backbone.") and name.endswith(".attn")


def _millions(module: nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


def read_paper_rows(methods: list[str]) -> list[dict[str, str]]:
    """Read the published figures of some methods, or of all methods if the list is empty.

    Raises:
        ValueError: A method has no published figures here.
    """
    known = {path.stem: path for path in sorted(PAPER_ROWS.glob("*.csv"))}
    unknown = set(methods) - set(known)
    if unknown:
        raise ValueError(f"--paper is {', '.join(sorted(unknown))}; wanted some of {', '.join(known)}")
    rows: list[dict[str, str]] = []
    for name in methods or known:
        with known[name].open(newline="") as stream:
            rows += csv.DictReader(stream)
    return rows


def within(got: float, published: str, tolerance: str) -> bool:
    """Return whether a figure equals the published one within a tolerance, either relative, `2%`, or absolute, `1.0`.

    A figure that was not published, an empty string, always agrees.
    """
    if not published:
        return True
    wanted = float(published)
    allowed = float(tolerance[:-1]) / 100 * wanted if tolerance.endswith("%") else float(tolerance)
    return abs(got - wanted) <= allowed


def default_size(cfg: DictConfig) -> tuple[int, int]:
    """Return the input size of a config: the training crop or, without one, the largest image in evaluation.

    Raises:
        ValueError: There is no crop, and evaluation does not resize images.
    """
    crop = OmegaConf.select(cfg, "dataset.crop")
    if crop is not None:
        return crop, crop
    for step in OmegaConf.select(cfg, "dataloader.test.mapper.augmentations") or []:
        if "short_edge_length" in step and "max_size" in step:
            return step.short_edge_length, step.max_size
    raise ValueError("the config has no dataset.crop, and its evaluation does not resize images; wanted --size H W")


def input_size(text: str, *, crop: int) -> tuple[int, int]:
    """Parse an input size: the side of a square, `512`, height and width, `512x2048`, or the crop if empty."""
    sides = [int(side) for side in (text or str(crop)).split("x")]
    return sides[0], sides[-1]


def compare_with_papers(rows: list[dict[str, str]]) -> list[dict]:
    """Add to each row our counts, `ours` (see `analyze`), and the names of the figures out of tolerance, `outside`."""
    compared, counted = [], {}
    for row in tqdm(rows, unit="row", disable=None):
        key = row["config"], row["overrides"], row["size"]
        if key not in counted:
            cfg = load_config(str(CONFIGS / f"{row['config']}.py"), row["overrides"].split())
            counted[key] = analyze(cfg, input_size(row["size"], crop=cfg.dataset.crop))
        ours = counted[key]
        outside = [n for n in ("params_m", "gflops") if not within(ours[n], row[n], row[f"{n}_tolerance"])]
        compared.append(row | {"ours": ours, "outside": outside})
    return compared


def print_paper(methods: list[str], *, as_json: bool) -> bool:
    """Print the papers' figures next to ours, and return whether all are within their tolerances."""
    compared = compare_with_papers(read_paper_rows(methods))
    if as_json:
        print(json.dumps(compared))
        return not any(row["outside"] for row in compared)
    lines = []
    for row in compared:
        line = [row["table"], row["row"]]
        for name in ("params_m", "gflops"):
            ours, tolerance = row["ours"][name], row[f"{name}_tolerance"]
            shown = "" if not row[name] else tolerance if tolerance.endswith("%") else f"{float(tolerance):g}"
            line += [row[name], f"{ours:.2f}", f"{ours / float(row[name]):.3f}" if row[name] else "", shown]
        lines.append([*line, f"{row['ours']['gflops_fvcore']:.2f}", ", ".join(row["outside"]) or "yes"])
    figures = ["paper", "ours", "ratio", "+-"]
    headers = ["table", "row", *[f"M {f}" for f in figures], *[f"G {f}" for f in figures], "G fvcore", "within"]
    print("M: millions of parameters. G: GFLOPs as the paper counts them. G fvcore: everything that fvcore counts.")
    print(tabulate(lines, headers=headers, disable_numparse=True))
    return not any(row["outside"] for row in compared)


def main(args: argparse.Namespace) -> None:
    """Print the counts of the model of `args.config_file`, or the published rows next to ours."""
    if args.paper is not None:
        if not print_paper(args.paper, as_json=args.json):
            where = "key 'outside'" if args.json else "column 'within'"
            raise ValueError(f"some figures are outside their tolerances; see the {where}")
        return
    cfg = load_config(args.config_file, args.overrides, trust_config=args.trust_config)
    result = analyze(cfg, tuple(args.size) if args.size else default_size(cfg))
    if args.json:
        print(json.dumps(result))
        return
    rows = [(name, *numbers) for name, numbers in result["parts"].items()]
    rows.append(("all", result["params_m"], result["gflops_fvcore"]))
    height, width = result["size"]
    regions = " with {proposals} proposals and {detections} detections" if "proposals" in result else ""
    print(f"Input {height}x{width}, one image{regions.format(**result)}, GFLOPs of fvcore (a multiply-add is one FLOP)")
    print(tabulate(rows, headers=["part", "parameters (M)", "GFLOPs"], floatfmt=".3f"))
    if not regions:
        print(f"GFLOPs as the paper counts them: {result['gflops']:.3f}")
    print("Not counted:", ", ".join(f"{op} ({calls}x)" for op, calls in result["uncounted"].items()) or "-")
