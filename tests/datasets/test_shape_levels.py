"""The levels of ShapeScenes except the first: on what their classes depend."""

import dataclasses
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import instantiate

from tokenseg.config.load import load_config
from tokenseg.datasets.shape_scenes import BASIC, CONTEXT, IGNORE_LABEL, LEVELS, MANY, PLACE, draw_scene
from tokenseg.datasets.shape_scenes.context import BAND, NEEDING_CONTEXT, Clues, class_by_context, draw_context

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
NAMES = {level.name: [kind.name for kind in level.classes] for level in LEVELS}


def scenes(level, count):
    return [draw_scene(seed=0, split="train", index=index, level=level) for index in range(count)]


@pytest.fixture(scope="module")
def with_context():
    return scenes(CONTEXT, 5)


def test_the_first_level_is_what_it_was_before_there_were_others():
    scene = draw_scene(seed=0, split="train", index=0)
    assert zlib.crc32(scene.label.tobytes()) == 3370746877
    assert scene.image.mean() == pytest.approx(129.82126, abs=1e-4)
    assert (BASIC.folder, BASIC.dataset("sem_seg", "val")) == ("shape_scenes", "shapes_sem_seg_val")


@pytest.mark.parametrize("level", LEVELS[1:], ids=lambda level: level.name)
def test_a_level_has_classes_of_its_own_names_and_colours(level):
    names, colors = NAMES[level.name], {kind.color for kind in level.classes}
    assert len(set(names)) == len(colors) == len(names) and (0, 0, 0) not in colors
    scene = draw_scene(seed=0, split="val", index=0, level=level)
    assert scene.image.shape == (level.size, level.size, 3)
    assert max(scene.thing_classes) < len(level.things)
    assert set(np.unique(scene.label)) <= {*range(len(level.classes)), IGNORE_LABEL}


def test_levels_have_random_numbers_of_their_own():
    one = draw_scene(seed=0, split="train", index=0, level=PLACE)
    other = draw_scene(seed=0, split="train", index=0, level=dataclasses.replace(PLACE, name="other"))
    assert not np.array_equal(one.image, other.image)


def test_classes_of_the_same_look_are_apart_in_place():
    heights, distances = ({name: [] for name in NAMES["place"]} for _ in range(2))
    for scene in scenes(PLACE, 24):
        size = len(scene.label)
        for number, class_id in enumerate(scene.thing_classes, start=1):
            y, x = (index.mean() / size for index in np.nonzero(scene.instances == number))
            heights[NAMES["place"][class_id]].append(y)
            distances[NAMES["place"][class_id]].append(min(x, 1 - x))
    for shape in ("disc", "triangle", "square"):
        assert max(heights[f"{shape}_above"]) < 0.5 < min(heights[f"{shape}_below"])
    for shape in ("ring", "star"):
        assert max(distances[f"{shape}_side"]) < 0.27 < min(distances[f"{shape}_middle"])


def clues_seen(scene):
    """The contents of the top band according to the labels."""
    names = [NAMES["context"][class_id] for class_id in scene.thing_classes]
    [marker] = {name for name in names if name in ("star", "cross")}
    return Clues(band=NAMES["context"][scene.label[0, 0]], marker=marker, rings=names.count("ring"))


def test_the_rule_of_context_gives_every_label(with_context):
    for scene in with_context:
        names = {NAMES["context"][class_id] for class_id in scene.thing_classes} & set(NEEDING_CONTEXT)
        assert names
        assert names == {class_by_context(name.split("_")[0], clues_seen(scene)) for name in names}
    band, marker, rings = zip(*(dataclasses.astuple(clues_seen(scene)) for scene in with_context), strict=True)
    assert len(set(band)) == len(set(marker)) == len(set(rings)) == 2


