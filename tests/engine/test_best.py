import pytest
import torch
from torch import nn

from tokenseg.engine.best import BestCheckpoint
from tokenseg.engine.checkpoint import Checkpointer


@pytest.fixture
def best(tmp_path):
    """A function that creates a `BestCheckpoint` on the same folder, as a run and its resumes do."""

    def build(weight=0.0, metric="sem_seg/mIoU"):
        model = nn.Linear(1, 1, bias=False)
        nn.init.constant_(model.weight, weight)
        return BestCheckpoint(metric=metric, checkpointer=Checkpointer(model, str(tmp_path)))

    return build


def stored(tmp_path):
    content = torch.load(tmp_path / "model_best.pth")
    return content["model"]["weight"].item(), content["best_value"], content["iteration"]


def test_the_best_is_kept(best, tmp_path):
    for iteration, value in enumerate([float("nan"), 10.0, 9.0, 10.0, 12.5, 3.0]):
        keeper = best(weight=value)
        keeper.resume()
        keeper({"sem_seg": {"mIoU": value}}, iteration)
        if iteration in (1, 2, 3):
            assert stored(tmp_path) == (10.0, 10.0, 1)
    assert stored(tmp_path) == (12.5, 12.5, 4) and (keeper.best, keeper.iteration) == (12.5, 4)
    assert [path.name for path in tmp_path.iterdir()] == ["model_best.pth"]


def test_no_number_is_no_best(best, tmp_path, caplog):
    best()({"sem_seg": {"mIoU": float("nan")}}, 0)
    assert list(tmp_path.iterdir()) == [] and "No best checkpoint: sem_seg/mIoU is nan" in caplog.text


def test_a_missing_metric_is_told(best):
    with pytest.raises(ValueError, match=r"'sem_seg/mIou'; the evaluation gave \['sem_seg/mIoU'\]"):
        best(metric="sem_seg/mIou")({"sem_seg": {"mIoU": 1.0, "IoU-sky": 2.0}}, 0)


def test_a_damaged_best_is_told(best, tmp_path):
    (tmp_path / "model_best.pth").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"model_best\.pth' cannot be read|is not a weights file"):
        best().resume()
