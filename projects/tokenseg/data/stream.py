"""Loaders. The training stream is a function of a seed and a position alone.

Sample i of the stream, its augmentation included, is the same whatever the number of workers and processes and
wherever a run was resumed: an order tells which record stands at position i, without a filter, groups or repeats image
`i % len` of epoch `i // len`'s permutation, and the random generators are seeded with (seed, i) while it is augmented.
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
    """Seed Python's, NumPy's and torch's generators inside the block, and put their old states back after it."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    words = np.random.SeedSequence(entropy).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.default_generator.manual_seed(int(words[2]))  # torch.manual_seed would change the GPUs' generators too
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
            records: The records that the order speaks of.
            mapper: A function from a record to the input of a model.
            seed: The seed of the augmentation.
            order: Which record stands at which position.
        """
        self.records, self.mapper, self.seed, self.order = records, mapper, seed, order

    def __getitem__(self, position: int) -> dict:
        """The sample at `position` >= 0 of the stream."""
        with _seeded([self.seed, 1, position]):
            sample = self.mapper(self.records[self.order[position]])
        # For what a model draws for an image, such as points of its masks, whatever the batch around it.
        sample["seed"] = int(np.random.SeedSequence([self.seed, 2, position]).generate_state(1)[0])
        return sample


class TrainLoader:
    """Batches of the stream for this process; `for batch in loader` begins at `start_iter` and never ends."""

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
            dataset: The names of registered data sets.
            mapper: A function from a record to the input of a model.
            total_batch_size: The number of images in one optimiser step, over all processes.
            num_workers: The number of loader processes of this process; 0 loads in it.
            seed: The seed of the stream; the same in every process.
            filter_empty: See `sample_order`.
            group_by_aspect_ratio: See `sample_order`; the batch is that of all processes.
            repeat_threshold: See `sample_order`.

        Raises:
            ValueError: The processes cannot share the batch evenly, the data set is unknown or empty, or it is unfit
                for the order that is asked for.
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
        """Of every global batch, the run of consecutive positions that is this process's."""
        first = self.start_iter * self.total_batch_size + comm.get_rank() * self.local_batch_size
        while True:
            yield list(range(first, first + self.local_batch_size))
            first += self.total_batch_size

    def __iter__(self) -> Iterator[list[dict]]:
        # A generator, so that nothing starts before the first batch is asked for: `start_iter` is known only after
        # a checkpoint has been read, while Detectron2 0.5 calls iter() in the trainer's constructor.
        yield from DataLoader(
            self.stream,
            batch_sampler=self._positions(),
            **_worker_options(self.num_workers),
        )


def _worker_options(num_workers: int) -> dict[str, Any]:
    """What both loaders tell torch's. A process that was spawned would spawn its workers too, which import torch anew
    for seconds at every evaluation; on Linux they are forked, as those of a single process are."""
    return {
        "num_workers": num_workers,
        "collate_fn": trivial_batch_collator,
        "worker_init_fn": _one_thread,
        "multiprocessing_context": "fork" if num_workers and sys.platform == "linux" else None,
    }


def _one_thread(_worker: int) -> None:
    """Workers use one thread each (torch's default in workers); OpenCV would take every core. Signals that stop a run
    go to all its process group, which the workers leave: the run needs their samples until its step is done."""
    import cv2

    os.setpgid(0, 0)

    cv2.setNumThreads(0)


def build_test_loader(
    *, dataset: str | Sequence[str], mapper: Callable[[dict], dict], num_workers: int, batch_size: int = 1
) -> DataLoader:
    """Loader over the images of a data set, each once, shared out over the processes.

    Args:
        dataset: Names of registered data sets.
        mapper: Record -> model input.
        num_workers: Loader processes of this process; 0 loads in it.
        batch_size: Images a batch in this process; whole images of different size are padded to the largest.
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
    """Read one record as an evaluation does, whose mistakes would otherwise show after hours of training."""
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
