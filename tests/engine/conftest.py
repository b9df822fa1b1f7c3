from pathlib import Path

import pytest
import torch

from tokenseg.config.load import load_config

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture
def config(toy_dataset, tmp_path):
    """A function from the name of a folder and overrides to a config of six iterations on the toy data set."""

    def build(folder, *overrides):
        shared = [
            f"dataset={{train: {toy_dataset}, test: {toy_dataset}, num_classes: 3, crop: 16}}",
            "train.device=cpu",
            "train.max_iter=6",
            "train.eval_period=2",
            "train.log_period=1",
            "train.checkpointer={period: 2, max_to_keep: 2}",
            "dataloader.train={total_batch_size: 2, num_workers: 0}",
            "dataloader.test.num_workers=0",
            "optimizer.lr=1",  # so that the best evaluation is not the last one
            f"train.output_dir={tmp_path / folder}",
        ]
        (tmp_path / folder).mkdir(exist_ok=True)
        return load_config(str(CONFIGS / "shape_scenes/baseline_color.py"), [*shared, *overrides])

    return build


@pytest.fixture
def one_process(tmp_path):
    """A process group with this process as its only member."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", world_size=1, rank=0)
    yield
    torch.distributed.destroy_process_group()
