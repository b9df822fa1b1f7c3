import pytest
from torch import nn

from tokenseg.engine.checkpoint import Checkpointer
from tokenseg.engine.saving import PeriodicSaver


@pytest.fixture
def saver(tmp_path):
    def build(**options):
        settings = {"max_iter": 10, "period": 2, "max_to_keep": 2} | options
        return PeriodicSaver(checkpointer=Checkpointer(nn.Linear(1, 1), str(tmp_path)), **settings)

    return build


def numbers(tmp_path):
    return sorted(int(path.stem[6:]) for path in tmp_path.glob("model_0*.pth"))


def test_the_newest_stay_over_resumes(saver, tmp_path):
    for iteration in range(9):
        saver()(iteration)  # each time by a new saver, like that of a resumed run
    assert numbers(tmp_path) == [5, 7] and not (tmp_path / "model_final.pth").exists()
    saver()(9)
    assert numbers(tmp_path) == [7, 9] and (tmp_path / "last_checkpoint").read_text() == "model_final.pth"


def test_all_stay_without_a_bound(saver, tmp_path):
    for iteration in range(10):
        saver(max_to_keep=None)(iteration)
    assert numbers(tmp_path) == [1, 3, 5, 7, 9]


def test_a_run_rewound_deletes_nothing_that_lies_ahead(saver, tmp_path):
    for iteration in (1, 3, 5, 7):
        saver(max_to_keep=None)(iteration)
    saver()(3)
    assert numbers(tmp_path) == [1, 3, 5, 7]
    saver(max_to_keep=1)(3)
    assert numbers(tmp_path) == [3, 5, 7]


def test_what_a_kill_prevented_is_made_up(saver, tmp_path):
    for iteration in (5, 7, 9):
        saver(max_iter=20, max_to_keep=None)(iteration)
    saver().make_up(9)
    assert numbers(tmp_path) == [7, 9] and (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    time = (tmp_path / "model_final.pth").stat().st_mtime_ns
    saver().make_up(9)
    assert (tmp_path / "model_final.pth").stat().st_mtime_ns == time
