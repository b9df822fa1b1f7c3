"""Measure the images per second of the training loader alone, on one core, including reading and augmentation.

A worker of the loader needs one core. To keep a GPU busy, the loader needs as many workers as the images per second of
the benchmark `throughput`, with the same config on that GPU, divided by the images per second of this benchmark. The
data is that of the config, which the first round reads into the system's cache or, with --pictures, generated JPEG
files with label maps, whose detail and file size are similar to those of a photo.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from detectron2.config import instantiate
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from tqdm import tqdm

from tokenseg.config.load import load_config
from tokenseg.data.mapper import SemSegMapper
from tokenseg.data.stream import SampleStream

from ._runs import Clock

# The number of generated files, and of samples per round.
_PICTURES, _ROUND = 8, 16


def cases(args: argparse.Namespace) -> dict[str, Callable[[], "Loading"]]:
    return {"loader": lambda: _loading(args)}


class Loading:
    """Measures how fast one core produces the samples of a stream, and how long it takes only to read their files."""

    def __init__(self, stream: SampleStream, files: tempfile.TemporaryDirectory | None = None) -> None:
        """
        Args:
            stream: The samples of the training.
            files: The temporary folder of generated files, which exists as long as this object.
        """
        self._stream, self._files = stream, files

    def measure(self, clock: Clock, rounds: int) -> list[dict]:
        """Return one row with the medians over the rounds."""
        self._take(0)
        samples, reads = [], []
        for number in tqdm(range(rounds), unit="round", leave=False, disable=None):
            samples.append(clock.seconds(lambda number=number: self._take(number)) / _ROUND)
            reads.append(clock.seconds(lambda number=number: self._read(number)) / _ROUND)
        sample, read = statistics.median(samples), statistics.median(reads)
        return [{"images/s": 1 / sample, "ms/image": 1e3 * sample, "of it the file %": 100 * read / sample}]

    def _positions(self, number: int) -> range:
        return range(number * _ROUND, (number + 1) * _ROUND)

    def _take(self, number: int) -> None:
        for position in self._positions(number):
            self._stream[position]

    def _read(self, number: int) -> None:
        for position in self._positions(number):
            record = self._stream.records[self._stream.order[position]]
            with Image.open(record["file_name"]) as image:
                np.asarray(image)


def _loading(args: argparse.Namespace) -> Loading:
    cfg = load_config(args.config_file, args.overrides)
    files = tempfile.TemporaryDirectory() if args.pictures else None
    if files:
        cfg.dataloader.train.dataset = _generate(Path(files.name), *args.pictures, cfg.dataset.num_classes)
    stream = instantiate(cfg.dataloader.train).stream
    if files and not isinstance(stream.mapper, SemSegMapper):
        raise ValueError(
            f"--pictures generates label maps, which {type(stream.mapper).__name__} does not read; wanted a config of "
            "semantic segmentation, or no --pictures and the config's own data"
        )
    return Loading(stream, files)


def _generate(folder: Path, height: int, width: int, num_classes: int) -> str:
    """Write pictures with label maps, register them as a data set, and return its name."""
    draw, records = np.random.default_rng(0), []
    for place in range(_PICTURES):
        file, label = (str(folder / f"{place}.{suffix}") for suffix in ("jpg", "png"))
        fine, coarse = (draw.integers(0, 256, (side, side, 3), dtype=np.uint8) for side in (96, 6))
        layers = [
            Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC) for pixels in (coarse, fine)
        ]
        Image.blend(*layers, 0.3).save(file, quality=90)
        patches = Image.fromarray(draw.integers(0, num_classes, (8, 8), dtype=np.uint8))
        patches.resize((width, height), Image.Resampling.NEAREST).save(label)
        records.append({"file_name": file, "sem_seg_file_name": label, "height": height, "width": width})
    name = f"pictures_in_{folder.name}"
    DatasetCatalog.register(name, lambda: records)
    classes = [str(number) for number in range(num_classes)]
    MetadataCatalog.get(name).set(stuff_classes=classes, ignore_label=255, evaluator_type="sem_seg")
    return name
