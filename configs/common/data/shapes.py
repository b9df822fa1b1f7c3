"""ShapeScenes, which is generated on first use.

Images are neither resized nor changed in colour, since they have arbitrary colours. `dataset.level` selects the level
of difficulty: basic, place, context or many.
"""

from tokenseg.datasets.shape_scenes import BASIC, LEVELS

from .sem_seg import dataloader, dataset


def _facts(level):
    """Collect the facts about a level: names, number of classes, and the crop.

    The crop is the whole image, except at the level `basic`.
    """
    return dict(
        train=level.dataset("sem_seg", "train"),
        test=level.dataset("sem_seg", "val"),
        num_classes=len(level.classes),
        crop=96 if level is BASIC else level.size,
    )


dataset.update(level=BASIC.name, levels={level.name: _facts(level) for level in LEVELS})
dataset.update({key: f"${{dataset.levels[${{dataset.level}}].{key}}}" for key in _facts(BASIC)})
_resize, _crop, _flip, _color, _pad = dataloader.train.mapper.augmentations
dataloader.train.mapper.augmentations = [_crop, _flip, _pad]
dataloader.test.mapper.augmentations = []
dataloader.train.num_workers = dataloader.test.num_workers = 1
