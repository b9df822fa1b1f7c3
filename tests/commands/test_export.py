import numpy as np
import pytest
from PIL import Image

from tokenseg import Predictor
from tokenseg.deployment import exported_predictor
from tokenseg.deployment.exported_predictor import ExportedPredictor

NEEDED = ["--config-file", "c", "--format", "onnx"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "a.pt2"], r"--format is onnx; wanted a file name that ends in \.onnx"),
        (["--output", "a.onnx", "--size", "0", "5"], "--size is 0 5; wanted 1 pixel or more"),
    ],
)
def test_wrong_arguments_are_refused(command, words, message):
    with pytest.raises(ValueError, match=message):
        command("export", *NEEDED, *words)


def test_a_file_that_is_there_is_kept(command, tmp_path):
    (tmp_path / "a.onnx").touch()
    with pytest.raises(ValueError, match="exists already; wanted another name, or --overwrite"):
        command("export", *NEEDED, "--output", tmp_path / "a.onnx")


@pytest.mark.slow("the command export, and the demo with its file")
def test_an_exported_file_predicts_as_its_model(command, toy_predictor, tmp_path, capsys):
    config, weights = toy_predictor
    path = tmp_path / "out/model.pt2"
    words = ["--config-file", config, "--weights", weights, "--format", "torch", "--output", path, "--verify"]
    with pytest.raises(ValueError, match=r"the config has no dataset.*wanted --size H W, or --dynamic-size"):
        command("export", *words)
    command("export", *words, "--dynamic-size", "--output-kind", "scores")
    verified = "verified: its outputs differ from those of the model by at most 0.0e+00"
    assert f"images to scores\n{verified}" in capsys.readouterr().out
    assert [file.name for file in path.parent.iterdir()] == ["model.pt2"]
    image = np.random.randint(0, 256, (30, 41, 3), dtype=np.uint8)
    predictor = ExportedPredictor(path, allow_pickle=True)
    assert np.array_equal(predictor(image), Predictor(*toy_predictor)(image))
    assert predictor.class_names == ["red", "green", "blue"] and predictor.facts.short_side == 24


def test_the_demo_runs_an_exported_file(command, tmp_path, exported_facts, monkeypatch):
    opened = lambda images: images.argmax(axis=1), exported_facts
    monkeypatch.setattr(exported_predictor, "open_file", lambda *_, **__: opened)
    Image.new("RGB", (9, 7), (0, 200, 0)).save(tmp_path / "a.png")
    words = ["--weights", tmp_path / "m.onnx", "--input", tmp_path / "a.png", "--output", tmp_path]
    command("demo", *words, "--save", "ids,overlay")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a_ids.png")), np.ones((7, 9)))
    assert np.asarray(Image.open(tmp_path / "a_overlay.png")).shape == (7, 9, 3)
