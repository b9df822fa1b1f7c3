"""The outlines of things (polygons) and the textures of stuff (scalar fields) with which ShapeScenes draws.

An outline is a list of polygons, float arrays (P, 2) of x and y, which are filled by the even-odd rule. All outlines
have area 1 and things are scaled by a random area, so the size of a thing is independent of its class.

A texture is a function of a random generator and of coordinate grids x and y (H, W), in pixels of the base size 128. It
returns a field (H, W) in [0, 1] that mixes two colours. The mean of every texture is close to 0.5, so the average
colour is independent of the class.
"""

from collections.abc import Callable

import cv2
import numpy as np

Outline = list[np.ndarray]
Texture = Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray]

_CURVE_POINTS = 48


def _arc(start: float, stop: float, *, radius: float = 1.0, center_x: float = 0.0) -> np.ndarray:
    """Return points (P, 2) on a circle from angle `start` to `stop`, in radians."""
    angle = np.linspace(start, stop, _CURVE_POINTS)
    return np.stack([center_x + radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _regular(corners: int, *, inner_radius: float | None = None) -> np.ndarray:
    """Return the corners (P, 2) of a regular polygon, or of a star whose inner radius is a share of the outer one."""
    count = corners if inner_radius is None else 2 * corners
    angle = np.arange(count) * 2 * np.pi / count - np.pi / 2
    radius = np.ones(count)
    if inner_radius is not None:
        radius[1::2] = inner_radius
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _area(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))


def perimeter(outline: Outline) -> float:
    """Return the total length of all borders, including those of holes."""
    return sum(float(np.linalg.norm(polygon - np.roll(polygon, 1, axis=0), axis=1).sum()) for polygon in outline)


def _unit_area(outer: np.ndarray, *holes: np.ndarray) -> Outline:
    scale = (_area(outer) - sum(map(_area, holes))) ** -0.5
    center = (outer.min(axis=0) + outer.max(axis=0)) / 2
    return [(polygon - center) * scale for polygon in (outer, *holes)]


def disc() -> Outline:
    return _unit_area(_arc(0, 2 * np.pi))


def ring() -> Outline:
    return _unit_area(_arc(0, 2 * np.pi), _arc(0, 2 * np.pi, radius=0.55))


def half_disc() -> Outline:
    return _unit_area(_arc(np.pi, 2 * np.pi))


def crescent() -> Outline:
    """Return a unit disc without the part that a disc of radius 0.8 covers, whose centre is 0.55 to the right."""
    radius, shift = 0.8, 0.55
    x = (1 + shift**2 - radius**2) / (2 * shift)
    tip, inner_tip = np.arccos(x), np.arccos((x - shift) / radius)
    outer = _arc(tip, 2 * np.pi - tip)
    inner = _arc(2 * np.pi - inner_tip, inner_tip, radius=radius, center_x=shift)
    return _unit_area(np.concatenate([outer, inner]))


def triangle() -> Outline:
    return _unit_area(_regular(3))


def square() -> Outline:
    return _unit_area(_regular(4))


def star() -> Outline:
    return _unit_area(_regular(5, inner_radius=0.45))


def cross() -> Outline:
    arm, end = 0.36, 1.0
    quarter = np.array([[arm, -end], [arm, -arm], [end, -arm]])
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])  # rotation by 90 degrees, for points as rows
    return _unit_area(np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)]))


def _turned(x: np.ndarray, y: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _sharpened(field: np.ndarray, *, gain: float) -> np.ndarray:
    """Clip a field with values around 0 to [0, 1], where it rises from 0 to 1 over a range of 1 / `gain`."""
    return np.clip(0.5 + gain * field, 0.0, 1.0)


def clouds(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Draw soft blots about 20 pixels wide, without lines or edges."""
    cells = [int(np.ceil(float(np.ptp(axis)) / 20)) + 2 for axis in (y, x)]
    blots = rng.uniform(-1.0, 1.0, cells).astype(np.float32)
    return _sharpened(cv2.resize(blots, x.shape[::-1], interpolation=cv2.INTER_CUBIC), gain=0.6)


def waves(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Draw wavy lines that deviate from the horizontal by at most 15 degrees."""
    x, y = _turned(x, y, rng.uniform(-0.26, 0.26))
    period, length = rng.uniform(7.0, 10.0), rng.uniform(18.0, 24.0)
    swing = 3.0 * np.sin(2 * np.pi * (x / length + rng.uniform()))
    return _sharpened(np.sin(2 * np.pi * ((y + swing) / period + rng.uniform())), gain=0.8)


def stripes(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Draw straight stripes in a random direction."""
    across, _ = _turned(x, y, rng.uniform(0.0, np.pi))
    return _sharpened(np.sin(2 * np.pi * (across / rng.uniform(7.0, 10.0) + rng.uniform())), gain=1.5)


def dots(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Draw round dots in rows; every other row is shifted by half a step."""
    x, y = _turned(x, y, rng.uniform(0.0, np.pi))
    step = rng.uniform(8.0, 11.0)
    v = y / step + rng.uniform()
    u = x / step + rng.uniform() + 0.5 * (np.floor(v) % 2)
    distance = np.hypot(u - np.floor(u) - 0.5, v - np.floor(v) - 0.5)
    return _sharpened(0.38 - distance, gain=6.0)


def checks(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Draw a chessboard, rotated by a random angle."""
    x, y = _turned(x, y, rng.uniform(0.0, np.pi / 2))
    side, phase = rng.uniform(6.0, 9.0), rng.uniform(0.0, 2.0, 2)
    return _sharpened(np.sin(np.pi * (x / side + phase[0])) * np.sin(np.pi * (y / side + phase[1])), gain=4.0)


def bricks(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Draw horizontal rows of long bricks with joints; every other row is shifted by half a brick."""
    height, length = rng.uniform(5.0, 7.0), rng.uniform(14.0, 18.0)
    v = y / height + rng.uniform()
    u = x / length + rng.uniform() + 0.5 * (np.floor(v) % 2)
    joint = np.minimum((0.5 - abs(v - np.floor(v) - 0.5)) * height, (0.5 - abs(u - np.floor(u) - 0.5)) * length)
    return _sharpened(1.1 - joint, gain=0.7)


def ripples(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Draw concentric circles around a random point of the image."""
    center = rng.uniform([x.min(), y.min()], [x.max(), y.max()])
    radius = np.hypot(x - center[0], y - center[1])
    return _sharpened(np.sin(2 * np.pi * (radius / rng.uniform(7.0, 10.0) + rng.uniform())), gain=1.5)


def zigzag(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Draw horizontal zigzag lines, which are sharper and steeper than waves."""
    period, length = rng.uniform(7.0, 10.0), rng.uniform(9.0, 12.0)
    u = x / length + rng.uniform()
    teeth = 2.5 * length * (0.5 - abs(u - np.floor(u) - 0.5))
    return _sharpened(np.sin(2 * np.pi * ((y + teeth) / period + rng.uniform())), gain=1.5)
