import pytest
from omegaconf import OmegaConf

from tokenseg.engine.run_folder import begin_run, make_output_dir


def test_output_folders_are_made_and_left_empty(tmp_path):
    make_output_dir(str(tmp_path / "a/b"), resume=False, training=True, overwrite=False)
    assert list((tmp_path / "a/b").iterdir()) == []


def test_output_folders_must_be_writable(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file/run"):
        with pytest.raises(ValueError, match=f"train.output_dir '{path}' cannot be written"):
            make_output_dir(str(path), resume=False, training=True, overwrite=False)


@pytest.mark.parametrize("name", ["last_checkpoint", "model_final.pth", "model_best.pth", "model_0000009.pth"])
def test_an_earlier_run_is_guarded(tmp_path, name):
    (tmp_path / name).write_text("model_final.pth")
    usual = {"resume": False, "training": True, "overwrite": False}
    with pytest.raises(ValueError, match=r"earlier run; wanted --resume .*, or train.overwrite=true"):
        make_output_dir(str(tmp_path), **usual)
    for allowed in ({"resume": True}, {"training": False}, {"overwrite": True}):
        make_output_dir(str(tmp_path), **usual | allowed)
        assert (tmp_path / name).read_text() == "model_final.pth"


@pytest.mark.parametrize(("fresh", "wanted"), [(True, {"mine.pth"}), (False, {"mine.pth", "model_0000009.pth"})])
def test_what_a_run_takes_over(tmp_path, fresh, wanted):
    for name in ("model_0000009.pth", "mine.pth", "model_0000009.pth.unfinished"):
        (tmp_path / name).touch()
    begin_run(OmegaConf.create({"train": {"output_dir": str(tmp_path)}}), fresh=fresh)
    assert {path.name for path in tmp_path.iterdir()} == wanted | {"config.yaml", "environment.txt"}
    assert "torch==" in (tmp_path / "environment.txt").read_text()
