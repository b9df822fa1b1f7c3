"""What train_net.py leaves on a toy data set, and what a resumed run has of the broken one."""

import logging

import pytest
import torch

from tokenseg.config.load import load_config
from tokenseg.engine import evaluation
from train_net_runs import ROOT, TINY, error_line, invoke, metrics, weights


def test_a_run_leaves_all_it_should(arguments, tmp_path):
    invoke([*arguments, "--num-gpus", "1"])
    run = tmp_path / "run"
    names = {path.name for path in run.iterdir()}
    assert {"config.yaml", "environment.txt", "log.txt", "metrics.json", "last_checkpoint"} <= names
    assert {"model_0000001.pth", "model_0000003.pth", "model_final.pth", "model_best.pth"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert not any("unfinished" in name for name in names)
    assert (run / "last_checkpoint").read_text() == "model_final.pth"
    assert "torch==" in (run / "environment.txt").read_text()
    assert "sem_seg/mIoU" in metrics(run)[-1] and (run / "inference/sem_seg_per_class.csv").exists()

    config, weights = f"{run}/config.yaml", f"train.init_checkpoint={run}/model_final.pth"
    single = (run / "inference/sem_seg_per_class.csv").read_text()
    invoke(["--config-file", config, "--eval-only", weights])
    assert (run / "inference/sem_seg_per_class.csv").read_text() == single
    invoke(["--config-file", config, "--eval-only", weights, "train.tta.enabled=true"])
    assert (run / "inference/sem_seg_per_class.csv").read_text() != single


def test_the_config_is_printed_and_nothing_done(tmp_path, capsys):
    invoke([*TINY, "--print-config", "optimizer.lr=0.5", f"train.output_dir={tmp_path}/out"])
    (tmp_path / "config.yaml").write_text(capsys.readouterr().out)
    config = load_config(str(tmp_path / "config.yaml"))
    assert config.optimizer.lr == 0.5 and config.dataset.crop == 32 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("config", "change", "losses"),
    [
        (
            "sgr_sgr",
            "model.backbone.components.res5.width=8",
            {"loss_sem_seg", "loss_aux_sem_seg", "loss_region_focal", "loss_region_cosine"},
        ),
        pytest.param(
            "hosts_mask_former",
            "model.sem_seg_head={width: 64, hidden: 32, num_queries: 4}",
            {"loss_focal", "loss_dice", "loss_class"},
            marks=pytest.mark.slow("metrics of a mask classifier's tokens in a run"),
        ),
    ],
    ids=["sgr", "mask_former"],
)
def test_metrics_of_tokens_stand_beside_miou(config, change, losses, toy_dataset, tmp_path, monkeypatch):
    words = [word for word in TINY[2:] if not word.startswith(("vit", "model"))]
    words += ["pyramid.channels=[8,8,16,16]", "train.max_iter=2", "train.init_checkpoint=", change]
    words += [f"dataset.{split}={toy_dataset}" for split in ("train", "test")]
    config = ["--config-file", str(ROOT / f"configs/shape_scenes/{config}.py")]
    invoke([*config, *words, f"train.output_dir={tmp_path}/run"])
    first, *_, last = metrics(tmp_path / "run")
    assert losses <= set(first)
    assert {"sem_seg/mIoU", "tokens_class/S_C", "tokens_class/D_C"} <= set(last)
    assert 0 <= last["tokens_class/S_C_of_max"] <= 1 and last["tokens_class/images"] == 6
    weights = f"train.init_checkpoint={tmp_path}/run/model_final.pth"
    results = {}
    monkeypatch.setattr(evaluation, "print_csv_format", results.update)
    invoke([*config, *words, "--eval-only", weights, f"train.output_dir={tmp_path}/eval"])
    assert results["tokens_class"]["S_C"] == pytest.approx(last["tokens_class/S_C"])
    assert results["sem_seg"]["mIoU"] == pytest.approx(last["sem_seg/mIoU"])
    several = ["train.tta.enabled=true", "train.tta.scales=[0.5,1.0]"]
    invoke([*config, *words, *several, "--eval-only", weights, f"train.output_dir={tmp_path}/several"])
    # regions are those of the whole image at one scale
    assert results["tokens_class"]["S_C"] == pytest.approx(last["tokens_class/S_C"], rel=1e-4)


@pytest.mark.slow("a resumed run of the command, with stochastic depth")
def test_resumed_equals_unbroken(arguments, tmp_path):
    """Weights, optimiser, schedule, data and random numbers (there is stochastic depth), bit for bit."""
    invoke(arguments)
    broken = [*arguments[:-1], f"train.output_dir={tmp_path}/broken"]
    invoke(broken)
    (tmp_path / "broken/last_checkpoint").write_text("model_0000001.pth")  # as if killed after two iterations
    invoke([*broken, "--resume", "dataloader.train.num_workers=1"])
    wanted, got = (torch.load(tmp_path / folder / "model_final.pth") for folder in ("run", "broken"))
    assert (
        wanted["trainer"]["optimizer"]["param_groups"][0]["lr"] == got["trainer"]["optimizer"]["param_groups"][0]["lr"]
    )
    for part in (lambda c: c["model"], lambda c: flat_state(c["trainer"]["optimizer"])):
        assert part(wanted).keys() == part(got).keys()
        assert [key for key, value in part(wanted).items() if not torch.equal(value, part(got)[key])] == []


def flat_state(optimizer):
    return {(place, key): value for place, state in optimizer["state"].items() for key, value in state.items()}


def test_a_resume_with_other_settings(arguments, tmp_path, caplog):
    invoke([*arguments, "train.max_iter=2"])
    before = (tmp_path / "run/config.yaml").read_bytes()
    line = error_line([*arguments, "--resume", "optimizer.lr=1", "train.seed=3"])
    assert "optimizer.lr is 1 and was" in line and "dataloader.train.seed is 3 and was 0" in line
    assert (tmp_path / "run/config.yaml").read_bytes() == before
    logging.getLogger("tokenseg").propagate = True
    invoke([*arguments, "--resume"])
    assert "Changed settings take effect: train.max_iter is 4 and was 2" in caplog.text


def test_mixed_precision_accumulation_and_clipping(arguments, tmp_path):
    extra = ["train.amp.enabled=true", "train.accumulate=2", "train.clip_grad_norm=1.0"]
    invoke([*arguments, *extra, "model.backbone.activation_checkpointing=true"])
    steps = [line for line in metrics(tmp_path / "run") if "total_loss" in line]
    assert len(steps) == 4 and all(line["total_loss"] > 0 and line["grad_norm"] > 0 for line in steps)


def test_another_class_count_needs_a_switch(arguments, toy_dataset, tmp_path):
    invoke([*arguments, "train.max_iter=1", "lr_multiplier.warmup_iter=0"])
    more = [*arguments[:-1], f"train.output_dir={tmp_path}/more", "dataset.num_classes=4"]
    more += [
        f"train.init_checkpoint={tmp_path}/run/model_final.pth",
        "train.eval_period=0",
        "dataloader.evaluator=null",
    ]
    with pytest.raises(ValueError, match=r"of another shape: .*tokens \(1, 3, 4, 4\), wanted \(1, 4, 4, 4\)"):
        invoke(more)
    invoke([*more, "train.skip_mismatched=true", "train.overwrite=true"])
    assert weights(tmp_path / "more/model_final.pth")["sem_seg_head.tokens"].shape[1] == 4
