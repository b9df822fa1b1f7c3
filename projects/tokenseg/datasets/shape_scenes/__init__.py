"""ShapeScenes: a generated segmentation data set; see README.md."""

from .kinds import CLASSES, IGNORE_LABEL, STUFF, THINGS, Stuff, Thing
from .scenes import SPLITS, Scene, draw_scene
from .writer import FOLDER, ensure, write

__all__ = [
    "CLASSES",
    "FOLDER",
    "IGNORE_LABEL",
    "SPLITS",
    "STUFF",
    "THINGS",
    "Scene",
    "Stuff",
    "Thing",
    "draw_scene",
    "ensure",
    "write",
]
