"""Several evaluators in one evaluation."""

from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators


def combined_evaluators(**evaluators: DatasetEvaluator | None) -> DatasetEvaluators:
    """Detectron2's list of evaluators, by name, so that a config can leave one out by setting it to None.

    Args:
        evaluators: in the order in which their results stand.
    """
    return DatasetEvaluators([one for one in evaluators.values() if one is not None])
