"""Several evaluators of one evaluation: each image passes through the model once, and its outputs go to all of them."""

from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators


def combined_evaluators(**evaluators: DatasetEvaluator | None) -> DatasetEvaluators:
    """Combine evaluators under names, so that an override can change one of them or leave it out.

    Detectron2's own `DatasetEvaluators` takes a list, in which an override would have to count places.

    Args:
        evaluators: The evaluators by name, in the order in which their results are to stand; None leaves one out.
    """
    return DatasetEvaluators([one for one in evaluators.values() if one is not None])
