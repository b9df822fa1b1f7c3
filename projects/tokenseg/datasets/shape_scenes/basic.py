"""The first level of ShapeScenes: things differ in their outline and stuff in its texture, and both lie anywhere."""

import numpy as np

from .canvas import BASE_SIZE, Canvas, Scene
from .kinds import STUFF, THINGS


def draw_basic(rng: np.random.Generator, size: int) -> Scene:
    """Draw a scene of the first level; its sides vary between 11/16 and 5/4 of the size.

    Args:
        rng: The random generator.
        size: The typical side in pixels; things and textures are scaled with it.
    """
    height, width = (int(side) for side in rng.integers(size * 11 // 16, size * 5 // 4, 2, endpoint=True))
    canvas = Canvas(rng=rng, height=height, width=width, scale=size / BASE_SIZE)
    _draw_stuff(canvas)
    # Draw things of random classes on top of one another. A thing for which no place is found is skipped.
    mean_count = rng.uniform(3.5, 6.5) * height * width / (canvas.scale * BASE_SIZE) ** 2
    for place in rng.integers(len(THINGS), size=max(2, round(mean_count))):
        canvas.put(THINGS[place].outline, class_id=place)
    return canvas.finish()


def _draw_stuff(canvas: Canvas) -> None:
    """Fill two or three layers, one above the other."""
    y, x = canvas.grid()
    layers = np.sum([y > horizon for horizon in _horizons(canvas.rng, x)], axis=0)
    # This is only a weak prior: the sky is more likely to be on top, but every class occurs everywhere.
    odds = np.array([2.0 if stuff.name == "sky" else 1.0 for stuff in STUFF])
    order = canvas.rng.choice(len(STUFF), size=layers.max() + 1, replace=False, p=odds / odds.sum())
    for layer, place in enumerate(order):
        # The colours of a layer must differ from those of the layer above; above the first one there is none.
        canvas.fill(
            layers == layer, class_id=len(THINGS) + place, texture=STUFF[place].texture, beside=layers == layer - 1
        )


def _horizons(rng: np.random.Generator, x: np.ndarray) -> list[np.ndarray]:
    """Draw one or two curves between layers, each as the row (H, W) of the curve at every pixel's column."""
    height, width = x.shape
    three_layers = rng.uniform() < 0.4
    levels = rng.uniform([0.2, 0.6], [0.4, 0.8]) if three_layers else [rng.uniform(0.2, 0.8)]
    slope = np.tan(rng.uniform(-0.35, 0.35)) * (0.4 if three_layers else 1.0)
    length, hills = rng.uniform(0.5, 1.5) * width, rng.uniform(0.0, 0.06) * height
    bend = hills * np.sin(2 * np.pi * (x / length + rng.uniform()))
    return [level * height + slope * (x - width / 2) + bend for level in levels]