def test_the_same_shapes_under_another_band_are_the_same_pixels_of_other_classes():
    first, second = (
        draw_context(np.random.default_rng(5), CONTEXT.size, clues=clues)
        for clues in (Clues(band="sky", marker="star", rings=1), Clues(band="water", marker="cross", rings=5))
    )
    assert np.array_equal(first.image[BAND:], second.image[BAND:])
    assert not np.array_equal(first.image[:BAND], second.image[:BAND])
    places = [NAMES["context"].index(name) for name in NEEDING_CONTEXT]
    swap = dict(zip(places[::2], places[1::2], strict=True))
    expected = np.copy(first.label[BAND:])
    for one, other in swap.items():
        expected[first.label[BAND:] == one] = other
    assert np.array_equal(second.label[BAND:], expected)
    assert np.isin(expected, list(swap.values())).any()


def rows_seen(model, size):
    """The largest numbers of rows above and below a pixel that the logits of a model at this pixel depend on."""
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 1e-2 if parameter.ndim > 1 else 1.0)  # no terms cancel and no ReLU is 0
    model.double().eval()
    image = torch.ones(1, 3, 2 * size, 64, dtype=torch.double, requires_grad=True)
    [logits] = model.segment(list(image))
    above = below = 0
    for row in range(size, size + 8):  # all rows of a cell of stride 8
        (gradient,) = torch.autograd.grad(logits[0, row, 32], image, retain_graph=True)
        rows = gradient.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
        above, below = max(above, row - int(rows.min())), max(below, int(rows.max()) - row)
    return above, below


@pytest.mark.slow("what the FCN of the evidence sees of an image of the level `context`")
def test_no_pixel_of_a_shape_sees_the_band(with_context):
    model = instantiate(load_config(str(CONFIGS / "evidence/fcn.py")).model)
    above, _ = rows_seen(model, CONTEXT.size)
    wanted = [NAMES["context"].index(name) for name in NEEDING_CONTEXT]
    nearest = min(np.nonzero(np.isin(scene.label, wanted))[0].min() for scene in with_context)
    assert above <= nearest - BAND


def test_many_has_a_tail_and_few_classes_in_an_image():
    drawn = scenes(MANY, 40)
    per_image = [len(set(scene.thing_classes)) for scene in drawn]
    assert max(per_image) <= 3
    counts = np.bincount([place for scene in drawn for place in scene.thing_classes], minlength=len(MANY.things))
    assert counts[:4].sum() > 0.4 * counts.sum()
    assert counts[16:].sum() < 0.25 * counts.sum()
    assert len(MANY.classes) == 40


def of_place(image):
    """The index of the cell of a 32x32 grid that contains each pixel."""
    rows, columns = (np.arange(side) * 32 // side for side in image.shape[:2])
    return rows[:, None] * 32 + columns


def of_color(image):
    """The index of each pixel's colour, quantised to 16 steps per channel."""
    return (image >> 4).astype(int) @ [256, 16, 1]


@pytest.mark.slow("what colour or place tell alone of a level, by counting")
@pytest.mark.parametrize("number", [of_place, of_color])
@pytest.mark.parametrize(("level", "count", "most"), [(PLACE, 120, 0.1), (CONTEXT, 40, 0.35), (MANY, 120, 0.1)])
def test_neither_place_nor_color_tell_the_classes(level, count, most, number):
    """Predicting the most frequent training class at the place, or of the colour, of a pixel yields a low mIoU.

    In the level `context`, where colours reveal the shapes, the mean is over the classes that need context.
    """
    size = len(level.classes)
    votes, found = np.zeros((4096, size)), np.zeros((size, size))
    for index in range(count):
        scene = draw_scene(seed=0, split="train", index=index, level=level)
        seen = scene.label != IGNORE_LABEL
        np.add.at(votes, (number(scene.image)[seen], scene.label[seen]), 1)
    for index in range(count // 2):
        scene = draw_scene(seed=0, split="val", index=index, level=level)
        seen = scene.label != IGNORE_LABEL
        np.add.at(found, (scene.label[seen], votes.argmax(axis=1)[number(scene.image)][seen]), 1)
    hits = np.diag(found)
    judged = found.sum(axis=1) > 0
    if level is CONTEXT:
        judged &= np.isin(NAMES["context"], NEEDING_CONTEXT)
    assert (hits[judged] / (found.sum(axis=0) + found.sum(axis=1) - hits)[judged]).mean() < most
