"""Sends a run's scalars, pictures and results to Weights & Biases, if `train.wandb.project` is set.

The package `wandb` is optional.
"""

import os
from collections import defaultdict
from collections.abc import Mapping
from types import ModuleType

import numpy as np
from detectron2.utils.events import EventWriter, get_event_storage
from omegaconf import DictConfig

from ..config.changes import as_saved
from .metrics_file import WINDOW

# The file in the output folder that stores the id of the Weights & Biases run, which a resumed run continues.
_ID_FILE = "wandb_run.txt"


class WandbLog(EventWriter):
    """Sends the scalars of the metrics file, the pictures of evaluations and, at the end, a table of the classes.

    Only the main process uses this writer. With `WANDB_MODE=offline` it writes to `<output_dir>/wandb`, and
    `wandb sync` uploads that later.
    """

    def __init__(self, config: DictConfig, *, resume: bool) -> None:
        """
        Args:
            config: The config of the run. Its section `train.wandb` has the names of the project and of the run.
            resume: Whether to continue the Weights & Biases run of this output folder, if there is one.

        Raises:
            ValueError: The package is not installed.
        """
        self._wandb, settings = import_wandb(), config.train
        path = os.path.join(settings.output_dir, _ID_FILE)
        run_id = None
        if resume and os.path.exists(path):
            with open(path) as file:
                run_id = file.read().strip()
        self._run = self._wandb.init(
            project=settings.wandb.project,
            name=settings.wandb.get("name") or os.path.basename(os.path.abspath(settings.output_dir)),
            dir=settings.output_dir,
            config=as_saved(config),
            id=run_id,
            resume="allow",
        )
        with open(path, "w") as file:
            file.write(self._run.id)
        self._written = -1
        self._classes: dict = {}

    def write(self) -> None:
        """Send the scalars that were stored since the last call, iteration by iteration."""
        rows: dict[int, dict[str, float]] = defaultdict(dict)
        for name, (value, iteration) in get_event_storage().latest_with_smoothing_hint(WINDOW).items():
            if "-" in name:  # the metric of a single class: a table at the end replaces a chart for each of them
                self._classes[name] = value
            elif iteration > self._written:
                rows[iteration][name] = value
        for iteration in sorted(rows):
            self._run.log(rows[iteration], step=iteration)
            self._written = iteration

    def write_pictures(self, pictures: Mapping[str, np.ndarray], iteration: int) -> None:
        """Send the pictures (h, w, 3) uint8 RGB of an evaluation after an iteration."""
        images = {name: self._wandb.Image(pixels) for name, pixels in pictures.items()}
        self._run.log(images, step=iteration)

    def close(self) -> None:
        if self._classes:
            rows = [[*name.split("-", 1), value] for name, value in self._classes.items()]
            self._run.log({"classes": self._wandb.Table(columns=["metric", "class", "value"], data=rows)})
        self._run.finish()


def import_wandb() -> ModuleType:
    """Import the package `wandb`.

    Raises:
        ValueError: It is not installed.
    """
    try:
        import wandb
        from wandb import init  # noqa: F401  an import without this also succeeds for a mere folder named wandb
    except ImportError as error:
        raise ValueError(
            f"train.wandb needs the package wandb, which is not installed ({error}): pip install 'tokenseg[wandb]'"
        ) from error
    return wandb
