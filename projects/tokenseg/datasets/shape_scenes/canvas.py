"""What all levels of ShapeScenes draw with: a canvas that is filled with stuff, and then with things."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .kinds import IGNORE_LABEL, STUFF
from .patterns import Outline, Texture, perimeter

BASE_SIZE = 128  # textures and things are given in pixels of an image of this size

_SUPERSAMPLING = 4
_MIN_CONTRAST = 70.0  # RGB distance of a new colour from what lies under it
_BRIGHTNESS = (0.65, 0.95)
_MIN_VISIBLE = 0.7  # part of a thing that neither the image border nor later things may hide
_MAX_TURN = np.deg2rad(15)
_RIM_SHARE = 0.33  # of the area of every thing: with rims of equal width a ring would be the darkest thing
_TRIES = 12

Window = tuple[slice, slice]  # rows and columns of an image


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One image with its labels.

    Args:
        image: (H, W, 3) uint8, RGB.
        label: (H, W) uint8, places in the level's classes, `IGNORE_LABEL` on the borders of things.
        instances: (H, W) uint8, 0 where stuff is seen, i + 1 where thing i is seen, its border included.
        thing_classes: Place in the level's things (and so in its classes) of each thing.
    """

    image: np.ndarray
    label: np.ndarray
    instances: np.ndarray
    thing_classes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Region:
    """Where the centre of a thing may lie, in shares of the image's width and height.

    Args:
        x: The lowest and the highest share of the width.
        y: The lowest and the highest share of the height, counted from the top.
    """

    x: tuple[float, float] = (0.0, 1.0)
    y: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Colors:
    """Bounds on random colours.

    Args:
        hue: In degrees.
        saturation: From 0, which is grey, to 1.
    """

    hue: tuple[float, float] = (0.0, 360.0)
    saturation: tuple[float, float] = (0.2, 0.8)


@dataclass(frozen=True, kw_only=True)
class Surface:
    """What a thing is covered with.

    Args:
        texture: The random field that mixes two shades.
        contrast: The share of the contrast that stuff has between its two shades.
    """

    texture: Texture
    contrast: float


ANYWHERE = Region()
ANY_COLOR = Colors()


