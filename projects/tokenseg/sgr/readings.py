"""The points in which SGR deviates from its paper by default. The authors' code was not available.

The `reading` of the component and of its loss is a key of `READINGS`; a config passes `sgr`'s reading to both.
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
