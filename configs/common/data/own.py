"""Your own images and label maps, in folders that overrides set; see projects/tokenseg/datasets/README.md."""

from detectron2.config import LazyCall as L

from tokenseg.datasets.folders import own_data

from .sem_seg import dataloader, dataset

dataset.update(
    # The folders of the images and of the label maps with the same names, relative to the current folder.
    images="datasets/own/images",
    labels="datasets/own/labels",
    # The same folders for the test. If they are None, the share `held_out` of the images above is kept for the test.
    test_images=None,
    test_labels=None,
    held_out=0.2,
    # The names of the classes 0, 1, ...; dataset.classes=@FILE reads them from a file with one name per line.
    classes=["background", "object"],
    # A dict from every stored id to its class id, or to `ignore`. None if label maps store class ids.
    id_map=None,
    # The colours of coloured label maps, [[red, green, blue], ...]. The stored id of a colour is its position here.
    colors=None,
    num_classes="${count:${dataset.classes}}",
)
_keys = ("images", "labels", "test_images", "test_labels", "held_out", "classes", "id_map", "colors", "ignore_label")
_settings = {key: f"${{dataset.{key}}}" for key in _keys}
dataset.update(train=L(own_data)(split="train", **_settings), test=L(own_data)(split="test", **_settings))
dataloader.train.num_workers = dataloader.test.num_workers = 2
