"""Our configs in a training loop that a user wrote after Detectron2's own tools/lazyconfig_train_net.py."""

import copy
import re
from pathlib import Path

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import LazyConfig, instantiate
from detectron2.engine import SimpleTrainer, default_writers, hooks
from detectron2.engine.defaults import create_ddp_model
from detectron2.evaluation import inference_on_dataset

from tokenseg import load_backbone, save_backbone
from tokenseg.config.load import load_config
from tokenseg.datasets import shape_scenes
from tokenseg.engine.build import load_pretrained
from tokenseg.engine.metrics_file import read_metrics
from tokenseg.hosts.per_pixel import PerPixelHead
from tokenseg.segmentor import Segmentor

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
PAGE = (CONFIGS.parent / "projects/DETECTION.md").read_text()


def do_train(cfg, before_training=lambda model: None):
    model = instantiate(cfg.model)
    model.to(cfg.train.device)
    before_training(model)
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer)
    trainer = SimpleTrainer(create_ddp_model(model, **cfg.train.ddp), instantiate(cfg.dataloader.train), optimizer)
    checkpointer = DetectionCheckpointer(model, cfg.train.output_dir, trainer=trainer)

    def do_test():
        return inference_on_dataset(model, instantiate(cfg.dataloader.test), instantiate(cfg.dataloader.evaluator))

    trainer.register_hooks(
        [
            hooks.IterationTimer(),
            hooks.LRScheduler(scheduler=instantiate(cfg.lr_multiplier)),
            hooks.PeriodicCheckpointer(checkpointer, **cfg.train.checkpointer),
            hooks.EvalHook(cfg.train.eval_period, do_test),
            hooks.PeriodicWriter(default_writers(cfg.train.output_dir, cfg.train.max_iter), cfg.train.log_period),
        ]
    )
    checkpointer.resume_or_load(cfg.train.init_checkpoint, resume=False)
    trainer.train(0, cfg.train.max_iter)
    return model


@pytest.fixture
def config(toy_dataset, tmp_path):
    def build(*overrides):
        shared = [
            f"dataset={{train: {toy_dataset}, test: {toy_dataset}, num_classes: 3, crop: 32, short_side: 32}}",
            "vit={channels: 24, last_block: 1}",
            "model.backbone.timm_args={depth: 2, num_heads: 2}",
            "model.sem_seg_head.blocks.num_blocks=1",
            "model.inference.stride=32",
            "train={device: cpu, max_iter: 2, log_period: 1}",
            "lr_multiplier.warmup_iter=0",
            "dataloader.train={total_batch_size: 2, num_workers: 0}",
            "dataloader.test.num_workers=0",
            f"train.output_dir={tmp_path}",
        ]
        return load_config(str(CONFIGS / "quickstart.py"), [*shared, *overrides])

    return build


def test_our_configs_run(config, tmp_path):
    do_train(config())
    rows = read_metrics(tmp_path / "metrics.json")
    assert [row["total_loss"] > 0 for row in rows if "total_loss" in row] == [True, True]
    assert "sem_seg/mIoU" in rows[-1] and (tmp_path / "model_final.pth").exists()


def test_a_backbone_without_its_pretrained_weights_says_so_at_the_first_step(config):
    with pytest.raises(ValueError, match="should start from pretrained weights, but trains from random ones"):
        do_train(config("model.backbone.pretrained=true"))


def test_a_checkpoint_or_the_weights_themselves_cure_that(config, tmp_path):
    torch.save(do_train(config()).state_dict(), tmp_path / "weights.pth")
    checkpoint = ["model.backbone.pretrained=true", f"train.init_checkpoint={tmp_path}/weights.pth"]
    model = instantiate(config().model)
    torch.save(model.backbone.vit.state_dict(), tmp_path / "vit.pth")
    themselves = [f"model.backbone.weights_file={tmp_path}/vit.pth"]
    for overrides, load in ((checkpoint, lambda model: None), (themselves, load_pretrained)):
        (tmp_path / "model_final.pth").unlink()
        do_train(config(*overrides), before_training=load)
        assert (tmp_path / "model_final.pth").exists()


def narrow(cfg, instances, folder):
    """The config of the page on detection, made small."""
    model, maps = cfg.model.model, cfg.model.model.backbone
    maps.bottom_up.backbone.update(model_name="resnet18", timm_args={"channels": [8, 16, 32, 64]})
    maps.bottom_up.components.res5.update(channels=64, num_concepts=4, width=8)
    model.proposal_generator.update(pre_nms_topk=[60, 30], post_nms_topk=[30, 10], batch_size_per_image=32)
    model.roi_heads.batch_size_per_image = 16
    model.roi_heads.num_classes = len(shape_scenes.THINGS)
    for loader in (cfg.dataloader.train, cfg.dataloader.test):
        loader.dataset.names, loader.num_workers, loader.mapper.augmentations = instances, 0, []
    cfg.dataloader.train.total_batch_size = 2
    cfg.dataloader.train.mapper.instance_mask_format = "bitmask"
    cfg.dataloader.evaluator.use_fast_impl = False
    cfg.train.update(device="cpu", max_iter=1, log_period=1, eval_period=0, output_dir=str(folder))
    return cfg


@pytest.mark.slow("an exported backbone in Detectron2's own config and loop")
def test_the_page_on_detection_puts_an_exported_backbone_into_detectron2s_mask_rcnn(instances, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, line, *_ = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "config.py").write_text(code)
    cfg = narrow(LazyConfig.load(str(tmp_path / "config.py")), instances, tmp_path / "output")
    (tmp_path / "output").mkdir()
    bottom_up = copy.deepcopy(cfg.model.model.backbone.bottom_up)
    bottom_up.backbone.output_stride = 8
    head = PerPixelHead(in_feature="res5", layers=torch.nn.Conv2d(64, 2, 1))
    pixels = dict(pixel_mean=cfg.model.model.pixel_mean, pixel_std=cfg.model.model.pixel_std)
    segmentor = Segmentor(backbone=instantiate(bottom_up), sem_seg_head=head, **pixels)
    save_backbone(segmentor, cfg.model.path, image_format="RGB")
    stem = segmentor.backbone.backbone.trunk.conv1.weight
    assert torch.equal(do_train(cfg).backbone.bottom_up.backbone.trunk.conv1.weight, stem)  # it is frozen
    assert "segm/AP" in read_metrics(tmp_path / "output/metrics.json")[-1]
    # the line for other loops
    names = {"build_my_model": lambda: instantiate(cfg.model.model), "load_backbone": load_backbone}
    exec(line, names)
    assert torch.equal(names["model"].backbone.bottom_up.backbone.trunk.conv1.weight, stem)
