"""Arguments of a tiny run."""

import pytest

from train_net_runs import TINY


@pytest.fixture
def arguments(toy_dataset, tmp_path):
    return [*TINY, f"dataset.train={toy_dataset}", f"dataset.test={toy_dataset}", f"train.output_dir={tmp_path}/run"]
