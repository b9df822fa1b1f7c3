"""The level `context` of ShapeScenes: the classes of shapes at the bottom depend on what is drawn at the top.

Each of three shapes belongs to one of two classes. The class of a square depends on the stuff in the band at the top,
that of a triangle on the markers in the band, and that of a disc on the number of rings in it. The band is outside the
receptive field that a small dilated FCN has at the shapes; see README.md.
"""

from dataclasses import dataclass

import numpy as np

from ...visualize import spread_colors
from . import patterns
from .canvas import BASE_SIZE, Canvas, Colors, Region, Scene
from .kinds import Stuff, Thing

BASE_CONTEXT_SIZE = 256
BAND = 64  # the number of rows of the top band in an image of BASE_CONTEXT_SIZE
_RING_COUNTS = (1, 5)
_NUM_MARKERS = 2


@dataclass(frozen=True, kw_only=True)
class Clues:
    """The contents of the top band of an image.

    Attributes:
        band: The name of the stuff that fills the band, `sky` or `water`.
        marker: The name of the two markers in the band, `star` or `cross`.
        rings: The number of rings in the band, 1 or 5.
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
# The hue of each shape, in degrees. Stuff is grey. So a model learns quickly which shape a pixel belongs to, and what
# remains to be learnt is the context.
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
    """Return the class name of a square, triangle or disc at the bottom.

    Args:
        shape: The shape, `square`, `triangle` or `disc`.
        clues: The contents of the top band.
    """
    told = {
        "square": f"square_under_{clues.band}",
        "triangle": f"triangle_with_{clues.marker}",
        "disc": f"disc_with_{clues.rings}",
    }
    return told[shape]


def draw_context(rng: np.random.Generator, size: int, *, clues: Clues | None = None) -> Scene:
    """Draw a square scene of the level `context`.

    Of everything below the band, only the classes depend on the clues, neither the pixels nor the positions.

    Args:
        rng: The random generator.
        size: The side of the image in pixels; things and textures are scaled with it.
        clues: The contents of the top band, by default random.
    """
    # Each part has its own generator, so that its random numbers do not depend on what is drawn in the others.
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
    """Draw the markers and the rings, each in its own cell of the band, so that none hides another."""
    blocks = canvas.rng.permutation(4)  # each quarter of the band has room for a marker or for four rings
    for block in blocks[:_NUM_MARKERS]:
        _put(canvas, clues.marker, sides=(30.0, 34.0), lies=_around(x=64 * block + 32, y=30, within=2.0))
    corners = [(64 * block + x, y) for block in blocks[_NUM_MARKERS:] for x in (16, 48) for y in (16, 48)]
    for corner in canvas.rng.permutation(corners)[: clues.rings]:
        _put(canvas, "ring", sides=(19.0, 22.0), lies=_around(x=corner[0], y=corner[1], within=1.0))


def _around(*, x: float, y: float, within: float) -> Region:
    """Return the region at most `within` from a point in each direction, in pixels at BASE_CONTEXT_SIZE."""

    def share(at: float) -> tuple[float, float]:
        return (at - within) / BASE_CONTEXT_SIZE, (at + within) / BASE_CONTEXT_SIZE

    return Region(x=share(x), y=share(y))


def _draw_near(canvas: Canvas, band: np.ndarray, clues: Clues) -> None:
    """Draw everything below the band: two layers of ground, and the shapes whose classes depend on the band."""
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
