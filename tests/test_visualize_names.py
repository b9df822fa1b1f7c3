import numpy as np

from tokenseg.visualize_names import draw_segments, write_names

COLORS = np.array([[250, 0, 0], [0, 0, 250], [0, 250, 0]], dtype=np.uint8)


def test_names_stand_inside_their_classes():
    ids = np.zeros((40, 100), dtype=int)
    ids[:, 50:], ids[0, 0] = 1, 2  # a class of one pixel gets no name
    image = np.full((40, 100, 3), 128, dtype=np.uint8)
    picture = draw_segments(image, ids, names=["a", "$b", "c"], colors=COLORS)
    assert picture.shape == (280, 700, 3)  # the smallest integer factor that gives 640 pixels or more
    for color, columns in [(COLORS[0], slice(0, 350)), (COLORS[1], slice(350, 700))]:
        plate = (picture == color).all(axis=-1)
        assert plate.sum() > 50 and plate[:, columns].sum() == plate.sum()
    assert not (picture == COLORS[2]).all(axis=-1).any()


def test_colours_do_not_depend_on_what_else_is_there():
    """The colours of a video must stay the same from frame to frame."""
    image, ids = np.zeros((8, 8, 3), np.uint8), np.arange(64).reshape(8, 8) // 32
    both = draw_segments(image, ids, names=["a", "b", "c"], colors=COLORS)
    alone = draw_segments(image, np.full((8, 8), 1), names=["a", "b", "c"], colors=COLORS)
    assert np.array_equal(both[-1, -1], alone[-1, -1]) and both[-1, -1].tolist() == [0, 0, 138]


def test_ids_without_a_class_have_no_name():
    picture = draw_segments(np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 255), names=["a"], colors=COLORS[:1])
    assert not picture.any()


def test_plates_do_not_cover_one_another():
    canvas, places = np.zeros((60, 200, 3), np.uint8), [0, 0, 100]

    def spots(_, size):
        return [(left, 5, left + size[0], 5 + size[1]) for left in places]

    picture = write_names(canvas, ["one", "two"], COLORS[:2], spots)
    left, right = (
        (picture[:, columns] == color).all(-1).any()
        for columns, color in [(slice(0, 100), COLORS[0]), (slice(100, 200), COLORS[1])]
    )
    assert left and right and not canvas.any()
