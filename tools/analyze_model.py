#!/usr/bin/env python
"""Parameters and GFLOPs of the model of a config, by part.

    tools/analyze_model.py --config-file C [--size H W] [--json] [key=value ...]

GFLOPs are those of fvcore, one multiply-add each, for one image in evaluation mode with attention written out as matrix
products (fvcore sees no fused attention). `gflops` follows the method's paper, so that it can be set beside the
published figure; `gflops_fvcore` is the plain count with the last resize of the scores to the input's size, the honest
cost. They differ for StructToken: its paper leaves out the attention of the backbone and that resize.
"""

import argparse
import json
import sys
from collections import Counter

import timm.layers
import torch
from detectron2.config import instantiate
from fvcore.nn import FlopCountAnalysis
from omegaconf import DictConfig
from tabulate import tabulate
from torch import Tensor, nn
from torch.nn import functional as F

from tokenseg.overrides import load_config

# The last resize and the attention modules of the backbone, by meta-architecture, that its paper does not count.
PAPER_LEAVES_OUT = {"StructToken": ("resize", "attention")}


class _Inference(nn.Module):
    """Backbone, head and the resize of the scores to the input's size, each under a name of its own."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone, self.sem_seg_head, self.resize = model.backbone, model.sem_seg_head, _Resize()

    def forward(self, images: Tensor) -> Tensor:
        scores, _ = self.sem_seg_head(self.backbone(images), None)
        return self.resize(scores, images)


class _Resize(nn.Module):
    def forward(self, scores: Tensor, images: Tensor) -> Tensor:
        return F.interpolate(scores, size=images.shape[-2:], mode="bilinear", align_corners=False)


def analyze(cfg: DictConfig, size: tuple[int, int]) -> dict:
    """Count the model of a config.

    Args:
        cfg: the config.
        size: (height, width) of the input in pixels.

    Returns:
        `params_m`, `gflops`, `gflops_fvcore`, `size`, `parts` (name -> (millions of parameters, GFLOPs)) and
        `uncounted` (operation -> number of calls that fvcore counts as nothing).
    """
    timm.layers.set_fused_attn(False)
    model = instantiate(cfg.model).eval()
    divisor = model.backbone.size_divisibility
    if divisor and any(side % divisor for side in size):
        raise ValueError(f"--size is {size[0]} {size[1]}; wanted multiples of {divisor} for this backbone")
    counted = _Inference(model)
    analysis = FlopCountAnalysis(counted, torch.zeros(1, 3, *size))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    flops: Counter = analysis.by_module()
    left_out = PAPER_LEAVES_OUT.get(type(model).__name__, ())
    skipped = flops["resize"] if "resize" in left_out else 0
    if "attention" in left_out:
        skipped += sum(flops[name] for name, _ in model.named_modules() if _is_backbone_attention(name))
    return {
        "params_m": _millions(model),
        "gflops": (flops[""] - skipped) / 1e9,
        "gflops_fvcore": flops[""] / 1e9,
        "size": list(size),
        "parts": {name: (_millions(part), flops[name] / 1e9) for name, part in counted.named_children()},
        "uncounted": dict(analysis.unsupported_ops()),
    }


def _is_backbone_attention(name: str) -> bool:
    return name.startswith("backbone.") and name.endswith(".attn")


def _millions(module: nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", required=True)
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="input in pixels; default the crop")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    parser.add_argument("overrides", nargs="*", default=[], help="key=value")
    args = parser.parse_args(argv)
    cfg = load_config(args.config_file, args.overrides)
    size = tuple(args.size) if args.size else (cfg.dataset.crop, cfg.dataset.crop)
    result = analyze(cfg, size)
    if args.json:
        print(json.dumps(result))
        return
    rows = [(name, *numbers) for name, numbers in result["parts"].items()]
    rows.append(("all", result["params_m"], result["gflops_fvcore"]))
    print(f"Input {size[0]}x{size[1]}, one image, GFLOPs of fvcore (a multiply-add is one)")
    print(tabulate(rows, headers=["part", "parameters (M)", "GFLOPs"], floatfmt=".3f"))
    print(f"GFLOPs as the paper counts them: {result['gflops']:.3f}")
    print("Counted as nothing:", ", ".join(f"{op} ({calls}x)" for op, calls in result["uncounted"].items()) or "-")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:
        sys.exit(f"analyze_model.py: error: {error}")
