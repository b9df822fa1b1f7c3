"""Our configs in a loop like Detectron2's own tools/lazyconfig_train_net.py, typed here as a user would."""

from pathlib import Path

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import instantiate
from detectron2.engine import SimpleTrainer, default_writers, hooks
from detectron2.engine.defaults import create_ddp_model
from detectron2.evaluation import inference_on_dataset

from tokenseg.config.load import load_config
from tokenseg.engine.build import load_pretrained
from tokenseg.engine.metrics_file import read_metrics

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


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
    with pytest.raises(ValueError, match="is to begin from pretrained weights, but trains from random ones"):
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
