"""Which process of which run this is, by what launchers write into the environment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_SRUN = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE", "SLURM_STEP_NODELIST")
# The number of processes that other launchers have started; a run would train as many separate models.
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
        rank: Its number among all processes, from 0.
        world_size: The number of all processes.
        local_rank: Its number among those of its machine, from 0.
        local_size: The number of processes of each machine.
        meeting: Where the processes find one another: `tcp://HOST:PORT` of the first, or `env://` for torchrun's own.
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
                f"{machine}; wanted as many processes on every machine, numbered machine by machine"
            )


def place_given(environment: Mapping[str, str]) -> Place | None:
    """The place that a launcher has given to this process; None if it was started alone.

    That is torchrun, or else an srun step of several tasks. `SLURM_NTASKS` says nothing: it is set in batch scripts
    too, where one process runs.

    Args:
        environment: The variables of the environment.

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
                "model of its own; wanted torchrun, srun, or --num-gpus"
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
    # All tasks must come to the same port without a word, and steps on one machine to different ones.
    own = 1000 * _number(environment, "SLURM_JOB_ID", default=0) + _number(environment, "SLURM_STEP_ID", default=0)
    port = environment.get("MASTER_PORT") or 20_000 + own % 30_011
    local_size = tasks_on_each(environment["SLURM_STEP_TASKS_PER_NODE"])
    return Place(rank, world_size, local_rank, local_size, meeting=f"tcp://{host}:{port}")


def first_host(names: str) -> str:
    """The first of Slurm's list of machines, such as `node[003-010,12],other`."""
    prefix, bracket, rest = _groups(r"([^,\[]*)(\[?)(.*)", names)
    if not bracket:
        return prefix
    first, after = _groups(r"(\w+)[^\]]*\]([^,]*)", rest)
    return f"{prefix}{first}{after}"


def _groups(pattern: str, text: str) -> tuple[str, ...]:
    """The groups of a pattern in what Slurm says."""
    match = re.match(pattern, text)
    if match is None:
        raise ValueError(f"Slurm's list '{text}' cannot be read; wanted one such as node[003-010,12] or 4(x2)")
    return match.groups()


def tasks_on_each(counts: str) -> int:
    """The number of tasks on each machine by Slurm's list of them, such as `4(x2)`.

    Raises:
        ValueError: They are not alike.
    """
    sizes = {int(_groups(r"(\d+)", part)[0]) for part in counts.split(",")}
    if len(sizes) > 1:
        raise ValueError(
            f"SLURM_STEP_TASKS_PER_NODE is {counts}; wanted as many tasks on each (srun --ntasks-per-node)"
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
        raise ValueError(f"{found} in the environment, but not {', '.join(missing)}; wanted all that {launcher} sets")
