"""The order of the training samples: which records are drawn, how often, and which of them share a batch."""

import logging
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from detectron2.data.build import filter_images_with_only_crowd_annotations
from detectron2.data.samplers import RepeatFactorTrainingSampler

from .epochs import GroupedEpochs, ShuffledEpochs

logger = logging.getLogger(__name__)

# These numbers follow the seed in the entropy of the orders, so that their random numbers are independent of those of
# the augmentation (1) and of the model (2), see stream.py.
_GROUPS, _BATCHES = 3, 4


def sample_order(
    records: Sequence[dict],
    *,
    seed: int,
    batch_size: int,
    filter_empty: bool = False,
    group_by_aspect_ratio: bool = False,
    repeat_threshold: float | None = None,
) -> ShuffledEpochs | GroupedEpochs:
    """Determine the order of the records in the training stream.

    Args:
        records: The records in Detectron2's standard format. All of them are read once if any of the last three
            arguments is set.
        seed: The seed of the stream.
        batch_size: The number of images in one optimiser step over all processes, which only affects the groups.
        filter_empty: Whether to skip images that have no annotations except crowds.
        group_by_aspect_ratio: Whether to form batches only of images that are wider than high, or only of images that
            are not, which reduces padding.
        repeat_threshold: The share t of images below which a class is considered rare. On average, an image is drawn
            max(1, sqrt(t / f)) times per epoch, where f is the share of images that contain the rarest of its classes
            (LVIS, CVPR 2019, section "repeat factor sampling"); shares are computed after `filter_empty`. None draws
            each image once per epoch.

    Raises:
        ValueError: The filter removes all images, a record lacks a required key, or the threshold is not in (0, 1].
    """
    if repeat_threshold is not None and not 0 < repeat_threshold <= 1:
        raise ValueError(f"repeat_threshold is {repeat_threshold}; wanted a number above 0 and up to 1, or null")
    if not (filter_empty or group_by_aspect_ratio or repeat_threshold):
        return ShuffledEpochs(range(len(records)), entropy=[seed])
    facts = _facts(records, annotations=filter_empty or bool(repeat_threshold), sizes=group_by_aspect_ratio)
    if filter_empty:
        facts = filter_images_with_only_crowd_annotations(facts)  # logs the number of images that it removes
        if not facts:
            raise ValueError(
                f"filter_empty removes all {len(records)} images, since none has an annotation other than crowds; "
                "wanted annotations, or filter_empty=false"
            )
    factors = _repeat_factors(facts, repeat_threshold) if repeat_threshold else [1.0] * len(facts)
    drawn = [(fact["place"], factor, fact.get("is_wide")) for fact, factor in zip(facts, factors, strict=True)]
    if not group_by_aspect_ratio:
        return _shuffled(drawn, entropy=[seed])
    kinds = [[one for one in drawn if one[2] is is_wide] for is_wide in (True, False)]
    logger.info("Images are grouped by aspect ratio: %d are wider than high, %d are not", *map(len, kinds))
    groups = [_shuffled(some, entropy=[seed, _GROUPS, kind]) for kind, some in enumerate(kinds) if some]
    return GroupedEpochs(groups, batch_size=batch_size, entropy=[seed, _BATCHES])


def _shuffled(drawn: Sequence[tuple], *, entropy: Sequence[int]) -> ShuffledEpochs:
    return ShuffledEpochs([*map(itemgetter(0), drawn)], entropy=entropy, factors=[*map(itemgetter(1), drawn)])


def _facts(records: Sequence[dict], *, annotations: bool, sizes: bool) -> list[dict]:
    """Reduce the records to the facts that the order depends on, so that all of them fit into memory."""
    wanted = (["annotations"] if annotations else []) + (["height", "width"] if sizes else [])
    kinds: dict[tuple[int, int], dict[str, int]] = {}  # annotations with equal values share one dict to save memory
    facts = []
    for place, record in enumerate(records):
        missing = [key for key in wanted if key not in record]
        if missing:
            raise ValueError(
                f"the record of {record.get('file_name', place)} has no {' and no '.join(missing)}, which "
                "filter_empty, group_by_aspect_ratio or repeat_threshold needs; wanted a data set for detection"
            )
        fact: dict[str, Any] = {"place": place}
        if annotations:
            keys = {(one["category_id"], one.get("iscrowd", 0)) for one in record["annotations"]}
            fact["annotations"] = [
                kinds.setdefault(key, {"category_id": key[0], "iscrowd": key[1]}) for key in sorted(keys)
            ]
        if sizes:
            fact["is_wide"] = record["width"] > record["height"]
        facts.append(fact)
    return facts


def _repeat_factors(facts: list[dict], threshold: float) -> list[float]:
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(facts, threshold)
    logger.info(
        "Repeat factors: %d of %d images are drawn more than once per epoch on average, at most %.2f times",
        int((factors > 1).sum()),
        len(factors),
        float(factors.max()),
    )
    return factors.tolist()
