"""The level `place` of ShapeScenes, in which most appearances belong to two classes that differ only in their place."""

from dataclasses import dataclass

import numpy as np

from ...visualize import spread_colors
from . import patterns
from .canvas import BASE_SIZE, Canvas, Region, Scene
from .kinds import Stuff, Thing

_ABOVE = (Region(x=(0.1, 0.9), y=(0.1, 0.38)),)
_BELOW = (Region(x=(0.1, 0.9), y=(0.62, 0.9)),)
_SIDES = (Region(x=(0.06, 0.17), y=(0.15, 0.85)), Region(x=(0.83, 0.94), y=(0.15, 0.85)))
_MIDDLE = (Region(x=(0.36, 0.64), y=(0.15, 0.85)),)


@dataclass(frozen=True, kw_only=True)
class _Home:
    """The appearance of the things of a class, and the regions in which they lie."""

    name: str  # of the class
    outline: patterns.Outline
    regions: tuple[Region, ...]  # for the centre of a thing


_HOMES = (
    _Home(name="disc_above", outline=patterns.disc(), regions=_ABOVE),
    _Home(name="disc_below", outline=patterns.disc(), regions=_BELOW),
    _Home(name="triangle_above", outline=patterns.triangle(), regions=_ABOVE),
    _Home(name="triangle_below", outline=patterns.triangle(), regions=_BELOW),
    _Home(name="square_above", outline=patterns.square(), regions=_ABOVE),
    _Home(name="square_below", outline=patterns.square(), regions=_BELOW),
    _Home(name="ring_side", outline=patterns.ring(), regions=_SIDES),
    _Home(name="ring_middle", outline=patterns.ring(), regions=_MIDDLE),
    _Home(name="star_side", outline=patterns.star(), regions=_SIDES),
    _Home(name="star_middle", outline=patterns.star(), regions=_MIDDLE),
    _Home(name="crescent", outline=patterns.crescent(), regions=_ABOVE),
    _Home(name="half_disc", outline=patterns.half_disc(), regions=_BELOW),
)
# The stuff classes of each layer with their textures. Clouds, stripes, dots and checks each belong to two classes.
_UPPER = {"sky": patterns.clouds, "rain": patterns.stripes, "leaves": patterns.dots}
_LOWER = {
    "snow": patterns.clouds,
    "field": patterns.stripes,
    "meadow": patterns.dots,
    "pavement": patterns.checks,
    "water": patterns.waves,
}
_WALL = {"wall": patterns.checks}

_COLORS = [tuple(color) for color in spread_colors(len(_HOMES) + len(_UPPER) + len(_LOWER) + len(_WALL)).tolist()]
PLACE_THINGS = tuple(
    Thing(name=home.name, color=color, outline=home.outline)
    for home, color in zip(_HOMES, _COLORS[: len(_HOMES)], strict=True)
)
PLACE_STUFF = tuple(
    Stuff(name=name, color=color, texture=texture)
    for (name, texture), color in zip((_UPPER | _LOWER | _WALL).items(), _COLORS[len(_HOMES) :], strict=True)
)
_STUFF_IDS = {stuff.name: len(PLACE_THINGS) + place for place, stuff in enumerate(PLACE_STUFF)}


def draw_place(rng: np.random.Generator, size: int) -> Scene:
    """Draw a square scene of the level `place`.

    Args:
        rng: The random generator.
        size: The side of the image in pixels; things and textures are scaled with it.
    """
    canvas = Canvas(rng=rng, height=size, width=size, scale=size / BASE_SIZE)
    _draw_stuff(canvas)
    for place in rng.integers(len(_HOMES), size=rng.integers(4, 8)):
        home = _HOMES[place]
        canvas.put(home.outline, class_id=place, regions=home.regions)
    return canvas.finish()


def _draw_stuff(canvas: Canvas) -> None:
    """Fill an upper and a lower layer, and with some probability walls at the left and at the right border."""
    rng, (y, x) = canvas.rng, canvas.grid()
    size = len(x)
    slope, level = np.tan(rng.uniform(-0.2, 0.2)), rng.uniform(0.42, 0.58)
    upper = y < level * size + slope * (x - size / 2)
    above = str(rng.choice(list(_UPPER)))
    below = str(rng.choice([name for name, texture in _LOWER.items() if texture is not _UPPER[above]]))
    canvas.fill(upper, class_id=_STUFF_IDS[above], texture=_UPPER[above], beside=np.zeros_like(upper))
    canvas.fill(~upper, class_id=_STUFF_IDS[below], texture=_LOWER[below], beside=upper)
    for distance in (x, size - 1 - x):
        if rng.uniform() < 0.4:
            wall = distance < rng.uniform(0.1, 0.2) * size
            canvas.fill(wall, class_id=_STUFF_IDS["wall"], texture=_WALL["wall"], beside=~wall)
