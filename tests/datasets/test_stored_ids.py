import numpy as np
import pytest
from detectron2.data import MetadataCatalog
from PIL import Image

from tokenseg.data.errors import UnknownColours
from tokenseg.data.labels import read_class_ids, read_colour_label
from tokenseg.datasets.folders import register_folders
from tokenseg.datasets.records import load_records
from tokenseg.datasets.stored_ids import first_stored, to_stored, to_submission

COLORS = [[0, 0, 0], [255, 0, 1], [9, 255, 0]]
PLACES = np.array([[0, 1, 2], [2, 2, 0]])


@pytest.fixture
def painted(tmp_path):
    """The path of a label map in colours."""
    path = str(tmp_path / "a.png")
    Image.fromarray(np.array(COLORS, dtype=np.uint8)[PLACES]).save(path)
    return path


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_are_their_places(painted, mode):
    if mode == "P":
        image = Image.fromarray(PLACES.astype(np.uint8)).convert("P")
        image.putpalette(np.ravel(COLORS).tolist())
    else:
        image = Image.open(painted).convert(mode)
    image.save(painted)
    assert np.array_equal(read_colour_label(painted, COLORS), PLACES)


def test_unknown_colours_are_counted(painted):
    with pytest.raises(
        UnknownColours, match=r"a\.png holds 2 colours .*: \[9,255,0\] in 3 pixels, \[0,0,0\] in 2 pixels"
    ):
        read_colour_label(painted, COLORS[1:2])


def test_grey_and_transparent_label_maps_are_refused(tmp_path):
    for mode in ("L", "RGBA"):
        Image.new(mode, (4, 4)).save(tmp_path / "b.png")
        with pytest.raises(UnknownColours, match=f"mode {mode}"):
            read_colour_label(str(tmp_path / "b.png"), COLORS)


def own(tmp_path, **settings):
    """The records and the metadata of one image whose label map is `painted`."""
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    Image.new("RGB", (3, 2)).save(tmp_path / "images/a.png")
    Image.open(tmp_path / "a.png").save(tmp_path / "labels/a.png")
    name = register_folders(images=tmp_path / "images", labels=tmp_path / "labels", **settings)
    return load_records(name), MetadataCatalog.get(name)


def test_colours_with_an_id_map(painted, tmp_path):
    records, metadata = own(tmp_path, classes=["a", "b"], colors=COLORS, id_map={0: 1, 1: "ignore", 2: 0})
    assert read_class_ids(records[0]).tolist() == [[1, 255, 0], [0, 0, 1]]
    assert metadata.stuff_colors == [(9, 255, 0), (0, 0, 0)]
    assert to_stored(np.array([[1, 0]]), metadata).tolist() == [[[0, 0, 0], [9, 255, 0]]]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (dict(colors=COLORS), "3 colours for 2 classes"),
        (dict(colors=[[1, 1, 1], [1, 1, 1]]), "twice"),
        (dict(colors=[[1, 1, 1], [1, 1, 256]]), "which is not a colour"),
        (dict(colors=COLORS, id_map={0: 0, 1: 1}), r"a key for the index of every colour, 0 to 2"),
    ],
)
def test_wrong_colours_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        register_folders(images="images", labels="labels", classes=["a", "b"], **settings)


def test_the_first_stored_id_of_a_class_is_given_back():
    assert first_stored({7: 1, 3: 1, 0: 255, 300: 0}, count=2) == {1: 7, 0: 300}
    metadata = MetadataCatalog.get("toy_stored").set(stuff_classes=["a", "b"], stored_ids={7: 1, 300: 0})
    back = to_stored(np.array([[0, 1]]), metadata)
    assert back.dtype == np.uint16 and back.tolist() == [[300, 7]]
    MetadataCatalog.pop("toy_stored")


def test_a_class_without_a_stored_id_is_told():
    metadata = MetadataCatalog.get("toy_lacking").set(stuff_classes=["a", "b"], stored_ids={7: 1})
    with pytest.raises(ValueError, match="the class a is predicted, but no stored id"):
        to_stored(np.array([[0, 1]]), metadata)
    MetadataCatalog.pop("toy_lacking")


@pytest.mark.parametrize(
    ("name", "classes", "wanted"),
    [("ade20k_sem_seg_val", [0, 149], [1, 150]), ("cityscapes_fine_sem_seg_val", [0, 1, 18], [7, 8, 33])],
)
def test_ids_of_the_servers(name, classes, wanted):
    ids = to_submission(np.array([classes]), MetadataCatalog.get(name))
    assert ids.dtype == np.uint8 and ids.tolist() == [wanted]


def test_other_servers_are_not_known():
    with pytest.raises(ValueError, match="coco_2017_val, whose submission format is not known"):
        to_submission(np.zeros((1, 1), int), MetadataCatalog.get("coco_2017_val"))
