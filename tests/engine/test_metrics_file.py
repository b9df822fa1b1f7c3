import pytest
from detectron2.utils.events import EventStorage, JSONWriter

from tokenseg.engine.metrics_file import MetricsFile, newest_metrics, read_metrics


def log(writer, iterations):
    with EventStorage() as storage:
        for iteration in iterations:
            storage.iter = iteration
            storage.put_scalar("loss", iteration**2)
            storage.put_scalar("lr", iteration, smoothing_hint=False)
            if iteration % 2:
                writer.write()
        writer.write()


def test_rows_are_those_of_detectron2(tmp_path):
    theirs, ours = JSONWriter(str(tmp_path / "theirs.json")), MetricsFile(str(tmp_path / "ours.json"))
    for writer in (theirs, ours):
        log(writer, range(7))
    theirs.close()
    assert (tmp_path / "ours.json").read_text() == (tmp_path / "theirs.json").read_text()
    assert [row["iteration"] for row in read_metrics(ours.path)] == [1, 3, 5, 6]


@pytest.mark.parametrize(("iteration", "complete", "wanted"), [(3, True, [1, 3]), (3, False, [1]), (4, True, [1, 3])])
def test_rows_after_an_iteration_are_forgotten(tmp_path, iteration, complete, wanted):
    writer = MetricsFile(str(tmp_path / "metrics.json"))
    log(writer, range(7))
    again = MetricsFile(writer.path)
    assert again.rewind(iteration, due=True, complete=lambda row: complete) == (iteration in wanted)
    assert [row["iteration"] for row in read_metrics(writer.path)] == wanted
    log(again, range(iteration, 7))
    assert [row["iteration"] for row in read_metrics(writer.path)] == sorted({*wanted, 3, 5, 6})


def test_a_row_cut_in_the_middle_does_not_count(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text('{"iteration": 1}\n{"iteration": 3, "lo')
    assert read_metrics(path) == [{"iteration": 1}]
    MetricsFile(str(path)).rewind(1, due=True, complete=lambda row: True)
    assert path.read_text() == '{"iteration": 1}\n'


def test_the_newest_of_each_scalar(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text('{"iteration": 1, "mIoU": 30.0}\n{"iteration": 3, "loss": 2.0}\n{"iteration": 5, "loss": 1.0}\n')
    assert newest_metrics(path) == {"iteration": 5, "mIoU": 30.0, "loss": 1.0}


def test_without_a_file(tmp_path):
    writer = MetricsFile(str(tmp_path / "metrics.json"))
    writer.clear()
    assert not writer.rewind(3, due=True, complete=lambda row: True) and read_metrics(writer.path) == []
