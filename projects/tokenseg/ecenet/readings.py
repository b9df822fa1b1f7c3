"""The points in which the text of ECENet's paper and the released model contradict each other, and the default choices.

The `reading` of the head and of its parts is a key of `READINGS`; a config passes the head's reading to all parts.
"""

from typing import NamedTuple

from ..layers.class_embedding import GatedClassUpdater


class Reading(NamedTuple):
    """A choice for every point."""

    fusion_size: int  # side of the convolution that joins the stages
    se_sigmoid: bool  # whether the squeeze and excitation of FR ends in a sigmoid
    reverse_similarity: bool  # whether the softmax of semantics attention is that of minus the similarity
    query_relu: bool  # whether a ReLU follows each of the two convolutions that make the queries
    last_update: bool  # whether a linear layer, a norm and a ReLU follow Eq. 10


READINGS = {
    # The text, except where the published numbers of parameters and operations contradict it.
    "default": Reading(3, se_sigmoid=True, reverse_similarity=False, query_relu=False, last_update=True),
    "printed": Reading(1, se_sigmoid=True, reverse_similarity=False, query_relu=False, last_update=False),
    "released": Reading(3, se_sigmoid=False, reverse_similarity=True, query_relu=True, last_update=True),
}


def read(reading: str) -> Reading:
    """The choices of a reading.

    Raises:
        ValueError: There is no reading of that name.
    """
    if reading not in READINGS:
        raise ValueError(f"reading is '{reading}'; wanted one of {', '.join(READINGS)}")
    return READINGS[reading]


def gated_updater(*, width: int, reading: str = "default") -> GatedClassUpdater:
    """The class updater of a reading.

    Args:
        width: The number of channels D.
        reading: A key of `READINGS`.

    Raises:
        ValueError: There is no reading of that name.
    """
    return GatedClassUpdater(width=width, last_update=read(reading).last_update)
