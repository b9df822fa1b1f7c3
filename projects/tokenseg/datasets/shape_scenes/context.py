"""The level `context` of ShapeScenes: three shapes at the bottom have one of two classes each, by what lies at the top.

A square is told by the stuff of the top band, a triangle by the markers in the band, a disc by the number of rings in
it. All these lie out of reach of a small dilated FCN; see README.md.
"""

from dataclasses import dataclass

import numpy as np

from ...visualize import spread_colors
from . import patterns
from .canvas import BASE_SIZE, Canvas, Colors, Region, Scene
from .kinds import Stuff, Thing

BASE_CONTEXT_SIZE = 256
BAND = 64  # rows of the top band, at the base size
_RING_COUNTS = (1, 5)
_NUM_MARKERS = 2


@dataclass(frozen=True, kw_only=True)
class Clues:
    """What the top band of an image shows.

    Args:
        band: The name of the stuff that fills it, `sky` or `water`.
        marker: The name of its two markers, `star` or `cross`.
        rings: The number of rings in it, 1 or 5.
    """

    band: str
    marker: str
    rings: int


_LOCAL = {"star": patterns.star(), "cross": patterns.cross(), "ring": patterns.ring()}
_AMBIGUOUS = {
    "square_under_sky": patterns.square(),
    "square_under_water": patterns.square(),
    "triangle_with_star": patterns.triangle(),
    "triangle_with_cross": patterns.triangle(),
    "disc_with_1": patterns.disc(),
    "disc_with_5": patterns.disc(),
}
# Every shape has a hue of its own, and stuff has none, so that what a pixel shows is soon learnt and context is left.
_HUES = {"star": 0.0, "cross": 120.0, "ring": 240.0, "square": 60.0, "triangle": 180.0, "disc": 300.0}
_GREY = Colors(saturation=(0.0, 0.1))
_BANDS = {"sky": patterns.clouds, "water": patterns.waves}
_GROUNDS = (patterns.stripes, patterns.dots, patterns.checks)

_OUTLINES, _TEXTURES = _LOCAL | _AMBIGUOUS, {**_BANDS, "ground": patterns.checks}
_NAMES = [*_OUTLINES, *_TEXTURES]
_COLORS = dict(zip(_NAMES, map(tuple, spread_colors(len(_NAMES)).tolist()), strict=True))
CONTEXT_THINGS = tuple(Thing(name=name, color=_COLORS[name], outline=outline) for name, outline in _OUTLINES.items())
CONTEXT_STUFF = tuple(Stuff(name=name, color=_COLORS[name], texture=texture) for name, texture in _TEXTURES.items())
NEEDING_CONTEXT = tuple(_AMBIGUOUS)


def class_by_context(shape: str, clues: Clues) -> str:
    """The class of a square, triangle or disc at the bottom.

    Args:
        shape: `square`, `triangle` or `disc`.
        clues: What the top band shows.
    """
    told = {
        "square": f"square_under_{clues.band}",
        "triangle": f"triangle_with_{clues.marker}",
        "disc": f"disc_with_{clues.rings}",
    }
    return told[shape]


def draw_context(rng: np.random.Generator, size: int, *, clues: Clues | None = None) -> Scene:
    """Draw a square scene of the level `context`.

    What lies below the band does not depend on the clues, but for the classes: neither its pixels nor its places.

    Args:
        rng: The source of all that is random.
        size: The side of the image in pixels, with which things and textures grow.
        clues: What the top band shows; by default random.
    """
    chance, near, far, grain = rng.spawn(4)
    drawn = Clues(
        band=str(chance.choice(list(_BANDS))),
        marker=str(chance.choice(["star", "cross"])),
        rings=int(chance.choice(_RING_COUNTS)),
    )
    clues = drawn if clues is None else clues
    unit = size / BASE_CONTEXT_SIZE
    canvas = Canvas(rng=near, height=size, width=size, scale=unit * BASE_CONTEXT_SIZE / (2 * BASE_SIZE))
    band = canvas.grid()[0] < BAND * unit
    _draw_near(canvas, band, clues)
    canvas.rng = far
    canvas.fill(band, class_id=_NAMES.index(clues.band), texture=_BANDS[clues.band], beside=~band, colors=_GREY)
    _draw_clues(canvas, clues)
    canvas.rng = grain
    return canvas.finish()


def _draw_clues(canvas: Canvas, clues: Clues) -> None:
    """The markers and the rings, each in a cell of its own of the band, so that it finds a place and hides nothing."""
    blocks = canvas.rng.permutation(4)  # a quarter of the band each, which holds a marker or four rings
    for block in blocks[:_NUM_MARKERS]:
        _put(canvas, clues.marker, sides=(30.0, 34.0), lies=_around(x=64 * block + 32, y=30, within=2.0))
    corners = [(64 * block + x, y) for block in blocks[_NUM_MARKERS:] for x in (16, 48) for y in (16, 48)]
    for corner in canvas.rng.permutation(corners)[: clues.rings]:
        _put(canvas, "ring", sides=(19.0, 22.0), lies=_around(x=corner[0], y=corner[1], within=1.0))


def _around(*, x: float, y: float, within: float) -> Region:
    """The places at most `within` pixels of the base size, across or down, from a point in such pixels."""

    def share(at: float) -> tuple[float, float]:
        return (at - within) / BASE_CONTEXT_SIZE, (at + within) / BASE_CONTEXT_SIZE

    return Region(x=share(x), y=share(y))


def _draw_near(canvas: Canvas, band: np.ndarray, clues: Clues) -> None:
    """Everything below the band: two layers of ground, and the shapes that depend on it."""
    rng, (y, x) = canvas.rng, canvas.grid()
    size = len(x)
    upper = y < rng.uniform(0.4, 0.65) * size + np.tan(rng.uniform(-0.2, 0.2)) * (x - size / 2)
    first, second = rng.permutation(len(_GROUNDS))[:2]
    for texture, inside, beside in ((first, upper & ~band, np.zeros_like(upper)), (second, ~upper, upper & ~band)):
        canvas.fill(inside, class_id=_NAMES.index("ground"), texture=_GROUNDS[texture], beside=beside, colors=_GREY)
    for shape in rng.choice(["square", "triangle", "disc"], size=rng.integers(6, 10)):
        name = class_by_context(str(shape), clues)
        _put(canvas, name, sides=(28.0, 36.0), lies=Region(x=(0.03, 0.97), y=(0.865, 0.95)))


def _put(canvas: Canvas, name: str, *, sides: tuple[float, float], lies: Region) -> None:
    hue = _HUES[name.split("_")[0]]
    colors = Colors(hue=(hue, hue + 20.0), saturation=(0.5, 0.9))
    canvas.put(_OUTLINES[name], class_id=_NAMES.index(name), sides=sides, regions=(lies,), colors=colors)
