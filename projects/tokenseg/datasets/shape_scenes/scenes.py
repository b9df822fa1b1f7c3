"""The levels of ShapeScenes, and the scenes of a level as a pure function of (level, seed, split, index, size)."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .basic import draw_basic
from .canvas import Scene
from .context import BASE_CONTEXT_SIZE, CONTEXT_STUFF, CONTEXT_THINGS, draw_context
from .kinds import STUFF, THINGS, Stuff, Thing
from .many import MANY_STUFF, MANY_THINGS, draw_many
from .place import PLACE_STUFF, PLACE_THINGS, draw_place

SPLITS = ("train", "val")

# The first level existed before levels had names, so its folder and its random numbers do not depend on its name.
_FIRST = "basic"


@dataclass(frozen=True, kw_only=True)
class Level:
    """One of the data sets of ShapeScenes.

    Attributes:
        name: The name of the level. Except for the first level, it is part of the names of its folder and splits.
        things: The thing classes.
        stuff: The stuff classes.
        draw: The function that draws a scene, given a random generator and a size in pixels.
        version: The version of the generator, which is increased with every change that affects a pixel.
        size: The default typical side of an image in pixels.
        num_train: The default number of training images.
        num_val: The default number of validation images.
    """

    name: str
    things: tuple[Thing, ...]
    stuff: tuple[Stuff, ...]
    draw: Callable[[np.random.Generator, int], Scene]
    version: int = 1
    size: int = 128
    num_train: int = 1000
    num_val: int = 100

    @property
    def classes(self) -> tuple[Thing | Stuff, ...]:
        """The classes in the order of their ids: first the things, then the stuff."""
        return self.things + self.stuff

    @property
    def folder(self) -> str:
        """The name of the level's folder in the folder of all data sets."""
        return f"shape_scenes{self._suffix}"

    def dataset(self, task: str, split: str) -> str:
        """Return the registered name of a split.

        Args:
            task: The task, `sem_seg` or `instance`.
            split: The split, one of `SPLITS`.
        """
        return f"shapes{self._suffix}_{task}_{split}"

    @property
    def _suffix(self) -> str:
        return "" if self.name == _FIRST else f"_{self.name}"


BASIC = Level(name=_FIRST, things=THINGS, stuff=STUFF, draw=draw_basic)
PLACE = Level(name="place", things=PLACE_THINGS, stuff=PLACE_STUFF, draw=draw_place, size=96, num_val=200)
CONTEXT = Level(
    name="context",
    things=CONTEXT_THINGS,
    stuff=CONTEXT_STUFF,
    draw=draw_context,
    version=2,
    size=BASE_CONTEXT_SIZE,
    num_train=800,
)
MANY = Level(name="many", things=MANY_THINGS, stuff=MANY_STUFF, draw=draw_many, size=96, num_train=2000, num_val=300)
LEVELS = (BASIC, PLACE, CONTEXT, MANY)


def draw_scene(*, seed: int, split: str, index: int, size: int | None = None, level: Level = BASIC) -> Scene:
    """Draw one image of a split, independently of all other images.

    Args:
        seed: The seed of the whole data set, 0 or more.
        split: The split, one of `SPLITS`.
        index: The index of the image in its split, 0 or more.
        size: The typical side in pixels, by default that of the level; things and textures are scaled with it. In the
            first level sides vary between 11/16 and 5/4 of it; in the others the image is a square of this side.
        level: The level.

    Raises:
        ValueError: The split is unknown, or the size is too small to distinguish the shapes.
    """
    size = level.size if size is None else size
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    if size < 64:
        raise ValueError(f"size must be at least 64 pixels, got {size}")
    name = [] if level.name == _FIRST else [zlib.crc32(level.name.encode())]
    return level.draw(np.random.default_rng([seed, SPLITS.index(split), index, *name]), size)
