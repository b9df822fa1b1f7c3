"""The folder of a run with an evaluation, for tests of reports."""

import json

import torch

from tokenseg.config.instantiate import instantiate
from tokenseg.config.load import load_config
from tokenseg.evaluation.sem_seg import ConfusionEvaluator
from tokenseg.predictor import Predictor

# The name of a class that would run in a page that takes it for HTML.
HOSTILE = '<script>alert("x")</script>'


def evaluate(folder, dataset):
    """Leave in a folder that has a config.yaml what a run leaves there after an evaluation; returns its metrics."""
    config = load_config(str(folder / "config.yaml"))
    torch.save({"model": instantiate(config.model).state_dict()}, folder / "model_final.pth")
    evaluator = ConfusionEvaluator(dataset_name=dataset, output_dir=str(folder / "inference"))
    loader = instantiate(config.dataloader.test)
    predictor = Predictor(config, folder / "model_final.pth")
    evaluator.reset()
    for batch in loader:
        evaluator.process(batch, [{"class_ids": torch.from_numpy(predictor(batch[0]["file_name"]))}])
    metrics = evaluator.evaluate()["sem_seg"]
    rows = [{"iteration": 0, "total_loss": 2.0}, {"iteration": 9, "total_loss": 1.0, "sem_seg/mIoU": metrics["mIoU"]}]
    (folder / "metrics.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return metrics
