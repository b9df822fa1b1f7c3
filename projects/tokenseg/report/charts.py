"""Line charts and heat maps as SVG. They contain only numbers and escaped names, so no name can inject HTML."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

# The colours of runs, which are distinguishable on white and on black, also with most kinds of colour blindness (mostly
# from Okabe and Ito).
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#7f7f7f")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 420, 240, 52, 28, 10, 12
# The maximum number of points of a curve. More points than pixels would not be visible.
_POINTS = 400
# The maximum number of classes for which a confusion matrix has room for their names.
_NAMED = 40


@dataclass(frozen=True)
class Curve:
    """A named line.

    Attributes:
        name: The name of the run.
        points: The pairs (iteration, value), ordered by iteration.
    """

    name: str
    points: Sequence[tuple[int, float]]


def line_chart(title: str, curves: Sequence[Curve]) -> Markup:
    """Draw curves over iterations. Curves without a finite point are skipped.

    Args:
        title: The name of the values.
        curves: One curve for each run. The order of the runs determines their colours.

    Returns:
        An SVG element, or an empty string if there is nothing to draw.
    """
    drawn = [
        (color, Curve(curve.name, [(x, y) for x, y in curve.points if math.isfinite(y)]))
        for color, curve in zip(_cycle(len(curves)), curves, strict=True)
    ]
    drawn = [(color, curve) for color, curve in drawn if curve.points]
    if not drawn:
        return Markup("")
    values = [y for _, curve in drawn for _, y in curve.points]
    ticks = nice_ticks(min(values), max(values))
    low, high = min(ticks[0], *values), max(ticks[-1], *values)
    last = max(x for _, curve in drawn for x, _ in curve.points)

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (_WIDTH - _LEFT - _RIGHT) * x / max(last, 1)
        down = _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * (y - low) / ((high - low) or 1)
        return round(across, 1), round(down, 1)

    parts = [_gridline(place(0, tick)[1], tick) for tick in ticks]
    anchors = {0: "middle", last // 2: "middle", last: "end"}  # centred, the last label would leave the chart
    parts += [_iteration(place(x, low)[0], x, anchor) for x, anchor in anchors.items()]
    parts += [_line(color, curve, place) for color, curve in drawn]
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        _WIDTH, _HEIGHT, title, Markup("").join(parts)
    )


def _cycle(count: int) -> list[str]:
    return [COLORS[place % len(COLORS)] for place in range(count)]


def _gridline(down: float, tick: float) -> Markup:
    text = Markup('<text class="tick" x="{}" y="{}" text-anchor="end">{:g}</text>').format(_LEFT - 6, down + 4, tick)
    return (
        Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(_LEFT, _WIDTH - _RIGHT, down, down) + text
    )


def _iteration(across: float, iteration: int, anchor: str) -> Markup:
    return Markup('<text class="tick" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        across, _HEIGHT - 8, anchor, f"{iteration:,}"
    )


def _line(color: str, curve: Curve, place: Callable[[float, float], tuple[float, float]]) -> Markup:
    chosen = curve.points[:: max(1, len(curve.points) // _POINTS)]
    if chosen[-1] != curve.points[-1]:
        chosen = [*chosen, curve.points[-1]]
    path = " ".join("{},{}".format(*place(x, y)) for x, y in chosen)
    line = Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="1.8"/>').format(path, color)
    dots = [
        Markup('<circle cx="{}" cy="{}" r="{}" fill="{}"><title>{}: {:.4g} at {}</title></circle>').format(
            *place(x, y), 3 if len(chosen) <= 60 else 1.2, color, curve.name, y, f"{x:,}"
        )
        for x, y in chosen
    ]
    return line + Markup("").join(dots)


def nice_ticks(low: float, high: float, *, count: int = 5) -> list[float]:
    """Choose about `count` round numbers that span an interval.

    Args:
        low: The lower end of the interval.
        high: The upper end of the interval, which may equal the lower one.
        count: The approximate number of ticks.

    Returns:
        Ascending multiples of 1, 2 or 5 times a power of ten; the first is at most `low`, the last at least `high`.
    """
    span = (high - low) or abs(high) or 1.0
    power = 10 ** math.floor(math.log10(span / count))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power * count >= span)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(place * step, 12) for place in range(first, last + 1)]


def confusion_chart(confusion: np.ndarray, names: Sequence[str]) -> Markup:
    """Draw a confusion matrix. Each row shows how the pixels of a labelled class are divided among predicted classes.

    Args:
        confusion: The number of pixels (K, K), [predicted, labelled].
        names: The names of the classes.

    Returns:
        An SVG element with a square for every cell that has at least 0.1 % of its row; its tooltip describes the cell.
    """
    totals = confusion.sum(axis=0)
    shares = confusion.T / np.maximum(totals[:, None], 1)
    cells = [
        Markup('<rect x="{}" y="{}" width="1" height="1" fill-opacity="{:.3f}"><title>{}</title></rect>').format(
            column, row, max(0.06, float(share)), f"{names[row]} predicted as {names[column]}: {100 * share:.1f} %"
        )
        for row in np.flatnonzero(totals).tolist()
        for column, share in enumerate(shares[row])
        if share >= 0.001
    ]
    size, margin = len(names), 0.0
    if size <= _NAMED:
        margin = 0.12 * size + 0.35 * max(map(len, names))
        for place, name in enumerate(names):
            middle = place + 0.7
            cells.append(Markup('<text x="-0.2" y="{}" text-anchor="end">{}</text>').format(middle, name))
            turned = Markup('<text transform="translate({} -0.2) rotate(-60)">{}</text>').format(middle, name)
            cells.append(turned)
    return Markup(
        '<svg class="confusion" viewBox="{} {} {} {}" role="img" aria-label="confusion matrix">{}</svg>'
    ).format(-margin, -margin, size + margin, size + margin, Markup("").join(cells))


def worst_confusions(confusion: np.ndarray, names: Sequence[str], *, count: int = 15) -> list[tuple[str, str, float]]:
    """List the largest confusions as (labelled class, predicted class, share of the labelled class's pixels in %)."""
    totals = confusion.sum(axis=0)
    shares = 100 * confusion.T / np.maximum(totals[:, None], 1)
    np.fill_diagonal(shares, 0)
    order = np.argsort(shares, axis=None)[::-1][:count]
    pairs = [np.unravel_index(place, shares.shape) for place in order]
    return [(names[row], names[column], float(shares[row, column])) for row, column in pairs if shares[row, column] > 0]


def swatch(color: str) -> Markup:
    """Return a small square of a colour, which is shown in front of the name of a run or class."""
    return Markup('<span class="swatch" style="background:{}"></span>').format(escape(color))
