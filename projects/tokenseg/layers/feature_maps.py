"""Selection of a backbone's feature maps by name."""

from collections.abc import Mapping, Sequence

from torch import Tensor


def select_maps(features: Mapping[str, Tensor], names: Sequence[str]) -> list[Tensor]:
    """Return the maps that a head reads, in the order of `names`.

    Args:
        features: The maps of the backbone, by name.
        names: The names of the wanted maps.

    Raises:
        ValueError: A name is not among the features.
    """
    missing = [name for name in names if name not in features]
    if missing:
        raise ValueError(f"there is no feature map {', '.join(missing)}; wanted some of {', '.join(features)}")
    return [features[name] for name in names]
