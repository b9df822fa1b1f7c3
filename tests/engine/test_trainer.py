import copy
import math

import pytest
import torch
from detectron2.utils import comm
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

from tokenseg.contracts import CountsSteps
from tokenseg.engine import trainer as trainer_file
from tokenseg.engine.trainer import Trainer
from toy_trainer import Toy, data


def trained(*, iterations=3, start=0, batches=None, model=None, lr=0.1, **options):
    torch.manual_seed(0)
    model = model or Toy()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.5)
    trainer = Trainer(model=model, data_loader=batches or data(), optimizer=optimizer, **options)
    trainer.train(start, iterations)
    return trainer


def weights(trainer):
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


def test_one_step_by_hand():
    model = Toy()
    before = [p.detach().clone().requires_grad_() for p in model.parameters()]
    batch = data()[0]
    x, y = torch.stack([r["x"] for r in batch]), torch.tensor([r["y"] for r in batch])
    outputs = x @ before[0][0] + before[1]
    loss = (outputs - y).square().mean() + outputs.abs().mean()
    wanted = [p - 0.1 * g for p, g in zip(before, torch.autograd.grad(loss, before), strict=True)]
    trainer = trained(iterations=1, model=model)
    torch.testing.assert_close(weights(trainer), torch.cat([w.flatten() for w in wanted]))
    assert trainer.storage.latest()["total_loss"][0] == pytest.approx(loss.item())


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulation_changes_nothing(parts):
    whole, split = trained(), trained(accumulate=parts)
    torch.testing.assert_close(weights(split), weights(whole))
    assert len(split.model.seen) == parts * len(whole.model.seen)
    assert split.storage.latest()["total_loss"][0] == pytest.approx(whole.storage.latest()["total_loss"][0])


def test_parts_must_be_even():
    with pytest.raises(ValueError, match=r"train\.accumulate is 3; wanted a divisor of the 4 images"):
        trained(accumulate=3)


def test_clipping_bounds_the_step():
    before = weights(trained(iterations=0))
    free, clipped = (weights(trained(iterations=1, clip_grad_norm=bound)) - before for bound in (None, 0.5))
    assert clipped.norm() == pytest.approx(0.1 * 0.5, rel=1e-4) and free.norm() > 0.1
    torch.testing.assert_close(clipped / clipped.norm(), free / free.norm())
    trainer = trained(iterations=1, clip_grad_norm=1e6)
    assert trainer.storage.latest()["grad_norm"][0] == pytest.approx((free / 0.1).norm().item(), rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"clip_grad_norm": 1.0}])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_step(value, options):
    batches, model = data(), Toy()
    batches[2][3]["y"] = value
    wanted = weights(trained(iterations=2, **options))
    with pytest.raises(FloatingPointError, match=rf"the loss is not finite at iteration 2: loss_square={value}, .*2_3"):
        trained(iterations=4, model=model, batches=batches, **options)
    assert torch.equal(torch.cat([p.detach().flatten() for p in model.parameters()]), wanted)


class Root(Toy):
    """A model with a finite loss whose gradient, that of a square root, is infinite where an output is 0."""

    def forward(self, batch):
        return {"loss_root": (self.layer(torch.stack([x["x"] for x in batch])) * 0).abs().sqrt().sum()}


@pytest.mark.parametrize("clip_grad_norm", [None, 1.0])
def test_a_gradient_that_is_not_finite_stops_before_the_step(clip_grad_norm):
    model = Root()
    wanted = copy.deepcopy(model.state_dict())
    with pytest.raises(FloatingPointError, match=r"a gradient is not finite at iteration 0: loss_root=0;"):
        trained(model=model, clip_grad_norm=clip_grad_norm)
    assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())


def test_float16_skips_overflowing_steps_and_gives_up_after_many(monkeypatch):
    monkeypatch.setattr(trainer_file, "_MOST_SKIPPED", 3)
    model = Toy()
    start = copy.deepcopy(model.state_dict())
    trainer = trained(iterations=0, model=model, amp_dtype=torch.float16)
    trainer.grad_scaler.load_state_dict(trainer.grad_scaler.state_dict() | {"scale": 2.0**127})
    trainer.train(0, 2)
    assert trainer.skipped == 2 and trainer.grad_scaler.get_scale() == 2.0**125
    assert all(torch.equal(value, start[name]) for name, value in model.state_dict().items())
    trainer.grad_scaler.load_state_dict(trainer.grad_scaler.state_dict() | {"scale": 4.0})
    trainer.train(2, 3)
    assert trainer.skipped == 0 and not torch.equal(model.layer.weight, start["layer.weight"])
    with pytest.raises(FloatingPointError, match=r"a gradient .* \(the 3 steps before were skipped for this reason\)"):
        trained(model=Root(), iterations=5, amp_dtype=torch.float16)


