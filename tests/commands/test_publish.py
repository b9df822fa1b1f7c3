import json
import shutil

import numpy as np
import pytest
import torch
from detectron2.config import LazyConfig
from huggingface_hub import ModelCard
from omegaconf import OmegaConf

import tokenseg
from tokenseg import Predictor, weight_sources
from tokenseg.commands import publish
from tokenseg.config.load import load_config

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.fixture
def run(toy_predictor, tmp_path):
    """The folder of a run with the files that a training writes."""
    folder = tmp_path / "run"
    folder.mkdir()
    config = load_config(toy_predictor[0])
    OmegaConf.set_struct(config, False)
    config.train.update(output_dir="/home/me/secret", init_checkpoint="/a.pth")
    LazyConfig.save(config, str(folder / "config.yaml"))
    state = torch.load(toy_predictor[1])["model"]
    torch.save({"model": state, "iteration": 7}, folder / "model_best.pth")
    torch.save({"model": state, "iteration": 9}, folder / "model_final.pth")
    rows = [
        {"iteration": 7, "sem_seg/mIoU": 51.234, "sem_seg/IoU-red": 9.0, "loss": 1.0},
        {"iteration": 9, "sem_seg/mIoU": 40.0},
    ]
    (folder / "metrics.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_published_model_is_the_model(command, run, tmp_path, capsys):
    command("publish", run, "--output", tmp_path / "public", "--license", "cc-by-4.0")
    assert "sem_seg/mIoU 51.23" in capsys.readouterr().out
    shutil.move(run, tmp_path / "gone")
    published = tokenseg.load(tmp_path / "public")
    before = Predictor(str(tmp_path / "gone/config.yaml"), str(tmp_path / "gone/model_best.pth"))
    assert torch.equal(published.scores(IMAGE), before.scores(IMAGE))
    assert "/home/me" not in (tmp_path / "public/config.yaml").read_text()
    assert json.loads((tmp_path / "public/metrics.json").read_text()) == {"sem_seg/mIoU": 51.234}


def test_the_card_is_read_by_the_hub(command, run, tmp_path):
    command("publish", run, "--output", tmp_path / "public", "--license", "cc-by-4.0")
    card = ModelCard.load(tmp_path / "public/README.md")
    assert (card.data.license, card.data.library_name) == ("cc-by-4.0", "tokenseg")
    (result,) = card.data.eval_results
    assert (result.dataset_name, result.metric_name, result.metric_value) == ("own data", "sem_seg/mIoU", 51.23)
    assert "Classes: red, green, blue." in card.text


def test_it_is_uploaded_whole(command, run, tmp_path, monkeypatch, capsys):
    asked = {}

    class Api:
        def create_repo(self, name, **settings):
            asked[name] = settings

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            asked["files"] = sorted(path.name for path in type(tmp_path)(folder_path).iterdir())
            return f"https://hub/{repo_id}"

    monkeypatch.setattr(publish, "HfApi", Api)
    command("publish", run, "--output", tmp_path / "public", "--push", "me/mine", "--private")
    files = ["README.md", "config.yaml", "metrics.json", "model.safetensors"]
    assert asked == {"me/mine": {"private": True, "exist_ok": True}, "files": files}
    assert "Uploaded: https://hub/me/mine" in capsys.readouterr().out
    assert 'tokenseg.load("hf://me/mine")' in (tmp_path / "public/README.md").read_text()


def test_a_repository_is_loaded_by_its_name(command, run, tmp_path, monkeypatch):
    command("publish", run, "--output", tmp_path / "public")
    monkeypatch.setattr(weight_sources, "hub_file", lambda _, names, revision: str(tmp_path / "public" / names[0]))
    predictor = tokenseg.load("hf://me/mine@v2")
    assert np.array_equal(predictor(IMAGE), tokenseg.load(run)(IMAGE))


def test_what_cannot_be_published_or_loaded(command, run, tmp_path):
    with pytest.raises(ValueError, match="which is not empty; wanted a new folder"):
        command("publish", run, "--output", run)
    with pytest.raises(ValueError, match=r"has no config.yaml; wanted the output folder"):
        command("publish", tmp_path, "--output", tmp_path / "public")
    for name in ("model_best.pth", "model_final.pth"):
        (run / name).unlink()
    with pytest.raises(ValueError, match=r"has no weights; wanted model.safetensors, model_best.pth or"):
        command("publish", run, "--output", tmp_path / "public")
    with pytest.raises(ValueError, match="weights is empty; wanted the weights of a model trained with it"):
        tokenseg.load("segvit_vit_b_ade20k_512_160k")
    with pytest.raises(ValueError, match="'segvit_vit_b' is neither a file nor"):
        tokenseg.load("segvit_vit_b")
