"""Two processes that a test starts from its own file, to compare gradients."""

import os
import subprocess
import sys

import torch


def run_both(file, folder, results):
    """Run the file of a test in two processes, with the arguments for `join`, and assert that both succeed."""
    # The processes find what pytest's settings let this one find: the packages, the tests' and the tools' modules.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    words = [f"file://{folder}/meet", str(results)]
    processes = [subprocess.Popen([sys.executable, file, str(rank), *words], env=environment) for rank in range(2)]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]


def join(words):
    """Join the process group from one of the two processes, and return its rank and the path for results."""
    rank, address, results = words
    torch.distributed.init_process_group("gloo", init_method=address, world_size=2, rank=int(rank))
    return int(rank), results


def average(values):
    """Average tensors over both processes, in place, as DistributedDataParallel does with gradients."""
    for value in values:
        torch.distributed.all_reduce(value)
        value /= 2


def differences(found, wanted):
    """Find the parameters whose gradients differ by more than 1e-5 of their norm, with these relative differences."""
    # Biases of keys have no gradient except rounding errors, since they shift all inputs of a softmax equally.
    apart = {name: float((found[name] - value).norm() / value.norm().clamp(min=1e-9)) for name, value in wanted.items()}
    return {name: value for name, value in apart.items() if value > 1e-5}
