import json
import resource
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.autograd import DeviceType

from benchmarks import _command
from benchmarks._duel import Duel, differences
from benchmarks._profile import Profile
from benchmarks._runs import Clock, inference, training_step
from benchmarks.profile import KINDS, LOSSES, REST, attributed

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
TINY = [
    "vit={channels: 12, last_block: 0}",
    "model.backbone.timm_args={embed_dim: 12, depth: 1, num_heads: 2}",
    "dataset={crop: 32, num_classes: 3}",
    "model.inference.stride=16",
    "model.sem_seg_head.blocks.num_blocks=1",
]


def test_every_case_of_structtoken_runs_with_equal_outputs(benchmark, capsys):
    benchmark("structtoken", "--only", "head", "--pairs", "1", "--json", *TINY)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["case"] for row in rows] == [
        f"{variant} head {mode}" for variant in ("cse", "sse", "pwe") for mode in ("step", "inference")
    ]
    assert all(row["times faster"] > 0 and row["difference"] < 1e-4 for row in rows)


def test_operations_equal_those_of_torch(benchmark, capsys):
    benchmark("operations", "--size", "32", "--pairs", "1", "--json", "--only", "class_softmax")
    benchmark("operations", "--size", "32", "--pairs", "1", "--json", "--only", "cross_entropy")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 3 and all(row["difference"] < 1e-6 and row["times faster"] > 0 for row in rows)


@pytest.mark.slow("benchmarks of ECENet and of whole models")
def test_whole_model_runs(benchmark, capsys):
    benchmark("structtoken", "--only", "pwe", "model", "--pairs", "1", "--batch", "1", *TINY)
    table = capsys.readouterr().out
    assert "median of 1" in table and "pwe model bf16 inference" in table


def test_times_are_those_of_the_runs():
    counts = {"ours": 0, "rival": 0}

    def run(side):
        counts[side] += 1
        return torch.ones(2)

    (row,) = Duel(ours=lambda: run("ours"), rival=lambda: run("rival")).measure(Clock(CPU), 3)
    assert counts == {"ours": 4, "rival": 4}  # the first run is for comparing the outputs
    assert row["least"] <= row["times faster"] <= row["most"] and row["difference"] == 0


def test_differences_are_relative_and_those_of_a_list_are_of_one_vector():
    ours, rival = {"a": torch.tensor([3.0, 4.5]), "b": [torch.ones(2), None, 2]}, {"a": torch.tensor([3.0, 4.0])}
    rival["b"] = [torch.ones(2), None, 1]
    assert {where: value for value, where in differences(ours, rival)} == pytest.approx({"a": 0.5 / 5, "b": 1 / 3**0.5})


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (torch.tensor([1.0, 1.001]), "by 0.0007"),
        (torch.tensor([1.0, float("nan")]), "by inf"),
        (torch.ones(3), r"shapes .*\(\(2,\), \(3,\)\)"),
        (None, "shapes"),
        ({"a": 1}, "Tensor of ours, and a dict of the rival"),
    ],
)
def test_sides_that_differ_fail(other, message):
    with pytest.raises(ValueError, match=f"outputs differ.*{message}"):
        Duel(ours=lambda: torch.ones(2), rival=lambda: other).measure(Clock(CPU), 1)


def test_missing_outputs_fail():
    with pytest.raises(ValueError, match="only one side has b"):
        list(differences({"a": 1}, {"a": 1, "b": 2}))


def test_a_training_step_starts_from_no_gradients():
    layer, x = nn.Linear(2, 1), torch.ones(3, 2)
    step = training_step(lambda: layer(x).sum(), layer.parameters())
    step()
    got = step()
    assert [gradient.tolist() for gradient in got["gradients"]] == [[[3, 3]], [3]]
    assert not inference(lambda: layer(x))().requires_grad


class Burn(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, clock):
        clock.tick(2)
        ctx.clock = clock
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        ctx.clock.tick(5)
        return 2 * gradient, None


