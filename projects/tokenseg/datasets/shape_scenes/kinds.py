"""The classes of the first level of ShapeScenes: their names, colours, outlines and textures.

The class id in label maps is the index in `CLASSES`. Things come first, so a COCO category id is this index + 1.
"""

from dataclasses import dataclass

from . import patterns

IGNORE_LABEL = 255


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A class of countable objects, which differ from those of other classes in their shape.

    Attributes:
        name: The class name.
        color: The RGB colour, 0..255, in which pictures show the class. Colours in the images are independent of it.
        outline: The polygons of the shape, with a total area of 1, around the origin.
    """

    name: str
    color: tuple[int, int, int]
    outline: patterns.Outline


@dataclass(frozen=True, kw_only=True)
class Stuff:
    """A class of background, such as sky or ground, which differs from other classes in its texture.

    Attributes:
        name: The class name.
        color: The RGB colour, 0..255, in which pictures show the class. Colours in the images are independent of it.
        texture: The function that draws a random field, which mixes two colours.
    """

    name: str
    color: tuple[int, int, int]
    texture: patterns.Texture


THINGS = (
    Thing(name="disc", color=(220, 20, 60), outline=patterns.disc()),
    Thing(name="ring", color=(255, 140, 0), outline=patterns.ring()),
    Thing(name="half_disc", color=(250, 210, 50), outline=patterns.half_disc()),
    Thing(name="crescent", color=(150, 75, 20), outline=patterns.crescent()),
    Thing(name="triangle", color=(200, 60, 200), outline=patterns.triangle()),
    Thing(name="square", color=(100, 40, 160), outline=patterns.square()),
    Thing(name="star", color=(255, 150, 180), outline=patterns.star()),
    Thing(name="cross", color=(240, 240, 240), outline=patterns.cross()),
)
STUFF = (
    Stuff(name="sky", color=(130, 190, 240), texture=patterns.clouds),
    Stuff(name="water", color=(30, 80, 200), texture=patterns.waves),
    Stuff(name="field", color=(130, 160, 40), texture=patterns.stripes),
    Stuff(name="meadow", color=(40, 130, 70), texture=patterns.dots),
    Stuff(name="pavement", color=(110, 110, 120), texture=patterns.checks),
)
CLASSES: tuple[Thing | Stuff, ...] = THINGS + STUFF
