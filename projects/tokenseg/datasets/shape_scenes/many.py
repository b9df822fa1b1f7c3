"""The level `many` of ShapeScenes: 40 classes with a long-tailed distribution, of which each image contains only a few.

The class of a thing is determined by its outline and its surface together, that of stuff by its texture. Most classes
occur only in a part of the image.
"""

import numpy as np

from ...visualize import spread_colors
from . import patterns
from .canvas import BASE_SIZE, Canvas, Region, Scene, Surface
from .kinds import THINGS, Stuff, Thing

# The surfaces by name; `plain` is the default, a faint texture, which all things of the other levels have.
_SURFACES = {
    "plain": None,
    "striped": Surface(texture=patterns.stripes, contrast=1.5),
    "dotted": Surface(texture=patterns.dots, contrast=1.5),
    "checked": Surface(texture=patterns.checks, contrast=1.5),
}
_HOMES = {
    **dict.fromkeys(["crescent", "star", "ring"], Region(y=(0.05, 0.6))),
    **dict.fromkeys(["square", "half_disc", "triangle"], Region(y=(0.4, 0.95))),
    **dict.fromkeys(["disc", "cross"], Region()),
}
# The textures of stuff by class name, the most frequent class of each layer first.
_UPPER = {"sky": patterns.clouds, "bricks": patterns.bricks, "ripples": patterns.ripples}
_LOWER = {
    "meadow": patterns.dots,
    "pavement": patterns.checks,
    "water": patterns.waves,
    "field": patterns.stripes,
    "zigzag": patterns.zigzag,
}

# The outline and the surface of each thing class, the most frequent class first. Both change with every class, so that
# frequent and rare classes have the same outlines and surfaces. After each round through the outlines, the surfaces are
# shifted by one, so that all pairs occur.
_PAIRS = [
    (THINGS[step % len(THINGS)], list(_SURFACES)[(step + step // len(THINGS)) % len(_SURFACES)])
    for step in range(len(THINGS) * len(_SURFACES))
]
_TEXTURES = _UPPER | _LOWER
_COLORS = [tuple(color) for color in spread_colors(len(_PAIRS) + len(_TEXTURES)).tolist()]
MANY_THINGS = tuple(
    Thing(name=f"{surface}_{thing.name}", color=color, outline=thing.outline)
    for (thing, surface), color in zip(_PAIRS, _COLORS[: len(_PAIRS)], strict=True)
)
MANY_STUFF = tuple(
    Stuff(name=name, color=color, texture=texture)
    for (name, texture), color in zip(_TEXTURES.items(), _COLORS[len(_PAIRS) :], strict=True)
)
_STUFF_IDS = {stuff.name: len(MANY_THINGS) + place for place, stuff in enumerate(MANY_STUFF)}


def draw_many(rng: np.random.Generator, size: int) -> Scene:
    """Draw a square scene of the level `many`.

    Args:
        rng: The random generator.
        size: The side of the image in pixels; things and textures are scaled with it.
    """
    canvas = Canvas(rng=rng, height=size, width=size, scale=size / BASE_SIZE)
    y, x = canvas.grid()
    upper = y < rng.uniform(0.3, 0.7) * size + np.tan(rng.uniform(-0.2, 0.2)) * (x - size / 2)
    for names, inside, beside in ((_UPPER, upper, np.zeros_like(upper)), (_LOWER, ~upper, upper)):
        name = list(names)[rng.choice(len(names), p=_odds(len(names)))]
        canvas.fill(inside, class_id=_STUFF_IDS[name], texture=names[name], beside=beside)
    kinds = rng.choice(len(_PAIRS), size=rng.integers(1, 4), p=_odds(len(_PAIRS)))
    for place in rng.choice(kinds, size=rng.integers(3, 7)):
        thing, surface = _PAIRS[place]
        canvas.put(thing.outline, class_id=place, regions=(_HOMES[thing.name],), surface=_SURFACES[surface])
    return canvas.finish()


def _odds(count: int) -> np.ndarray:
    """Return probabilities by Zipf's law: that of the n-th class is proportional to 1 / n."""
    odds = 1.0 / np.arange(1, count + 1)
    return odds / odds.sum()
