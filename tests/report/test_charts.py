import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from tokenseg.report.charts import Curve, confusion_chart, line_chart, nice_ticks, worst_confusions

HOSTILE = "<b>\"&'"


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(0, 97, [0, 20, 40, 60, 80, 100]), (-0.3, 0.4, [-0.4, -0.2, 0, 0.2, 0.4]), (5, 5, [5]), (0, 0, [0])],
)
def test_ticks_are_round_and_span(low, high, wanted):
    assert nice_ticks(low, high) == pytest.approx(wanted)


def test_a_chart_places_its_points():
    chart = ElementTree.fromstring(line_chart("mIoU", [Curve(HOSTILE, [(1, 0.0), (10, float("nan")), (20, 100.0)])]))
    (line,) = chart.iter("polyline")
    points = [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
    # from x = 52 to 408 over 20 iterations, from y = 212 down to 10 over 100
    assert points == [(69.8, 212.0), (408.0, 10.0)]
    assert [title.text for title in chart.iter("title")] == [f"{HOSTILE}: 0 at 1", f"{HOSTILE}: 100 at 20"]


def test_without_values_there_is_no_chart():
    assert line_chart("mIoU", [Curve("a", []), Curve("b", [(1, float("nan"))])]) == ""


def test_confusions_are_shares_of_the_labelled_pixels():
    # [predicted, labelled]: of 10 pixels of a, 3 are predicted as b; no pixel is labelled c
    confusion = np.array([[7, 0, 0], [3, 4, 0], [0, 0, 0]])
    names = [HOSTILE, "b", "c"]
    assert worst_confusions(confusion, names) == [(HOSTILE, "b", 30.0)]
    cells = {title.text for title in ElementTree.fromstring(confusion_chart(confusion, names)).iter("title")}
    assert cells == {
        f"{HOSTILE} predicted as {HOSTILE}: 70.0 %",
        f"{HOSTILE} predicted as b: 30.0 %",
        "b predicted as b: 100.0 %",
    }
