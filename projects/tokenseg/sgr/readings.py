"""Where SGR here departs from what its paper prints, by default. The authors' code was not at hand.

The `reading` of the component and of its loss is a key of `READINGS`; a config gives both that of `sgr`.
"""

from typing import NamedTuple


class SGRReading(NamedTuple):
    """A choice for every point."""

    token_aggregation: str  # see `SemanticReasoning`
    union: str  # see `RegionLoss`


READINGS = {
    "ours": SGRReading(token_aggregation="mean", union="noisy_or"),
    "printed": SGRReading(token_aggregation="sum", union="sum_clamped"),
}


def read_sgr(reading: str) -> SGRReading:
    """The choices of a reading.

    Raises:
        ValueError: There is no reading of that name.
    """
    if reading not in READINGS:
        raise ValueError(f"reading is '{reading}'; wanted one of {', '.join(READINGS)}")
    return READINGS[reading]
