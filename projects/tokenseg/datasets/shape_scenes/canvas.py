"""The canvas on which all levels of ShapeScenes are drawn: first it is filled with stuff, then things are put on it."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .kinds import IGNORE_LABEL, STUFF
from .patterns import Outline, Texture, perimeter

BASE_SIZE = 128  # the size of textures and things is specified in pixels of an image of this size

_SUPERSAMPLING = 4
_MIN_CONTRAST = 70.0  # the minimum mean RGB distance between a new colour and the pixels under or beside it
_BRIGHTNESS = (0.65, 0.95)
_MIN_VISIBLE = 0.7  # the share of a thing's area that must not be hidden by the image border or by later things
_MAX_TURN = np.deg2rad(15)
# The share of a thing's area that its dark rim covers. It is the same for all outlines. With rims of the same width, a
# ring would be darker than other things.
_RIM_SHARE = 0.33
_TRIES = 12  # the maximum number of attempts to find a place or a colour

Window = tuple[slice, slice]  # rows and columns of an image


@dataclass(frozen=True, kw_only=True)
class Scene:
    """An image with its labels.

    Attributes:
        image: The RGB image (H, W, 3) uint8.
        label: The class ids (H, W) uint8, and `IGNORE_LABEL` at the borders of things.
        instances: The instance ids (H, W) uint8: 0 where stuff is visible, and i + 1 where thing i is visible,
            including its border.
        thing_classes: The class id of each thing.
    """

    image: np.ndarray
    label: np.ndarray
    instances: np.ndarray
    thing_classes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Region:
    """The part of the image in which the centre of a thing may lie, relative to the size of the image.

    Attributes:
        x: The lowest and the highest horizontal position, from 0 at the left to 1 at the right.
        y: The lowest and the highest vertical position, from 0 at the top to 1 at the bottom.
    """

    x: tuple[float, float] = (0.0, 1.0)
    y: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Colors:
    """Limits for random colours.

    Attributes:
        hue: The lowest and the highest hue in degrees.
        saturation: The lowest and the highest saturation, from 0 (grey) to 1.
    """

    hue: tuple[float, float] = (0.0, 360.0)
    saturation: tuple[float, float] = (0.2, 0.8)


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The surface of a thing.

    Attributes:
        texture: The function that draws a random field, which mixes two shades.
        contrast: The contrast between the two shades, relative to that of stuff.
    """

    texture: Texture
    contrast: float


ANYWHERE = Region()
ANY_COLOR = Colors()