class Canvas:
    """An unfinished scene.

    Attributes:
        rng: The source of all that is random. A level may exchange it between two steps, so that what one part of the
            image looks like does not depend on what was drawn in another.
        scale: Pixels per pixel of the base size.
        image: (H, W, 3) float32, RGB in 0..255.
        instances: (H, W) uint8, as in `Scene`.
    """

    def __init__(self, *, rng: np.random.Generator, height: int, width: int, scale: float) -> None:
        """
        Args:
            rng: The source of all that is random.
            height: The height of the image in pixels.
            width: The width of the image in pixels.
            scale: Pixels per pixel of the base size.
        """
        self.rng = rng
        self.scale = scale
        self.image = np.zeros((height, width, 3), np.float32)
        self.instances = np.zeros((height, width), np.uint8)
        self._stuff = np.zeros((height, width), np.uint8)
        self._thing_classes: list[int] = []
        self._whole_areas: list[float] = []

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """The row and the column of every pixel, (H, W) float32 each."""
        return _grid(*self._stuff.shape)

    def fill(
        self, inside: np.ndarray, *, class_id: int, texture: Texture, beside: np.ndarray, colors: Colors = ANY_COLOR
    ) -> None:
        """Fill a part of the image with stuff of two colours of its own.

        Args:
            inside: (H, W) bool, the pixels to fill.
            class_id: The class of the stuff.
            texture: The random field that mixes the two colours.
            beside: (H, W) bool, pixels that its colours must differ from.
            colors: The bounds on its colours.
        """
        y, x = self.grid()
        self._stuff[inside] = class_id
        field = texture(self.rng, x / self.scale, y / self.scale)
        base = self._base_color(self.image[beside], colors)
        self.image[inside] = _mixed(*self._color_pair(base, contrast=1.0), field[inside])

    def put(
        self,
        outline: Outline,
        *,
        class_id: int,
        sides: tuple[float, float] = (25.0, 42.0),
        regions: Sequence[Region] = (ANYWHERE,),
        surface: Surface | None = None,
        colors: Colors = ANY_COLOR,
    ) -> bool:
        """Put a thing where it leaves all others well visible; return whether a place was found.

        Args:
            outline: Polygons of area 1 around the origin.
            class_id: The class of the thing.
            sides: The bounds on the side of a square of the same area, in pixels of the base size.
            regions: Regions for its centre, of which each try draws one.
            surface: What covers it; by default faintly one of the textures of the first level's stuff, so that a patch
                alone does not tell a thing from stuff.
            colors: The bounds on its colours.
        """
        found = self._find_place(outline, sides, regions)
        if found is None:
            return False
        window, alpha, rim = found
        self._paint(window, alpha, rim=rim, surface=surface, colors=colors)
        self._thing_classes.append(int(class_id))
        self.instances[window][alpha >= 0.5] = len(self._thing_classes)
        return True

    def _find_place(
        self, outline: Outline, sides: tuple[float, float], regions: Sequence[Region]
    ) -> tuple[Window, np.ndarray, np.ndarray] | None:
        """A window and the coverage in it by the thing and by its rim; None if no try found a place."""
        height, width = self.instances.shape
        for _ in range(_TRIES):
            side = self.rng.uniform(*sides) * self.scale  # of a square of the same area
            region = regions[0] if len(regions) == 1 else regions[int(self.rng.integers(len(regions)))]
            low, high = zip(region.x, region.y, strict=True)
            center = self.rng.uniform(low, high, 2) * (width, height)
            angle = self.rng.uniform(-_MAX_TURN, _MAX_TURN)
            window, alpha, rim = _coverage(outline, center=center, side=side, angle=angle, shape=(height, width))
            covered = alpha >= 0.5
            left = np.bincount(self.instances.ravel(), minlength=len(self._whole_areas) + 1)[1:]
            hidden = np.bincount(self.instances[window][covered], minlength=len(self._whole_areas) + 1)[1:]
            whole = [*self._whole_areas, side**2]
            if np.all(np.append(left - hidden, covered.sum()) >= _MIN_VISIBLE * np.array(whole)):
                self._whole_areas = whole
                return window, alpha, rim
        return None

    def _paint(
        self, window: Window, alpha: np.ndarray, *, rim: np.ndarray, surface: Surface | None, colors: Colors
    ) -> None:
        """Blend a shaded, textured surface with a dark rim into the image where `alpha` (h, w) says."""
        rows, columns = (slice(int(index.min()), int(index.max()) + 1) for index in np.nonzero(alpha))
        alpha, rim = alpha[rows, columns], rim[rows, columns]
        target = self.image[window][rows, columns]
        below = target.copy()
        y, x = _grid(*alpha.shape)
        if surface is None:
            surface = Surface(texture=STUFF[self.rng.integers(len(STUFF))].texture, contrast=0.25)
        field = surface.texture(self.rng, x / self.scale, y / self.scale)
        base = self._base_color(below[alpha >= 0.5], colors)
        color = _mixed(*self._color_pair(base, contrast=surface.contrast), field)
        angle = self.rng.uniform(-np.pi, np.pi)
        ramp = (x / x.max() - 0.5) * np.cos(angle) + (y / y.max() - 0.5) * np.sin(angle)
        color *= ((1.0 + 0.3 * ramp) * (1.0 - 0.7 * rim))[..., None]
        target[:] = below + alpha[..., None] * (color - below)

    def _base_color(self, below: np.ndarray, colors: Colors) -> np.ndarray:
        """A random RGB colour (3,), 0..255, unlike the pixels (P, 3) it will lie on or beside."""
        low, high = zip(colors.hue, colors.saturation, _BRIGHTNESS, strict=True)
        for _ in range(_TRIES):
            hue, saturation, value = self.rng.uniform(low, high)
            color = 255 * cv2.cvtColor(np.array([[[hue, saturation, value]]], np.float32), cv2.COLOR_HSV2RGB)[0, 0]
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
        label = np.where(self.instances > 0, np.array([0, *self._thing_classes], np.uint8)[self.instances], self._stuff)
        label[_borders(self.instances)] = IGNORE_LABEL
        return Scene(
            image=np.clip(np.rint(self.image + grain), 0, 255).astype(np.uint8),
            label=label,
            instances=self.instances,
            thing_classes=tuple(self._thing_classes),
        )


def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return y, x


def _mixed(first: np.ndarray, second: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Two colours (3,) mixed by a field (...) in [0, 1] to (..., 3)."""
    return (first + (second - first) * field[..., None]).astype(np.float32)


def _coverage(
    outline: Outline, *, center: np.ndarray, side: float, angle: float, shape: tuple[int, int]
) -> tuple[Window, np.ndarray, np.ndarray]:
    """A window around a thing, and the parts (h, w) of its pixels that the thing and its rim cover, by drawing both
    several times larger."""
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = [np.rint(_SUPERSAMPLING * (center + side * polygon @ turn)).astype(np.int32) for polygon in outline]
    rim_width = _RIM_SHARE * side / perimeter(outline)
    # OpenCV draws a line otherwise where a border cuts it; no border but the image's own may do so.
    margin, everywhere = int(rim_width) + 3, np.concatenate(corners)
    low = np.clip(everywhere.min(axis=0) // _SUPERSAMPLING - margin, 0, None)
    high = np.minimum(everywhere.max(axis=0) // _SUPERSAMPLING + margin, shape[::-1])
    size = tuple(int(length) for length in np.maximum(high - low, 1))
    corners = [polygon - _SUPERSAMPLING * low.astype(np.int32) for polygon in corners]
    whole, rim = np.zeros((2, *(_SUPERSAMPLING * length for length in size[::-1])), np.uint8)
    cv2.fillPoly(whole, corners, 255)
    # Half of the line lies outside the thing and is cut off.
    cv2.polylines(rim, corners, isClosed=True, color=255, thickness=round(2 * _SUPERSAMPLING * rim_width))
    fine = np.stack([whole, np.minimum(whole, rim)], axis=-1)
    coarse = cv2.resize(fine, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    columns, rows = (slice(int(start), int(start) + length) for start, length in zip(low, size, strict=True))
    return (rows, columns), coarse[..., 0], coarse[..., 1]


def _borders(instances: np.ndarray) -> np.ndarray:
    """Mask (H, W) of the pixels beside another instance, on either side: borders two pixels wide."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return cv2.dilate(instances, cross) != cv2.erode(instances, cross)