class Burner(nn.Module):
    """Takes 2 seconds forward and 5 backward."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def forward(self, x):
        return Burn.apply(x, self.clock)


class HandClock:
    device, time = CPU, 0

    def now(self):
        return self.time

    def tick(self, seconds):
        self.time += seconds


def test_parts_get_the_time_they_take():
    clock = HandClock()
    first, second, third = (Burner(clock) for _ in range(3))

    def loss(x):
        clock.tick(3)
        return x.sum()

    owner = type("Owner", (), {"loss": staticmethod(loss)})
    x = torch.ones(1, requires_grad=True)

    def run():
        clock.tick(1)
        owner.loss(third(second(first(x)))).backward()

    profile = Profile(run=run, parts={"ab": [first, second], "loss": [(owner, "loss")]})
    rows = {row.pop("part"): row for row in profile.measure(clock, 2)}
    assert rows["ab"] == pytest.approx({"forward s": 4, "backward s": 10, "share %": 100 * 14 / 25})
    assert rows["loss"] == pytest.approx({"forward s": 3, "backward s": 0, "share %": 12})
    assert rows["rest"] == pytest.approx({"forward s": 3, "backward s": 5, "share %": 32})
    assert rows["all"]["share %"] == pytest.approx(100)
    assert "forward" not in vars(first) and owner.loss is loss


@pytest.mark.slow("benchmarks of ECENet and of whole models")
def test_throughput_of_a_config(benchmark, capsys):
    config = str(ROOT / "configs/structtoken/structtoken_pwe_vit_t_ade20k_512_160k.py")
    benchmark("throughput", "--config-file", config, "--pairs", "1", "--json", "--amp", *TINY)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["case"] for row in rows] == ["training", "inference"]
    assert rows[0]["GFLOP/image"] == pytest.approx(3 * rows[1]["GFLOP/image"])
    assert all(row["images/s"] > 0 and 0 < row["of matmul %"] < 100 for row in rows)
    assert all(row["page faults"] >= 0 and row["peak MiB"] > 100 for row in rows)


def test_class_ids_beside_the_scores_of_all_classes(benchmark, capsys):
    small = ["--size", "40", "50", "--classes", "2", "dataset={short_side: 32, long_side: 64}"]
    benchmark("ids", "--only", "structtoken", "trained", "--pairs", "1", "--json", *small, *TINY)
    row = json.loads(capsys.readouterr().out)
    assert row["times faster"] > 0 and row["difference"] == 0


SMALL = ["dataset.num_classes=3", *TINY[:2]]


@pytest.mark.slow("benchmarks of steps of all methods")
def test_a_step_is_divided_into_kinds_of_operations(benchmark, capsys):
    benchmark("profile", "--only", "structtoken-pwe", "--pairs", "1", "--size", "64", "--batch", "1", "--json", *SMALL)
    row = json.loads(capsys.readouterr().out)
    kinds = [row[kind] for kind in (*KINDS, LOSSES, REST)]
    assert sum(kinds) == pytest.approx(100) and min(row["products"], row["copies"], row["losses"]) > 0


def test_the_time_of_a_gpu_kernel_counts_once():
    """A profile lists a kernel with the operation that launched it, and once more by itself."""

    def event(name, device):
        return SimpleNamespace(
            name=name, device_type=device, self_device_time_total=100, sequence_nr=-1, cpu_parent=None
        )

    events = [event("aten::mm", DeviceType.CPU), event("ampere_bf16_gemm", DeviceType.CUDA)]
    assert [*attributed(events, on_gpu=True)] == [("products", "aten::mm", 100)]


def test_memory_is_that_of_two_sides(benchmark):
    with pytest.raises(ValueError, match="--memory is given, but this case does not compare two sides"):
        benchmark("profile", "--only", "structtoken-pwe", "--size", "32", "--memory", *SMALL)


@pytest.mark.slow("benchmarks of steps of all methods")
@pytest.mark.parametrize("amp", [[], ["--amp"]])
def test_a_compiled_step_beside_the_same_one(benchmark, capsys, amp):
    words = ["--only", "structtoken-pwe", "--pairs", "1", "--size", "64", "--backend", "eager", "--json"]
    benchmark("compiled", *words, *amp, *SMALL)
    row = json.loads(capsys.readouterr().out)
    assert row["times faster"] > 0 and row["difference"] < 1e-5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nosuch"], "no benchmark 'nosuch'; wanted one of .*structtoken"),
        ([], "no benchmark ''"),
        (["structtoken", "--only", "cse", "x"], "matches no case"),
        (["structtoken", "--pairs", "0"], "--pairs is 0"),
        (["operations", "--size", "0"], "--size is 0; wanted 1 or more"),
        (["ids", "--size", "64", "-1"], r"--size is \[64, -1\]; wanted 1 or more"),
        (["compiled", "--backend", "nosuch"], "--backend is nosuch; wanted one of .*eager.*inductor"),
    ],
)
def test_mistakes_are_named(benchmark, words, message):
    with pytest.raises(ValueError, match=message):
        benchmark(*words)


def test_a_case_that_cannot_run_does_not_cost_the_others():
    def refuse():
        raise ValueError("it needs two images")

    cases = {"first": refuse, "second": lambda: Duel(ours=lambda: 1.0, rival=lambda: 1.0)}
    args = Namespace(threads=1, only=[], list=False, peak_of=None, memory=False, json=False, device=CPU, pairs=1)
    rows, failures = _command.run(args, SimpleNamespace(cases=lambda _: cases))
    assert [row["case"] for row in rows] == ["second"] and failures == ["first: it needs two images"]


@pytest.mark.slow("memory of the benchmarks")
def test_memory_is_that_of_each_side_alone(benchmark, capsys):
    hog = torch.ones(2**27)  # half a GiB in the parent process, which must not count for either side
    benchmark("structtoken", "--only", "pwe head inference", "--pairs", "1", "--json", "--memory", *TINY)
    row = json.loads(capsys.readouterr().out)
    assert row["ours MiB"] > 100 and row["memory"] == pytest.approx(1, abs=0.2) and row["of a run"] > 0
    assert row["ours MiB"] < resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10 - 300
    del hog


def test_the_loader_is_measured_alone(benchmark, capsys):
    words = ("--config-file", "quickstart", "--pairs", "1", "--json", "--pictures", "40", "60", "dataset.crop=32")
    benchmark("loader", *words)
    row = json.loads(capsys.readouterr().out)
    assert row["case"] == "loader" and row["images/s"] == pytest.approx(1e3 / row["ms/image"])
    assert 0 < row["of it the file %"] < 100
