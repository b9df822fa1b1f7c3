"""Reliability diagrams, which show the accuracy of a model as a function of its confidence."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .charts import COLORS

_SIDE, _LEFT, _TOP, _RIGHT, _BOTTOM = 200, 40, 10, 12, 28


@dataclass(frozen=True)
class Bin:
    """The pixels whose confidence lies in an interval.

    Attributes:
        above: The lower end of the interval, 0 to 1, which is not part of it.
        to: The upper end of the interval, 0 to 1, which is part of it.
        pixels: The number of pixels.
        confidence: The mean confidence of the pixels, 0 to 1; NaN if there are none.
        accuracy: The share of the pixels whose class is correct, 0 to 1; NaN if there are none.
    """

    above: float
    to: float
    pixels: float
    confidence: float
    accuracy: float


def calibration_error(bins: Sequence[Bin]) -> float:
    """Compute the mean absolute difference of accuracy and confidence over the bins, weighted by their pixels.

    At least one bin must have pixels.
    """
    used = [one for one in bins if one.pixels]
    return sum(abs(one.accuracy - one.confidence) * one.pixels for one in used) / sum(one.pixels for one in used)


def reliability_chart(bins: Sequence[Bin]) -> Markup:
    """Draw a bar for each bin that has pixels, and the diagonal at which the bars of a calibrated model end.

    Darker bars stand for more pixels.

    Args:
        bins: The bins, of which at least one has pixels.

    Returns:
        An SVG element with the confidence on the horizontal and the accuracy on the vertical axis, both 0 to 100 %.
    """
    most, total = max(one.pixels for one in bins), sum(one.pixels for one in bins)
    parts = [_ticks(tick) for tick in (0, 0.25, 0.5, 0.75, 1)]
    parts += [_bar(one, most=most, total=total) for one in bins if one.pixels]
    (left, bottom), (right, top) = _place(0, 0), _place(1, 1)
    parts.append(Markup('<line class="diagonal" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(left, right, bottom, top))
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="reliability diagram">{}</svg>').format(
        _LEFT + _SIDE + _RIGHT, _TOP + _SIDE + _BOTTOM, Markup("").join(parts)
    )


def _place(confidence: float, accuracy: float) -> tuple[float, float]:
    return round(_LEFT + _SIDE * confidence, 1), round(_TOP + _SIDE * (1 - accuracy), 1)


def _ticks(tick: float) -> Markup:
    (left, down), (right, _), (across, bottom) = _place(0, tick), _place(1, tick), _place(tick, 0)
    line = Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(left, right, down, down)
    text = Markup('<text class="tick" x="{}" y="{}" text-anchor="{}">{:g}</text>')
    return (
        line
        + text.format(left - 6, down + 4, "end", 100 * tick)
        + text.format(across, bottom + 20, "middle", 100 * tick)
    )


def _bar(one: Bin, *, most: float, total: float) -> Markup:
    (left, top), (right, bottom) = _place(one.above, one.accuracy), _place(one.to, 0)
    interval = f"confidence {100 * one.above:.1f} to {100 * one.to:.1f} %"
    told = f"{interval}: accuracy {100 * one.accuracy:.1f} %, {100 * one.pixels / total:.1f} % of the pixels"
    # One pixel between neighbouring bars remains free.
    shape = Markup('<rect x="{}" y="{}" width="{:.1f}" height="{:.1f}"').format(
        left, top, right - left - 1, bottom - top
    )
    look = Markup(' fill="{}" fill-opacity="{:.2f}">').format(COLORS[0], 0.25 + 0.75 * one.pixels / most)
    return shape + look + Markup("<title>{}</title></rect>").format(told)
