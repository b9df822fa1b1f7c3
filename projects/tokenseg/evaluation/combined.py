"""Combining several evaluators in one evaluation, so that each image passes through the model only once."""

from collections.abc import Sequence

from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators

from ..contracts import NamesMetrics, WantsOutputs


class CombinedEvaluators(DatasetEvaluators):
    """Detectron2's combination of several evaluators, extended by the names of their metrics.

    Attributes:
        wants: The outputs that the evaluators need from a model besides class ids.
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
        """Return the names `<task>/<name>` of the metrics from `evaluate`, or None if an evaluator does not know them.

        Raises:
            ValueError: Two of the evaluators compute a metric of the same name.
        """
        names = [part.metric_names() if isinstance(part, NamesMetrics) else None for part in self._parts]
        known = [some for some in names if some is not None]
        if len(known) < len(names):
            return None
        joined = [name for some in known for name in some]
        if twice := sorted({name for name in joined if joined.count(name) > 1}):
            raise ValueError(f"two evaluators compute {', '.join(twice)}; wanted only one of them")
        return joined


def combined_evaluators(**evaluators: DatasetEvaluator | None) -> CombinedEvaluators:
    """Combine evaluators by name, so that an override can change or remove one of them.

    Detectron2's `DatasetEvaluators` takes a list, of whose items an override would have to know the indices.

    Args:
        evaluators: The evaluators by name, in the order of their results; None removes an evaluator.
    """
    return CombinedEvaluators([one for one in evaluators.values() if one is not None])
