"""Which records a training draws, how often, and which of them share a batch: from annotations to an order."""

import logging
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from detectron2.data.build import filter_images_with_only_crowd_annotations
from detectron2.data.samplers import RepeatFactorTrainingSampler

from .epochs import GroupedEpochs, ShuffledEpochs

logger = logging.getLogger(__name__)

# What follows the seed in the entropy of the orders; 1 and 2 are those of augmentation and model (see stream.py).
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
    """Decide at which positions of the stream each record stands.

    Args:
        records: The records, in Detectron2's standard format; each is read once if any of the arguments below is set.
        seed: The seed of the stream.
        batch_size: The images of one optimiser step over all processes; only groups depend on it.
        filter_empty: Whether images are left out that have no annotations, or none but crowds.
        group_by_aspect_ratio: Whether the images of a batch are either all wider than high, or all not, so that less
            of a batch is padding.
        repeat_threshold: The share t of images below which a class counts as rare. An image is drawn
            max(1, sqrt(t / f)) times an epoch, where f is the share of images that show the rarest of its classes
            (LVIS, CVPR 2019, section "repeat factor sampling"; of `filter_empty`'s images). None draws each once.

    Raises:
        ValueError: The filter leaves nothing, a record lacks what is asked of it, or the threshold is no share.
    """
    if repeat_threshold is not None and not 0 < repeat_threshold <= 1:
        raise ValueError(f"repeat_threshold is {repeat_threshold}; wanted a share above 0 and up to 1, or null")
    if not (filter_empty or group_by_aspect_ratio or repeat_threshold):
        return ShuffledEpochs(range(len(records)), entropy=[seed])
    facts = _facts(records, annotations=filter_empty or bool(repeat_threshold), sizes=group_by_aspect_ratio)
    if filter_empty:
        facts = filter_images_with_only_crowd_annotations(facts)  # logs how many it has left out
        if not facts:
            raise ValueError(
                f"filter_empty leaves none of the {len(records)} images: none has an annotation that is no crowd; "
                "wanted annotations, or filter_empty=false"
            )
    factors = _repeat_factors(facts, repeat_threshold) if repeat_threshold else [1.0] * len(facts)
    drawn = [(fact["place"], factor, fact.get("is_wide")) for fact, factor in zip(facts, factors, strict=True)]
    if not group_by_aspect_ratio:
        return _shuffled(drawn, entropy=[seed])
    kinds = [[one for one in drawn if one[2] is is_wide] for is_wide in (True, False)]
    logger.info("Batches of one aspect ratio: %d images are wider than high, %d are not", *map(len, kinds))
    groups = [_shuffled(some, entropy=[seed, _GROUPS, kind]) for kind, some in enumerate(kinds) if some]
    return GroupedEpochs(groups, batch_size=batch_size, entropy=[seed, _BATCHES])


def _shuffled(drawn: Sequence[tuple], *, entropy: Sequence[int]) -> ShuffledEpochs:
    return ShuffledEpochs([*map(itemgetter(0), drawn)], entropy=entropy, factors=[*map(itemgetter(1), drawn)])


def _facts(records: Sequence[dict], *, annotations: bool, sizes: bool) -> list[dict]:
    """What the order depends on, in records that are small enough to be in memory all at once."""
    wanted = (["annotations"] if annotations else []) + (["height", "width"] if sizes else [])
    kinds: dict[tuple[int, int], dict[str, int]] = {}  # one dict for all annotations that are alike here
    facts = []
    for place, record in enumerate(records):
        missing = [key for key in wanted if key not in record]
        if missing:
            raise ValueError(
                f"the record of {record.get('file_name', place)} has no {' and no '.join(missing)}, on which "
                "filter_empty, group_by_aspect_ratio and repeat_threshold depend; wanted a data set for detection"
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
        "Repeat factors: %d of %d images are drawn more than once an epoch on average, at most %.2f times",
        int((factors > 1).sum()),
        len(factors),
        float(factors.max()),
    )
    return factors.tolist()
