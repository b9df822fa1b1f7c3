import errno
import fcntl
import os

import pytest
from omegaconf import OmegaConf

from tokenseg.engine.run_folder import begin_run, locked, make_output_dir


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
    for name in ("model_0000009.pth", "mine.pth"):
        (tmp_path / name).touch()
    begin_run(OmegaConf.create({"train": {"output_dir": str(tmp_path)}}), fresh=fresh)
    assert {path.name for path in tmp_path.iterdir()} == wanted | {"config.yaml", "environment.txt"}
    assert "torch==" in (tmp_path / "environment.txt").read_text()


def in_another_process(folder):
    """The error that another process gets when it locks a folder; empty if it succeeds."""
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        try:
            with locked(str(folder)):
                os._exit(0)
        except ValueError as error:
            os.write(tell, str(error).encode())
        finally:
            os._exit(1)
    os.close(tell)
    os.waitpid(child, 0)
    with open(told) as stream:
        return stream.read()


def test_one_run_at_a_time_uses_a_folder(tmp_path):
    (tmp_path / "model_0000009.pth.unfinished").touch()
    with locked(str(tmp_path)):
        told = in_another_process(tmp_path)
        assert f"'{tmp_path}' is in use by process {os.getpid()} on " in told and "since 20" in told
        assert [path.name for path in tmp_path.iterdir()] == ["run.lock"]
    # The first of these processes dies while it holds the lock, which must not keep the second from getting it.
    assert in_another_process(tmp_path) == "" and in_another_process(tmp_path) == ""


def test_what_a_run_has_forked_does_not_hold_its_folder(tmp_path):
    """Loader processes, which inherit open files, outlive a killed run by some seconds."""
    wait, end = os.pipe()
    with locked(str(tmp_path)):
        child = os.fork()
        if not child:
            os.close(end)
            os.read(wait, 1)
            os._exit(0)
    assert in_another_process(tmp_path) == ""
    os.close(end)
    os.waitpid(child, 0)


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with locked(str(tmp_path)):
        assert "cannot be locked ([Errno 37] No locks available): make sure that only one run" in caplog.text
