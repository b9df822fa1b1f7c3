"""The body of the command `publish`, which collects and uploads the files that others need to use a trained model."""

import argparse
import json
import os
from pathlib import Path

from detectron2.config import LazyConfig
from detectron2.data import MetadataCatalog
from huggingface_hub import EvalResult, HfApi, ModelCardData
from huggingface_hub.errors import HfHubHTTPError
from omegaconf import DictConfig
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..checkpoint_file import read_checkpoint, weights_to_use
from ..config.instantiate import instantiate
from ..config.load import load_config
from ..engine.metrics_file import read_metrics
from ..hub import CONFIG, WEIGHTS, weights_in
from ..plain_text import markdown_text

METRICS, CARD = "metrics.json", "README.md"
# The settings with paths on the machine of the training, which a published config does not contain, and their values.
_LOCAL = {"train.init_checkpoint": "", "train.output_dir": "./output"}


def evaluated(run: Path, iteration: int | None) -> dict[str, float]:
    """Read the metrics of a run's evaluation at an iteration, without those of single classes.

    Args:
        run: The folder of the run.
        iteration: The iteration after which the weights were saved; None if it is unknown.

    Returns:
        The metrics by name, such as `sem_seg/mIoU`; empty if these weights were not evaluated.
    """
    rows = [row for row in read_metrics(run / METRICS) if row["iteration"] == iteration]
    return {name: value for row in rows for name, value in row.items() if "/" in name and "-" not in name}


def portable(config: DictConfig) -> DictConfig:
    """Return a copy of a config without paths on the machine of the training."""
    config = config.copy()
    for key, value in _LOCAL.items():
        section, name = key.split(".")
        config[section][name] = value
    return config


def card(
    config: DictConfig,
    name: str,
    metrics: dict[str, float],
    classes: list[str],
    *,
    license_name: str,
    repository: str,
) -> str:
    """Return the text of a model card, which begins with the metadata that the hub reads."""
    dataset = str(config.get("dataset", {}).get("test", "")) if isinstance(config.get("dataset"), DictConfig) else ""
    dataset = dataset if "_target_" not in dataset and dataset else "own data"
    results = [
        EvalResult(
            task_type="image-segmentation",
            dataset_type=dataset,
            dataset_name=dataset,
            metric_type=metric,
            metric_name=metric,
            metric_value=round(value, 2),
        )
        for metric, value in metrics.items()
        if isinstance(value, (int, float))
    ]
    facts = ModelCardData(
        license=license_name or None,
        library_name="tokenseg",
        pipeline_tag="image-segmentation",
        tags=["detectron2", "image-segmentation"],
        model_name=name,
        eval_results=results or None,
    )
    rows = "\n".join(f"| {metric} | {value:.2f} |" for metric, value in metrics.items()) or "| not evaluated | |"
    named = ", ".join(markdown_text(one) for one in classes)
    return f"""---
{facts.to_yaml()}
---

# {markdown_text(name)}

Trained with TokenSeg, evaluated on {dataset}.

| metric | value |
|---|---|
{rows}

Classes: {named}.

```python
import tokenseg

predictor = tokenseg.load("hf://{repository}")  # or the path of this folder
prediction = predictor("photo.jpg")
```
"""


def gather(run: Path, weights: str, output: Path, *, license_name: str, repository: str) -> dict[str, float]:
    """Write the folder of a published model, and check that its weights equal those of the checkpoint.

    Args:
        run: The folder of the run.
        weights: The path of the checkpoint.
        output: The path of the new folder.
        license_name: The license of the weights; empty if none is stated.
        repository: The repository, as OWNER/NAME, from which the example in the model card loads the model.

    Returns:
        The metrics of these weights; see `evaluated`.

    Raises:
        ValueError: The run or its weights cannot be read, or the folder exists and is not empty.
    """
    if output.exists() and any(output.iterdir()):
        raise ValueError(f"--output is {output}, which is not empty; wanted a new folder")
    config = load_config(str(run / CONFIG))
    checkpoint = read_checkpoint(weights)
    state = {name: value.contiguous() for name, value in weights_to_use(checkpoint).items()}
    metrics = evaluated(run, checkpoint.get("iteration"))
    names = instantiate(config.dataloader.test.dataset)
    metadata = MetadataCatalog.get(names if isinstance(names, str) else names[0])
    classes = metadata.get("stuff_classes") or metadata.get("thing_classes") or []
    text = card(config, run.resolve().name, metrics, classes, license_name=license_name, repository=repository)

    output.mkdir(parents=True, exist_ok=True)
    LazyConfig.save(portable(config), str(output / CONFIG))
    _write_weights(state, output / WEIGHTS)
    (output / METRICS).write_text(json.dumps(metrics, indent=1, sort_keys=True) + "\n")
    (output / CARD).write_text(text)
    return metrics


def _write_weights(state: dict[str, Tensor], path: Path) -> None:
    """Write weights as safetensors; each of several parameters that share memory is written separately."""
    save_file({name: value.clone() for name, value in state.items()}, path)
    again = load_file(path)
    different = [name for name, value in state.items() if not value.equal(again[name])]
    if different:
        raise OSError(f"the values in {path} differ from those of the checkpoint: {', '.join(different[:5])}")


def push(folder: Path, repository: str, *, private: bool) -> str:
    """Upload a folder to a repository on the hub, which is created if necessary, and return its address.

    Raises:
        ValueError: The hub rejects the upload, for instance because the user is not logged in.
    """
    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repository, folder_path=str(folder), commit_message="A trained model"))
    except (HfHubHTTPError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"the hub rejects the upload of {folder} to {repository}: {reason}. The folder is kept; to log in, run "
            "`hf auth login`"
        ) from error


def main(args: argparse.Namespace) -> None:
    """Collect the model of the run `args.run` in `args.output`, and upload it if `args.push` names a repository."""
    if not (args.run / CONFIG).is_file():
        raise ValueError(f"{args.run} has no {CONFIG}; wanted the output folder of a run")
    weights = args.weights or weights_in(args.run)
    repository = args.push or "OWNER/REPOSITORY"
    metrics = gather(args.run, str(weights), args.output, license_name=args.license, repository=repository)
    found = ", ".join(f"{name} {value:.2f}" for name, value in metrics.items()) or "these weights were not evaluated"
    print(f"{args.output}: {', '.join(sorted(os.listdir(args.output)))} ({found})")
    if args.push:
        print(f"Uploaded: {push(args.output, args.push, private=args.private)}")
