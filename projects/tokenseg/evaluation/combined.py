"""Several evaluators of one evaluation: each image passes through the model once, and its outputs go to all of them."""

from collections.abc import Sequence

from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators

from ..contracts import NamesMetrics, WantsOutputs


class CombinedEvaluators(DatasetEvaluators):
    """Detectron2's combination of several evaluators, which knows the metrics that they will give.

    Attributes:
        wants: What the evaluators want of a model beside class ids.
    """

    def __init__(self, parts: Sequence[DatasetEvaluator]) -> None:
        """
        Args:
            parts: The evaluators, in the order of their results.
        """
        super().__init__(list(parts))
        self._parts = tuple(parts)
        self.wants = frozenset().union(*(part.wants for part in parts if isinstance(part, WantsOutputs)))

    def metric_names(self) -> list[str] | None:
        """The names of what `evaluate` gives, `<task>/<name>`; None if one of the evaluators does not know.

        Raises:
            ValueError: Two of the evaluators give the same.
        """
        names = [part.metric_names() if isinstance(part, NamesMetrics) else None for part in self._parts]
        known = [some for some in names if some is not None]
        if len(known) < len(names):
            return None
        joined = [name for some in known for name in some]
        if twice := sorted({name for name in joined if joined.count(name) > 1}):
            raise ValueError(f"two evaluators give {', '.join(twice)}; wanted one of them")
        return joined


def combined_evaluators(**evaluators: DatasetEvaluator | None) -> CombinedEvaluators:
    """Combine evaluators under names, so that an override can change one of them or leave it out.

    Detectron2's own `DatasetEvaluators` takes a list, in which an override would have to count places.

    Args:
        evaluators: The evaluators by name, in the order in which their results are to stand; None leaves one out.
    """
    return CombinedEvaluators([one for one in evaluators.values() if one is not None])