class Canvas:
    """An unfinished scene.

    Attributes:
        rng: The random generator. A level may replace it between two steps, so that the appearance of one part of the
            image does not depend on what was drawn in another part.
        scale: The number of image pixels per pixel of the base size.
        image: The RGB image (H, W, 3) float32 in 0..255.
        instances: The instance ids (H, W) uint8, as in `Scene`.
    """

    def __init__(self, *, rng: np.random.Generator, height: int, width: int, scale: float) -> None:
        """
        Args:
            rng: The random generator.
            height: The height of the image in pixels.
            width: The width of the image in pixels.
            scale: The number of image pixels per pixel of the base size.
        """
        self.rng = rng
        self.scale = scale
        self.image = np.zeros((height, width, 3), np.float32)
        self.instances = np.zeros((height, width), np.uint8)
        self._stuff = np.zeros((height, width), np.uint8)
        self._thing_classes: list[int] = []
        self._whole_areas: list[float] = []

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the row and the column of every pixel, each (H, W) float32."""
        return _grid(*self._stuff.shape)

    def fill(
        self, inside: np.ndarray, *, class_id: int, texture: Texture, beside: np.ndarray, colors: Colors = ANY_COLOR
    ) -> None:
        """Fill a part of the image with stuff of two random colours.

        Args:
            inside: The pixels to fill, (H, W) bool.
            class_id: The class id of the stuff.
            texture: The texture that mixes the two colours.
            beside: The pixels from whose colours the new colours must differ, (H, W) bool.
            colors: The limits for the new colours.
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
        """Put a thing on the canvas such that all things remain sufficiently visible.

        Args:
            outline: The polygons of the thing, with a total area of 1, around the origin.
            class_id: The class id of the thing.
            sides: The lowest and the highest side of a square of the same area, in pixels of the base size.
            regions: The regions for the centre of the thing; each attempt draws one of them.
            surface: The surface of the thing. By default it is a faint texture of the first level's stuff, so that a
                small patch is not sufficient to distinguish things from stuff.
            colors: The limits for the colours of the thing.

        Returns:
            Whether a place was found.
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
        """Find a random place for a thing.

        Returns:
            The window around the thing, and the shares (h, w) of the window's pixels that the thing and its rim cover;
            None if no attempt succeeded.
        """
        height, width = self.instances.shape
        for _ in range(_TRIES):
            side = self.rng.uniform(*sides) * self.scale  # the side of a square of the same area, in image pixels
            region = regions[0] if len(regions) == 1 else regions[int(self.rng.integers(len(regions)))]
            low, high = zip(region.x, region.y, strict=True)
            center = self.rng.uniform(low, high, 2) * (width, height)
            angle = self.rng.uniform(-_MAX_TURN, _MAX_TURN)
            window, alpha, rim = _coverage(outline, center=center, side=side, angle=angle, shape=(height, width))
            covered = alpha >= 0.5
            # The visible pixels of the earlier things, and those that the new thing would hide.
            visible = np.bincount(self.instances.ravel(), minlength=len(self._whole_areas) + 1)[1:]
            hidden = np.bincount(self.instances[window][covered], minlength=len(self._whole_areas) + 1)[1:]
            whole = [*self._whole_areas, side**2]
            if np.all(np.append(visible - hidden, covered.sum()) >= _MIN_VISIBLE * np.array(whole)):
                self._whole_areas = whole
                return window, alpha, rim
        return None

    def _paint(
        self, window: Window, alpha: np.ndarray, *, rim: np.ndarray, surface: Surface | None, colors: Colors
    ) -> None:
        """Blend a shaded, textured surface with a dark rim into a window of the image.

        Args:
            window: The window around the thing.
            alpha: The share (h, w) of each pixel in the window that the thing covers.
            rim: The share (h, w) of each pixel in the window that the rim covers.
            surface: The surface of the thing, as in `put`.
            colors: The limits for the colours of the thing.
        """
        # Restrict the window to the rows and columns that the thing covers.
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
        """Draw a random RGB colour (3,), 0..255, that differs from the pixels (P, 3) under or beside it."""
        low, high = zip(colors.hue, colors.saturation, _BRIGHTNESS, strict=True)
        for _ in range(_TRIES):
            hue, saturation, value = self.rng.uniform(low, high)
            color = 255 * cv2.cvtColor(np.array([[[hue, saturation, value]]], np.float32), cv2.COLOR_HSV2RGB)[0, 0]
            if not len(below) or np.linalg.norm(below - color, axis=1).mean() >= _MIN_CONTRAST:
                break
        return color

    def _color_pair(self, base: np.ndarray, *, contrast: float) -> tuple[np.ndarray, np.ndarray]:
        """Draw a lighter and a darker variant of a colour, each (3,), in random order."""
        change = contrast * self.rng.uniform(0.15, 0.22) * self.rng.choice([-1.0, 1.0])
        tint = contrast * self.rng.uniform(-12.0, 12.0, 3)
        return base * (1 + change) + tint, base * (1 - change) - tint

    def finish(self) -> Scene:
        """Add noise to the image and ignored borders to the label map, and return the scene."""
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
    """Mix two colours (3,) by a field (...) in [0, 1]; returns (..., 3)."""
    return (first + (second - first) * field[..., None]).astype(np.float32)


def _coverage(
    outline: Outline, *, center: np.ndarray, side: float, angle: float, shape: tuple[int, int]
) -> tuple[Window, np.ndarray, np.ndarray]:
    """Compute the share of each pixel that a thing and its rim cover, by drawing both at a higher resolution.

    Args:
        outline: The polygons of the thing, with a total area of 1, around the origin.
        center: The (x, y) of the centre in pixels.
        side: The side of a square of the same area, in pixels.
        angle: The angle by which the thing is rotated, in radians.
        shape: The (height, width) of the image.

    Returns:
        The window around the thing, and the shares (h, w) of the window's pixels that the thing and its rim cover.
    """
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = [np.rint(_SUPERSAMPLING * (center + side * polygon @ turn)).astype(np.int32) for polygon in outline]
    rim_width = _RIM_SHARE * side / perimeter(outline)
    # OpenCV draws a line differently if the border of the array clips it, so only the border of the image itself may.
    margin, everywhere = int(rim_width) + 3, np.concatenate(corners)
    low = np.clip(everywhere.min(axis=0) // _SUPERSAMPLING - margin, 0, None)
    high = np.minimum(everywhere.max(axis=0) // _SUPERSAMPLING + margin, shape[::-1])
    size = tuple(int(length) for length in np.maximum(high - low, 1))
    corners = [polygon - _SUPERSAMPLING * low.astype(np.int32) for polygon in corners]
    whole, rim = np.zeros((2, *(_SUPERSAMPLING * length for length in size[::-1])), np.uint8)
    cv2.fillPoly(whole, corners, 255)
    # One half of the line's width lies outside the thing and is removed below.
    cv2.polylines(rim, corners, isClosed=True, color=255, thickness=round(2 * _SUPERSAMPLING * rim_width))
    fine = np.stack([whole, np.minimum(whole, rim)], axis=-1)
    coarse = cv2.resize(fine, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    columns, rows = (slice(int(start), int(start) + length) for start, length in zip(low, size, strict=True))
    return (rows, columns), coarse[..., 0], coarse[..., 1]


def _borders(instances: np.ndarray) -> np.ndarray:
    """Find the pixels (H, W) bool that are adjacent to another instance or to stuff, on both sides of a border.

    The borders are therefore two pixels wide.
    """
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return cv2.dilate(instances, cross) != cv2.erode(instances, cross)
