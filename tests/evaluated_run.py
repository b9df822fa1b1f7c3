"""The folder of a run with an evaluation, for tests of reports."""

import json

import torch

from tokenseg.config.instantiate import instantiate
from tokenseg.config.load import load_config
from tokenseg.engine.metrics_file import write_results
from tokenseg.evaluation.sem_seg import ConfusionEvaluator
from tokenseg.predictor import Predictor

# A class name that would run a script if a page did not escape it.
HOSTILE = '<script>alert("x")</script>'


def evaluate(folder, dataset):
    """Evaluate an untrained model in a folder that has a config.yaml, write the files of a run, return the results."""
    config = load_config(str(folder / "config.yaml"))
    torch.save({"model": instantiate(config.model).state_dict()}, folder / "model_final.pth")
    metrics = ["boundary", "size", "frequency", "calibration"]
    evaluator = ConfusionEvaluator(dataset_name=dataset, output_dir=str(folder / "inference"), metrics=metrics)
    predictor = Predictor(config, folder / "model_final.pth")
    evaluator.reset()
    with torch.no_grad():
        for batch in instantiate(config.dataloader.test):
            evaluator.process(batch, predictor.model.ids(batch, {"confidence"}))
    results = evaluator.evaluate()
    last = {f"{task}/{name}": value for task, values in results.items() for name, value in values.items()}
    write_results(folder, results)
    rows = [{"iteration": 0, "total_loss": 2.0}, {"iteration": 9, "total_loss": 1.0} | last]
    (folder / "metrics.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return results
