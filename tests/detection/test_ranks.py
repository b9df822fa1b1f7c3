"""Two processes train one detector: no parameter is without a gradient, gradients are the means of both processes', and
weights stay equal. Regions are drawn, and losses averaged, in each process for itself."""

import copy
import sys

import pytest
import torch
from detectron2.config import instantiate
from detectron2.utils.events import EventStorage

from detectors import narrow_config, sample
from tokenseg.d2_compat import distribute
from tokenseg.engine.build import begin_random
from two_processes import average, differences, join, run_both

# One of each kind of heads, and of each kind of backbone.
DETECTORS = ["dc5_sgr_resnet_101", "c4_resnet_101", "fpn_sgr_swin_t", "sfp_vit_b"]
# Of each process, of each step.
IMAGES = [
    [[sample([(4, 8, 40, 60), (30, 5, 60, 40)]), sample([(2, 2, 30, 30)])], [sample([(8, 8, 60, 60)])]],
    [[sample([(10, 10, 50, 40)]), sample([])], [sample([], (40, 64))]],
]


def backward(model, images, seed):
    """Gradients of the losses, with whatever is drawn drawn from the seed."""
    model.zero_grad()
    torch.manual_seed(seed)
    with EventStorage():
        sum(model(images).values()).backward()
    return {name.removeprefix("module."): p.grad for name, p in model.named_parameters() if p.requires_grad}


def train(name, rank):
    """What is wrong after each of two steps: gradients that are no means, and whether weights differ."""
    torch.manual_seed(rank)  # the first process's weights count
    cfg = narrow_config(name)
    model = begin_random(instantiate(cfg.model)).train()
    alone = copy.deepcopy(model)
    together = distribute(model, **cfg.train.ddp)
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer)
    for step, images in enumerate(IMAGES[rank]):
        alone.load_state_dict(model.state_dict())
        wanted = backward(alone, images, seed=10 * step + rank)
        average(wanted.values())
        yield differences(backward(together, images, seed=10 * step + rank), wanted)
        optimizer.step()
        weights = torch.cat([value.flatten() for value in model.state_dict().values()])
        both = [torch.empty_like(weights) for _ in range(2)]
        torch.distributed.all_gather(both, weights)
        yield not torch.equal(*both)


def run(words):
    rank, path = join(words)
    torch.save({name: list(train(name, rank)) for name in DETECTORS}, f"{path}.{rank}")


@pytest.mark.slow("two processes of a detector")
def test_two_processes_train_one_detector(tmp_path):
    run_both(__file__, tmp_path, tmp_path / "found")
    for rank in range(2):
        assert torch.load(tmp_path / f"found.{rank}") == {name: [{}, False, {}, False] for name in DETECTORS}


if __name__ == "__main__":
    run(sys.argv[1:])
