"""ShapeScenes: generated segmentation data sets in four levels; see README.md."""

from .canvas import Scene
from .kinds import CLASSES, IGNORE_LABEL, STUFF, THINGS, Stuff, Thing
from .scenes import BASIC, CONTEXT, LEVELS, MANY, PLACE, SPLITS, Level, draw_scene
from .writer import ensure, write

__all__ = [
    "BASIC",
    "CLASSES",
    "CONTEXT",
    "IGNORE_LABEL",
    "LEVELS",
    "MANY",
    "PLACE",
    "SPLITS",
    "STUFF",
    "THINGS",
    "Level",
    "Scene",
    "Stuff",
    "Thing",
    "draw_scene",
    "ensure",
    "write",
]
