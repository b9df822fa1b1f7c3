"""Your own images and label maps, from folders that overrides name; see projects/tokenseg/datasets/README.md."""

from detectron2.config import LazyCall as L

from tokenseg.datasets.folders import own_data

from .sem_seg import dataloader, dataset

dataset.update(
    # Folders of images and of label maps with the same names, relative to where the command runs.
    images="datasets/own/images",
    labels="datasets/own/labels",
    # The same for the test; None keeps the share `held_out` of the images above for it.
    test_images=None,
    test_labels=None,
    held_out=0.2,
    # Names of the classes 0, 1, ...; dataset.classes=@FILE reads them from a file, one a line.
    classes=["background", "object"],
    # Stored id: class id, or ignore; names every id there is. None: what is stored are class ids.
    id_map=None,
    # The colours in label maps that have colours, [[red, green, blue], ...]; a colour's place here is its stored id.
    colors=None,
    num_classes="${count:${dataset.classes}}",
)
_keys = ("images", "labels", "test_images", "test_labels", "held_out", "classes", "id_map", "colors", "ignore_label")
_settings = {key: f"${{dataset.{key}}}" for key in _keys}
dataset.update(train=L(own_data)(split="train", **_settings), test=L(own_data)(split="test", **_settings))
dataloader.train.num_workers = dataloader.test.num_workers = 2
