import xml.etree.ElementTree as ElementTree

import pytest

from tokenseg.report.reliability import Bin, calibration_error, reliability_chart

NAN = float("nan")
BINS = [Bin(0.0, 0.5, 0, NAN, NAN), Bin(0.5, 0.75, 1, 0.7, 0.5), Bin(0.75, 1.0, 3, 0.9, 1.0)]


def test_the_error_is_weighted_by_pixels():
    assert calibration_error(BINS) == pytest.approx((0.2 + 3 * 0.1) / 4)


def test_bars_of_a_reliability_diagram():
    chart = ElementTree.fromstring(reliability_chart(BINS))
    # The diagram is a square of 200 pixels from (40, 10); one pixel between bars remains free.
    places = [[float(bar.get(name)) for name in ("x", "y", "width", "height")] for bar in chart.iter("rect")]
    assert places == [[140, 110, 49, 100], [190, 10, 49, 200]]
    assert [title.text for title in chart.iter("title")] == [
        "confidence 50.0 to 75.0 %: accuracy 50.0 %, 25.0 % of the pixels",
        "confidence 75.0 to 100.0 %: accuracy 100.0 %, 75.0 % of the pixels",
    ]
    (diagonal,) = [line for line in chart.iter("line") if line.get("class") == "diagonal"]
    assert [float(diagonal.get(name)) for name in ("x1", "y1", "x2", "y2")] == [40, 210, 240, 10]
