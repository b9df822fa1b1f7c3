import numpy as np
import pytest
from detectron2.data.catalog import Metadata

from tokenseg.visualize import (
    captioned,
    colorize,
    draw_outline,
    heat_map,
    legend,
    overlay,
    palette,
    panel_grid,
    spread_colors,
    stack_rows,
)

COLORS = np.array([[255, 0, 0], [0, 0, 255]], dtype=np.uint8)


def test_a_data_sets_own_colours_come_first():
    assert palette(Metadata(stuff_classes=["a", "b"], stuff_colors=[(1, 2, 3), (4, 5, 6)])).tolist() == [
        [1, 2, 3],
        [4, 5, 6],
    ]
    assert palette(Metadata(stuff_classes=["a", "b"])).tolist() == [[128, 0, 0], [0, 128, 0]]


@pytest.mark.parametrize("count", [0, 1, 150, 182])
def test_spread_colours_differ_clearly(count):
    colors = spread_colors(count).astype(int)
    assert colors.shape == (count, 3)
    with_black = np.vstack([colors, [[0, 0, 0]]])
    distance = np.abs(with_black[:, None] - with_black).max(axis=-1) + 255 * np.eye(count + 1, dtype=int)
    assert distance.min() >= 32


def test_ids_without_a_class_are_black():
    picture = colorize(np.array([[0, 1], [255, -1]]), COLORS)
    assert picture.dtype == np.uint8
    assert picture.tolist() == [[[255, 0, 0], [0, 0, 255]], [[0, 0, 0], [0, 0, 0]]]


@pytest.mark.parametrize(("alpha", "wanted"), [(0.0, [100, 100, 100]), (1.0, [255, 0, 0]), (0.5, [178, 50, 50])])
def test_overlay_by_hand(alpha, wanted):
    image = np.full((1, 1, 3), 100, dtype=np.uint8)
    assert overlay(image, np.zeros((1, 1), dtype=int), COLORS, alpha)[0, 0].tolist() == wanted


def test_panels_keep_their_aspect_ratio_and_pure_colours():
    wide, tall = np.full((2, 4, 3), 7, dtype=np.uint8), np.full((5, 1, 3), 9, dtype=np.uint8)
    grid = panel_grid([[wide, tall], [tall, wide]], titles=["a", "b"], side=20)
    assert grid.shape == (30 + 2 * 26, 2 * 26 - 6, 3) and grid.dtype == np.uint8
    first = grid[30:50, :20, 0]
    assert (first[:10] == 7).all() and (first[10:] == 255).all()
    assert ((grid[30:50, 26:] == 9).all(axis=-1)).sum() == 20 * 4
    assert (grid[:30] < 255).any()  # the titles


def test_legend_shows_every_colour():
    colors = spread_colors(7)
    strip = legend([f"class {k}" for k in range(7)], colors, width=300)
    assert strip.shape == (4 * 24 + 6, 300, 3)
    shown = {tuple(pixel) for pixel in strip.reshape(-1, 3).tolist()}
    assert {tuple(color) for color in colors.tolist()} <= shown


def test_heat_maps_run_from_blue_to_yellow_and_bear_flat_maps():
    picture = heat_map(np.linspace(-3, 5, 20).reshape(4, 5))
    assert picture.shape == (4, 5, 3) and picture.dtype == np.uint8
    assert picture[0, 0].tolist() == [68, 1, 84] and picture[-1, -1].tolist() == [253, 231, 37]
    assert len(np.unique(heat_map(np.ones((3, 3))))) <= 3


def test_outlines_leave_the_inside_alone():
    image, mask = np.full((9, 9, 3), 7, dtype=np.uint8), np.zeros((9, 9), dtype=bool)
    mask[2:7, 2:7] = True
    drawn = draw_outline(image, mask, color=(255, 0, 0))
    assert (image == 7).all()
    red = (drawn == [255, 0, 0]).all(axis=-1)
    assert red[2, 2:7].all() and red[2:7, 6].all() and not red[3:6, 3:6].any() and not red[:2].any()


def test_rows_are_stacked_on_white():
    panel = captioned(np.zeros((2, 4, 3), dtype=np.uint8), "a", side=20)
    assert panel.shape == (34, 20, 3) and (panel[:24] < 255).any() and not panel[24:].any()
    canvas = stack_rows([[panel, panel], [panel]], gap=6)
    assert canvas.shape == (2 * 40, 46, 3) and (canvas[40:, 20:] == 255).all() and not canvas[64:74, :20].any()
