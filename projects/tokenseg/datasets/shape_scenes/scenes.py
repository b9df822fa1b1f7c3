"""Draw one scene of ShapeScenes: a pure function of (seed, split, index, size)."""

from dataclasses import dataclass

import cv2
import numpy as np

from .kinds import IGNORE_LABEL, STUFF, THINGS, Thing
from .patterns import Texture, perimeter

SPLITS = ("train", "val")

_BASE_SIZE = 128  # textures and things are given in pixels of an image of this size
_SUPERSAMPLING = 4
_MIN_CONTRAST = 70.0  # RGB distance of a new colour from what lies under it
_MIN_VISIBLE = 0.7  # part of a thing that neither the image border nor later things may hide
_MAX_TURN = np.deg2rad(15)
_RIM_SHARE = 0.33  # of the area of every thing: with rims of equal width a ring would be the darkest thing
_TRIES = 12


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One image with its labels.

    Args:
        image: (H, W, 3) uint8, RGB.
        label: (H, W) uint8, places in `CLASSES`, `IGNORE_LABEL` on the borders of things.
        instances: (H, W) uint8, 0 where stuff is seen, i + 1 where thing i is seen, its border included.
        thing_classes: place in `THINGS` (and so in `CLASSES`) of each thing.
    """

    image: np.ndarray
    label: np.ndarray
    instances: np.ndarray
    thing_classes: tuple[int, ...]


def draw_scene(*, seed: int, split: str, index: int, size: int = _BASE_SIZE) -> Scene:
    """Draw image `index` of a split; no other image matters.

    Args:
        seed: of the whole data set, not negative.
        split: one of `SPLITS`.
        index: of the image within its split, not negative.
        size: typical side, in pixels; sides vary between 11/16 and 5/4 of it, and things and textures grow with it.

    Raises:
        ValueError: an unknown split, or a size too small to tell the shapes.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    if size < 64:
        raise ValueError(f"size must be at least 64 pixels, got {size}")
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    height, width = (int(side) for side in rng.integers(size * 11 // 16, size * 5 // 4, 2, endpoint=True))
    canvas = _Canvas(rng=rng, height=height, width=width, scale=size / _BASE_SIZE)
    canvas.draw_stuff()
    canvas.draw_things()
    return canvas.finish()


class _Canvas:
    """An unfinished scene.

    Args:
        rng: source of all that is random.
        height, width: of the image, in pixels.
        scale: pixels per pixel of the base size.
    """

    def __init__(self, *, rng: np.random.Generator, height: int, width: int, scale: float) -> None:
        self.rng = rng
        self.scale = scale
        self.image = np.zeros((height, width, 3), np.float32)
        self.stuff = np.zeros((height, width), np.uint8)
        self.instances = np.zeros((height, width), np.uint8)
        self.thing_classes: list[int] = []
        self.whole_areas: list[float] = []

    def draw_stuff(self) -> None:
        """Fill two or three layers, one above the other, each with a texture and two colours of its own."""
        height, width = self.stuff.shape
        y, x = _grid(height, width)
        layers = sum((y > horizon).astype(int) for horizon in self._horizons(x))
        # Only a weak prior: the sky is likelier on top, yet every class occurs in every place.
        odds = np.array([2.0 if stuff.name == "sky" else 1.0 for stuff in STUFF])
        order = self.rng.choice(len(STUFF), size=layers.max() + 1, replace=False, p=odds / odds.sum())
        for layer, place in enumerate(order):
            inside = layers == layer
            self.stuff[inside] = len(THINGS) + place
            field = STUFF[place].texture(self.rng, x / self.scale, y / self.scale)
            # The first layer lies on nothing that its colour could be mistaken for.
            base = self._base_color(self.image[layers == layer - 1])
            self.image[inside] = _mixed(*self._color_pair(base, contrast=1.0), field)[inside]

    def _horizons(self, x: np.ndarray) -> list[np.ndarray]:
        """One or two curves, each (H, W), the height in pixels at every x."""
        height, width = x.shape
        three_layers = self.rng.uniform() < 0.4
        levels = self.rng.uniform([0.2, 0.6], [0.4, 0.8]) if three_layers else [self.rng.uniform(0.2, 0.8)]
        slope = np.tan(self.rng.uniform(-0.35, 0.35)) * (0.4 if three_layers else 1.0)
        length, hills = self.rng.uniform(0.5, 1.5) * width, self.rng.uniform(0.0, 0.06) * height
        bend = hills * np.sin(2 * np.pi * (x / length + self.rng.uniform()))
        return [level * height + slope * (x - width / 2) + bend for level in levels]

    def draw_things(self) -> None:
        """Put things of random classes over one another; one that finds no place is left out."""
        height, width = self.stuff.shape
        mean_count = self.rng.uniform(3.5, 6.5) * height * width / (self.scale * _BASE_SIZE) ** 2
        for place in self.rng.integers(len(THINGS), size=max(2, round(mean_count))):
            found = self._find_place(THINGS[place])
            if found is not None:
                alpha, rim = found
                self._paint(alpha, rim=rim)
                self.thing_classes.append(int(place))
                self.instances[alpha >= 0.5] = len(self.thing_classes)

    def _find_place(self, thing: Thing) -> tuple[np.ndarray, np.ndarray] | None:
        """Coverage (H, W) by a new thing, and by its rim, that leaves all others well visible; None if no try did."""
        height, width = self.stuff.shape
        for _ in range(_TRIES):
            side = self.rng.uniform(25.0, 42.0) * self.scale  # of a square of the same area
            center = self.rng.uniform(0.0, 1.0, 2) * (width, height)
            alpha, rim = _coverage(
                thing,
                center=center,
                side=side,
                angle=self.rng.uniform(-_MAX_TURN, _MAX_TURN),
                shape=(height, width),
            )
            covered = alpha >= 0.5
            left = np.bincount(self.instances[~covered], minlength=len(self.whole_areas) + 1)[1:]
            whole = [*self.whole_areas, side**2]
            if np.all(np.append(left, covered.sum()) >= _MIN_VISIBLE * np.array(whole)):
                self.whole_areas = whole
                return alpha, rim
        return None

    def _paint(self, alpha: np.ndarray, *, rim: np.ndarray) -> None:
        """Blend a shaded, lightly textured surface with a dark rim into the image where `alpha` (H, W) says."""
        rows, columns = (slice(int(index.min()), int(index.max()) + 1) for index in np.nonzero(alpha))
        alpha, rim = alpha[rows, columns], rim[rows, columns]
        below = self.image[rows, columns]
        y, x = _grid(*alpha.shape)
        # Surfaces borrow the textures of the stuff, fainter, so that a patch alone does not tell a thing from stuff.
        texture: Texture = STUFF[self.rng.integers(len(STUFF))].texture
        field = texture(self.rng, x / self.scale, y / self.scale)
        base = self._base_color(below[alpha >= 0.5])
        surface = _mixed(*self._color_pair(base, contrast=0.25), field)
        angle = self.rng.uniform(-np.pi, np.pi)
        ramp = (x / x.max() - 0.5) * np.cos(angle) + (y / y.max() - 0.5) * np.sin(angle)
        surface *= ((1.0 + 0.3 * ramp) * (1.0 - 0.7 * rim))[..., None]
        self.image[rows, columns] = below + alpha[..., None] * (surface - below)

    def _base_color(self, below: np.ndarray) -> np.ndarray:
        """A random RGB colour (3,), 0..255, unlike the pixels (P, 3) it will lie on or beside."""
        for _ in range(_TRIES):
            hue, saturation, value = self.rng.uniform([0.0, 0.2, 0.65], [360.0, 0.8, 0.95])
            color = 255 * cv2.cvtColor(np.float32([[[hue, saturation, value]]]), cv2.COLOR_HSV2RGB)[0, 0]
            if not len(below) or np.linalg.norm(below - color, axis=1).mean() >= _MIN_CONTRAST:
                break
        return color

    def _color_pair(self, base: np.ndarray, *, contrast: float) -> tuple[np.ndarray, np.ndarray]:
        """A lighter and a darker variant (3,) of `base`, in random order."""
        change = contrast * self.rng.uniform(0.15, 0.22) * self.rng.choice([-1.0, 1.0])
        tint = contrast * self.rng.uniform(-12.0, 12.0, 3)
        return base * (1 + change) + tint, base * (1 - change) - tint

    def finish(self) -> Scene:
        """Add grain and the ignored borders."""
        grain = self.rng.normal(0.0, 3.0, self.image.shape).astype(np.float32)
        label = np.where(self.instances > 0, np.uint8([0, *self.thing_classes])[self.instances], self.stuff)
        label[_borders(self.instances)] = IGNORE_LABEL
        return Scene(
            image=np.clip(np.rint(self.image + grain), 0, 255).astype(np.uint8),
            label=label,
            instances=self.instances,
            thing_classes=tuple(self.thing_classes),
        )


def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return y, x


def _mixed(first: np.ndarray, second: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Two colours (3,) mixed by a field (H, W) in [0, 1] to (H, W, 3)."""
    return (first + (second - first) * field[..., None]).astype(np.float32)


def _coverage(
    thing: Thing, *, center: np.ndarray, side: float, angle: float, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Parts (H, W) of every pixel that a thing and its rim cover, by drawing both several times larger."""
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = [np.rint(_SUPERSAMPLING * (center + side * polygon @ turn)).astype(np.int32) for polygon in thing.outline]
    whole, rim = np.zeros((2, *(_SUPERSAMPLING * length for length in shape)), np.uint8)
    cv2.fillPoly(whole, corners, 255)
    rim_width = _RIM_SHARE * side / perimeter(thing.outline)
    # Half of the line lies outside the thing and is cut off.
    cv2.polylines(rim, corners, isClosed=True, color=255, thickness=round(2 * _SUPERSAMPLING * rim_width))
    fine = np.stack([whole, np.minimum(whole, rim)], axis=-1)
    coarse = cv2.resize(fine, shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return coarse[..., 0], coarse[..., 1]


def _borders(instances: np.ndarray) -> np.ndarray:
    """Mask (H, W) of the pixels beside another instance, on either side: borders two pixels wide."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return cv2.dilate(instances, cross) != cv2.erode(instances, cross)
