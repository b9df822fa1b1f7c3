"""The data loaders. Each training sample depends only on the seed and on its position in the stream.

Sample i of the stream and its augmentation are therefore the same for any number of workers and processes, and after a
run is resumed. The order (`sampling.sample_order`) determines the record at position i. By default it is element
`i % len` of the permutation of epoch `i // len`. While the record is augmented, the random generators are seeded with
(seed, i).
"""

import contextlib
import os
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data.build import trivial_batch_collator
from detectron2.data.samplers import InferenceSampler
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset

from ..datasets.records import load_records
from .epochs import GroupedEpochs, ShuffledEpochs
from .glance import warn_of_one_class
from .labels import check_label_range, read_class_ids
from .mapper import SemSegMapper
from .sampling import sample_order


@contextlib.contextmanager
def _seeded(entropy: Sequence[int]) -> Iterator[None]:
    """Seed the generators of Python, NumPy and torch for the `with` block, and restore their states afterwards."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    words = np.random.SeedSequence(entropy).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.default_generator.manual_seed(int(words[2]))  # torch.manual_seed would also seed the generators of the GPUs
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


class SampleStream(Dataset):
    """An endless stream of mapped samples, indexed by position."""

    def __init__(
        self,
        *,
        records: Sequence[dict],
        mapper: Callable[[dict], dict],
        seed: int,
        order: ShuffledEpochs | GroupedEpochs,
    ) -> None:
        """
        Args:
            records: The records of the data set.
            mapper: A function that maps a record to a model input.
            seed: The seed of the augmentation.
            order: The index into `records` for each position.
        """
        self.records, self.mapper, self.seed, self.order = records, mapper, seed, order

    def __getitem__(self, position: int) -> dict:
        """Return the sample at a position of the stream, 0 or more."""
        with _seeded([self.seed, 1, position]):
            sample = self.mapper(self.records[self.order[position]])
        # The model uses this seed to draw random numbers for the image, such as the points at which masks are compared.
        # With a seed per image, they do not depend on the other images of the batch.
        sample["seed"] = int(np.random.SeedSequence([self.seed, 2, position]).generate_state(1)[0])
        return sample


class TrainLoader:
    """Loads the batches of this process; iterating over the loader begins at iteration `start_iter` and never ends."""

    def __init__(
        self,
        *,
        dataset: str | Sequence[str],
        mapper: Callable[[dict], dict],
        total_batch_size: int,
        num_workers: int,
        seed: int,
        filter_empty: bool = False,
        group_by_aspect_ratio: bool = False,
        repeat_threshold: float | None = None,
    ) -> None:
        """
        Args:
            dataset: The name or names of registered data sets.
            mapper: A function that maps a record to a model input.
            total_batch_size: The number of images in one optimiser step, over all processes.
            num_workers: The number of loader workers of this process; 0 loads in the process itself.
            seed: The seed of the stream, which must be the same in every process.
            filter_empty: The argument `filter_empty` of `sample_order`.
            group_by_aspect_ratio: The argument `group_by_aspect_ratio` of `sample_order`. All processes together form
                one batch.
            repeat_threshold: The argument `repeat_threshold` of `sample_order`.

        Raises:
            ValueError: The batch cannot be divided evenly among the processes, the data set is unknown or empty, or
                its records do not support the requested order.
        """
        world_size = comm.get_world_size()
        if total_batch_size <= 0 or total_batch_size % world_size:
            raise ValueError(
                f"dataloader.train.total_batch_size is {total_batch_size}; "
                f"wanted a positive multiple of the number of processes, {world_size}"
            )
        if seed < 0:
            raise ValueError(f"the seed of the training stream is {seed}; wanted 0 or more (train.seed)")
        records = load_records(dataset)
        if isinstance(mapper, SemSegMapper):
            warn_of_one_class(dataset, records, ignore_label=mapper.ignore_label)
        order = sample_order(
            records,
            seed=seed,
            batch_size=total_batch_size,
            filter_empty=filter_empty,
            group_by_aspect_ratio=group_by_aspect_ratio,
            repeat_threshold=repeat_threshold,
        )
        self.stream = SampleStream(records=records, mapper=mapper, seed=seed, order=order)
        self.total_batch_size, self.num_workers = total_batch_size, num_workers
        self.local_batch_size = total_batch_size // world_size
        self.start_iter = 0

    def _positions(self) -> Iterator[list[int]]:
        """Yield the positions of this process for each batch: a consecutive part of the positions of all processes."""
        first = self.start_iter * self.total_batch_size + comm.get_rank() * self.local_batch_size
        while True:
            yield list(range(first, first + self.local_batch_size))
            first += self.total_batch_size

    def __iter__(self) -> Iterator[list[dict]]:
        # This is a generator so that nothing starts before the first batch is requested. Detectron2 0.5 calls iter() in
        # the trainer's constructor, when the checkpoint that determines `start_iter` has not been loaded yet.
        yield from DataLoader(
            self.stream,
            batch_sampler=self._positions(),
            **_worker_options(self.num_workers),
        )


def _worker_options(num_workers: int) -> dict[str, Any]:
    """Return the arguments of torch's DataLoader that both loaders share."""
    return {
        "num_workers": num_workers,
        "collate_fn": trivial_batch_collator,
        "worker_init_fn": _set_up_worker,
        # By default a spawned training process would spawn its workers too. Each of them would import torch, which
        # takes seconds at the start of every evaluation.
        "multiprocessing_context": "fork" if num_workers and sys.platform == "linux" else None,
    }


def _set_up_worker(_worker: int) -> None:
    """Give a worker its own process group and a single thread."""
    import cv2

    # Signals that stop a run are sent to its whole process group. The run completes its current step, for which it
    # still needs the samples of the workers.
    os.setpgid(0, 0)
    # torch uses one thread per worker by default, but OpenCV would use every core.
    cv2.setNumThreads(0)


def build_test_loader(
    *, dataset: str | Sequence[str], mapper: Callable[[dict], dict], num_workers: int, batch_size: int = 1
) -> DataLoader:
    """Create a loader that visits each image of a data set once and divides the images among the processes.

    Args:
        dataset: The name or names of registered data sets.
        mapper: A function that maps a record to a model input.
        num_workers: The number of loader workers of this process; 0 loads in the process itself.
        batch_size: The number of images per batch in this process. The model pads images to the largest of a batch.
    """
    records = load_records(dataset)
    if isinstance(mapper, SemSegMapper):
        warn_of_one_class(dataset, records, ignore_label=mapper.ignore_label)
    if comm.is_main_process():
        _try(records[0], mapper)
    return DataLoader(
        _Mapped(records, mapper),
        sampler=InferenceSampler(len(records)),
        batch_size=batch_size,
        **_worker_options(num_workers),
    )


def _try(record: dict, mapper: Callable[[dict], dict]) -> None:
    """Read one record as the evaluation will, so that errors appear now and not after hours of training."""
    with _seeded([0]):
        mapper(record)
    if isinstance(mapper, SemSegMapper) and "sem_seg_file_name" in record:
        check_label_range(
            read_class_ids(record),
            num_classes=mapper.num_classes,
            ignore_label=mapper.ignore_label,
            path=record["sem_seg_file_name"],
        )


class _Mapped(Dataset):
    def __init__(self, records: Sequence[dict], mapper: Callable[[dict], dict]) -> None:
        self.records, self.mapper = records, mapper

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict:
        return self.mapper(self.records[index])