def test_float16_clips_the_gradients_and_not_their_scaled_values():
    before = weights(trained(iterations=0))
    trainer = trained(iterations=0, clip_grad_norm=0.5, amp_dtype=torch.float16)
    trainer.grad_scaler.load_state_dict(trainer.grad_scaler.state_dict() | {"scale": 64.0})
    trainer.train(0, 1)
    assert (weights(trainer) - before).norm() == pytest.approx(0.1 * 0.5, rel=1e-2)
    assert trainer.storage.latest()["grad_norm"][0] == pytest.approx(
        trained(iterations=1, clip_grad_norm=0.5).storage.latest()["grad_norm"][0], rel=1e-2
    )


class Counting(Toy):
    """A model that divides the sum of its losses by the step's count of images, one of which has weight 0."""

    def count(self, batch):
        return {"toy": {"images": torch.tensor(float(sum(x["y"] > 0 for x in batch)))}}

    def forward(self, batch, counts=None):
        count = (self.count(batch) if counts is None else counts)["toy"]["images"]
        kept = [x for x in batch if x["y"] > 0]
        outputs = self.layer(torch.stack([x["x"] for x in kept]))[:, 0]
        return {"loss_square": (outputs - torch.tensor([x["y"] for x in kept])).square().sum() / count}


def test_models_that_count_steps_get_the_counts_of_all_parts():
    whole, split = (trained(model=make_counting(), accumulate=parts) for parts in (1, 2))
    torch.testing.assert_close(weights(split), weights(whole))
    # One of four images does not count, so averages over the parts would weight the others unequally.
    averaged = trained(model=Toy(), accumulate=2)
    assert not isinstance(averaged.model, CountsSteps) and isinstance(split.model, CountsSteps)


def make_counting():
    torch.manual_seed(0)
    return Counting()


def test_gradients_go_round_once_when_they_are_complete(one_process):
    model, rounds = DistributedDataParallel(Toy()), []

    def spy(state, bucket):
        rounds.append(bucket.buffer().clone())
        return default_hooks.allreduce_hook(None, bucket)

    model.register_comm_hook(None, spy)
    start = copy.deepcopy(model.module.state_dict())
    trainer = trained(iterations=1, accumulate=2, model=model)
    assert len(rounds) == 1
    moved = [before - after for before, after in zip(start.values(), model.module.state_dict().values(), strict=True)]
    torch.testing.assert_close(rounds[0].sort().values, torch.cat([x.flatten() for x in moved]).sort().values / 0.1)
    torch.testing.assert_close(weights(trainer), weights(trained(iterations=1)))


def test_bfloat16_on_the_cpu():
    mixed, full = trained(amp_dtype=torch.bfloat16), trained()
    assert mixed.model.seen[0].dtype == torch.bfloat16 and weights(mixed).dtype == torch.float32
    torch.testing.assert_close(weights(mixed), weights(full), rtol=0.02, atol=0.02)
    assert not mixed.grad_scaler.is_enabled()


def test_random_numbers_depend_on_seed_rank_and_iteration(monkeypatch):
    def outputs(**options):
        torch.manual_seed(0)
        return trained(lr=0.0, model=Toy(dropout=0.5), **options).model.seen

    unbroken = outputs(iterations=5)
    resumed = outputs(start=3, iterations=5, batches=data()[3:])
    assert all(torch.equal(*pair) for pair in zip(unbroken[3:], resumed, strict=True))
    assert len({tuple((output == 0).tolist()) for output in unbroken}) > 1
    assert not torch.equal(outputs(iterations=1, seed=1)[0], unbroken[0])
    monkeypatch.setattr(comm, "get_rank", lambda: 1)
    assert not torch.equal(outputs(iterations=1)[0], unbroken[0])


def test_state_goes_round():
    source = trained(amp_dtype=torch.float16, iterations=0)
    source.grad_scaler.load_state_dict(source.grad_scaler.state_dict() | {"scale": 128.0, "_growth_tracker": 3})
    source.iter = 7
    target = Trainer(model=Toy(), data_loader=data(), optimizer=source.optimizer, amp_dtype=torch.float16)
    target.load_state_dict(source.state_dict())
    assert target.grad_scaler.get_scale() == 128 and target.grad_scaler.state_dict()["_growth_tracker"] == 3
    assert target.iter == 7


def test_momentum_is_part_of_the_state():
    source, target = trained(iterations=2), trained(iterations=0, batches=data()[2:])
    target.model.load_state_dict(source.model.state_dict())
    target.load_state_dict(copy.deepcopy(source.state_dict()))
    target.train(2, 3)
    assert torch.equal(weights(target), weights(trained(iterations=3)))


def test_eval_mode_is_caught():
    trainer = trained(iterations=0)
    trainer.model.eval()
    with pytest.raises(AssertionError, match="left in eval mode"):
        trainer.train(0, 1)
