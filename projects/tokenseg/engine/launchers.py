"""Finds the place of this process in its run from the environment variables that launchers set."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_SRUN = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE", "SLURM_STEP_NODELIST")
# The variables with the number of processes of other launchers. These are not supported, and without an error each
# process would train a separate model.
OTHERS = {
    "OMPI_COMM_WORLD_SIZE": "Open MPI's mpirun",
    "PMI_SIZE": "an mpiexec of MPICH's kind",
    "MPI_LOCALNRANKS": "Intel MPI's mpirun",
    "MV2_COMM_WORLD_SIZE": "MVAPICH2's mpirun",
    "JSM_NAMESPACE_SIZE": "jsrun",
    "FLUX_JOB_SIZE": "flux run",
    "HOROVOD_SIZE": "horovodrun",
}


@dataclass(frozen=True)
class Place:
    """The place of a process among those of its run.

    Attributes:
        rank: The index of the process among all processes, from 0.
        world_size: The number of all processes.
        local_rank: The index of the process among those of its machine, from 0.
        local_size: The number of processes on each machine.
        meeting: The address at which the processes find one another: `tcp://HOST:PORT` of the first process, or
            `env://` for the one that torchrun has set up.
    """

    rank: int
    world_size: int
    local_rank: int
    local_size: int
    meeting: str

    def __post_init__(self) -> None:
        machine, place = divmod(self.rank, max(self.local_size, 1))
        if self.world_size % max(self.local_size, 1) or place != self.local_rank:
            raise ValueError(
                f"process {self.rank} of {self.world_size} is number {self.local_rank} of {self.local_size} on machine "
                f"{machine}; wanted the same number of processes on every machine, numbered machine by machine"
            )


def place_given(environment: Mapping[str, str]) -> Place | None:
    """Return the place that a launcher has given to this process, or None if the process was started on its own.

    The supported launchers are torchrun, and srun with a step of several tasks. `SLURM_NTASKS` is no evidence of such a
    step, since Slurm also sets it in batch scripts, where a single process runs.

    Args:
        environment: The environment variables.

    Raises:
        ValueError: Another launcher has started several processes, or variables are missing.
    """
    if any(name in environment for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")):
        return _of_torchrun(environment)
    if _number(environment, "SLURM_STEP_NUM_TASKS", default=1) > 1:
        return _of_srun(environment)
    for name, launcher in OTHERS.items():
        if _number(environment, name, default=1) > 1:
            raise ValueError(
                f"{name} is {environment[name]}: {launcher} has started several processes, each of which would train a "
                "separate model; wanted torchrun, srun, or --num-gpus"
            )
    return None


def _of_torchrun(environment: Mapping[str, str]) -> Place:
    _require(environment, _TORCHRUN, launcher="torchrun")
    rank, world_size, local_rank, local_size = (_number(environment, name) for name in _TORCHRUN[:4])
    return Place(rank, world_size, local_rank, local_size, meeting="env://")


def _of_srun(environment: Mapping[str, str]) -> Place:
    _require(environment, _SRUN, launcher="srun")
    rank, local_rank, world_size = (_number(environment, name) for name in _SRUN[:3])
    host = environment.get("MASTER_ADDR") or first_host(environment["SLURM_STEP_NODELIST"])
    # All tasks of a step must choose the same port without communicating, and different steps different ports.
    own = 1000 * _number(environment, "SLURM_JOB_ID", default=0) + _number(environment, "SLURM_STEP_ID", default=0)
    port = environment.get("MASTER_PORT") or 20_000 + own % 30_011
    local_size = tasks_on_each(environment["SLURM_STEP_TASKS_PER_NODE"])
    return Place(rank, world_size, local_rank, local_size, meeting=f"tcp://{host}:{port}")


def first_host(names: str) -> str:
    """Return the first machine of a list in Slurm's notation, such as `node[003-010,12],other`."""
    prefix, bracket, rest = _groups(r"([^,\[]*)(\[?)(.*)", names)
    if not bracket:
        return prefix
    first, after = _groups(r"(\w+)[^\]]*\]([^,]*)", rest)
    return f"{prefix}{first}{after}"


def _groups(pattern: str, text: str) -> tuple[str, ...]:
    """Return the groups of a pattern at the start of one of Slurm's lists, or raise a ValueError."""
    match = re.match(pattern, text)
    if match is None:
        raise ValueError(f"Slurm's list '{text}' cannot be read; wanted a list such as node[003-010,12] or 4(x2)")
    return match.groups()


def tasks_on_each(counts: str) -> int:
    """Return the number of tasks on each machine from Slurm's list of these numbers, such as `4(x2)`.

    Raises:
        ValueError: The machines have different numbers of tasks.
    """
    sizes = {int(_groups(r"(\d+)", part)[0]) for part in counts.split(",")}
    if len(sizes) > 1:
        raise ValueError(
            f"SLURM_STEP_TASKS_PER_NODE is {counts}; wanted the same number of tasks on each machine "
            "(srun --ntasks-per-node)"
        )
    return sizes.pop()


def _number(environment: Mapping[str, str], name: str, *, default: int | None = None) -> int:
    text = environment.get(name, "" if default is None else str(default))
    if not text.isdecimal():
        raise ValueError(f"{name} is '{text}' in the environment; wanted a number")
    return int(text)


def _require(environment: Mapping[str, str], names: tuple[str, ...], *, launcher: str) -> None:
    missing = [name for name in names if name not in environment]
    if missing:
        found = ", ".join(name for name in names if name in environment)
        raise ValueError(
            f"the environment has {found}, but not {', '.join(missing)}; wanted all variables that {launcher} sets"
        )
