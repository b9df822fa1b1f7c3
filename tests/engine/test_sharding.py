"""A sharded training of two processes equals that of two whole ones, to rounding; a resumed one the unbroken, bit for
bit; and either goes on from the other's checkpoints."""

import shutil
from pathlib import Path

import pytest
import torch

from runs import at_call, in_two, left_behind
from tokenseg.config.load import load_config
from tokenseg.engine import loop
from tokenseg.engine.metrics_file import read_metrics
from tokenseg.engine.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]
# All that a training may have beside the plain step; a large eps keeps Adam from blowing rounding errors up to steps.
RECIPE = [
    "dataset.crop=32",
    "model.inference={window: 32, stride: 32}",
    "vit={channels: 48, last_block: 3}",
    "model.backbone.timm_args={depth: 4, num_heads: 3}",
    "model.backbone.out_blocks=[1,3]",
    "decoder={width: 32, num_heads: 2}",
    "train={device: cpu, max_iter: 4, eval_period: 2, log_period: 1, accumulate: 2, clip_grad_norm: 0.01}",
    "train={amp: {enabled: false}, ema: {decay: 0.75}, freeze: [backbone.vit.patch_embed], validation_images: 4}",
    "train={checkpointer: {period: 2}, alarms: {period: 2}}",
    "dataloader.train={total_batch_size: 4, num_workers: 0}",
    "dataloader.test.num_workers=0",
    "lr_multiplier.warmup_iter=0",
    "optimizer={eps: 0.01, params: {layer_decay: 0.8}}",
]
METHODS = ("structtoken_pwe", "segvit_shrunk", "segvit_swin", "ecenet_resnet", "mask2former", "mask_former_sgr")


@pytest.fixture
def config(toy_dataset, tmp_path):
    """A function from the name of a folder and overrides to a config of four iterations of a small SegViT."""

    def build(folder, *overrides):
        data = f"dataset={{train: {toy_dataset}, test: {toy_dataset}, num_classes: 3}}"
        (tmp_path / folder).mkdir(exist_ok=True)
        where = f"train.output_dir={tmp_path / folder}"
        return load_config(str(ROOT / "configs/shape_scenes/segvit.py"), [data, *RECIPE, where, *overrides])

    return build


def flat(node, name=""):
    """The tensors in a checkpoint, by the names of all that they lie in."""
    if isinstance(node, torch.Tensor):
        return {name: node}
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return {key: value for part, inner in items for key, value in flat(inner, f"{name}/{part}").items()}


def assert_close(folder, other):
    """The last checkpoints of two runs, in every number of weights, averages and the optimiser's state."""
    found, wanted = (flat(torch.load(each / "model_final.pth")) for each in (folder, other))
    assert found.keys() == wanted.keys() and all(type(value) is torch.Tensor for value in found.values())
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.slow("sharded training in two processes")
def test_a_sharded_run_equals_a_whole_one_and_resumes_exactly(config, tmp_path):
    assert in_two(lambda: loop.train(config("whole"), resume=False)) == [0, 0]
    sharded = ["train.shard=true"]
    assert in_two(lambda: loop.train(config("sharded", *sharded), resume=False)) == [0, 0]
    assert_close(tmp_path / "sharded", tmp_path / "whole")
    found, wanted = (read_metrics(tmp_path / name / "metrics.json")[-1] for name in ("sharded", "whole"))
    for name in ("sem_seg/mIoU", "validation/total_loss", "total_loss", "alarms/sem_seg_head/image_x_token"):
        assert found[name] == pytest.approx(wanted[name], rel=1e-3), name

    def cut():
        at_call(Trainer, "run_step", 4)()
        loop.train(config("cut", *sharded), resume=False)

    assert 9 in in_two(cut)
    shutil.copytree(tmp_path / "cut", tmp_path / "crossed")
    assert in_two(lambda: loop.train(config("cut", *sharded), resume=True)) == [0, 0]
    assert left_behind(tmp_path / "cut") == left_behind(tmp_path / "sharded")

    loop.train(config("crossed"), resume=True)  # unsharded, in one process
    assert_close(tmp_path / "crossed", tmp_path / "whole")
    (tmp_path / "whole/last_checkpoint").write_text("model_0000001.pth")
    for name in ("model_0000003.pth", "model_final.pth"):
        (tmp_path / "whole" / name).rename(tmp_path / name)
    assert in_two(lambda: loop.train(config("whole", *sharded), resume=True)) == [0, 0]
    assert_close(tmp_path / "whole", tmp_path / "crossed")
    results = loop.evaluate(config("sharded", "train.shard=true"), resume=True)
    assert results["sem_seg"]["mIoU"] == read_metrics(tmp_path / "sharded/metrics.json")[-1]["sem_seg/mIoU"]
