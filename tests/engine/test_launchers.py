import pytest

from tokenseg.engine.launchers import OTHERS, Place, first_host, place_given, tasks_on_each

TORCHRUN = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "one",
    "MASTER_PORT": "29500",
}
BATCH = {"SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "70", "SLURM_NNODES": "2"}
SRUN = BATCH | {
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_ID": "2",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_STEP_NODELIST": "node[007-008]",
}


def test_torchrun_says_where_a_process_is():
    assert place_given(TORCHRUN) == Place(5, 8, 1, 4, "env://")
    assert place_given(SRUN | TORCHRUN) == Place(5, 8, 1, 4, "env://")  # a torchrun on each machine, started by srun


def test_an_srun_step_says_where_a_process_is():
    assert place_given(SRUN) == Place(5, 8, 1, 4, f"tcp://node007:{20_000 + 70_002 % 30_011}")
    given = {"MASTER_ADDR": "there", "MASTER_PORT": "1234", "PMI_SIZE": "8"}
    assert place_given(SRUN | given).meeting == "tcp://there:1234"


@pytest.mark.parametrize("environment", [{}, BATCH, BATCH | {"SLURM_STEP_NUM_TASKS": "1"}, {"PMI_SIZE": "1"}])
def test_a_process_on_its_own(environment):
    assert place_given(environment) is None


@pytest.mark.parametrize("name", OTHERS)
def test_other_launchers_are_refused(name):
    with pytest.raises(ValueError, match=rf"{name} is 2: .* has started several processes, .*; wanted torchrun, srun"):
        place_given(BATCH | {name: "2"})


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"RANK": "0", "WORLD_SIZE": "2"},
            "the environment has RANK, WORLD_SIZE, but not LOCAL_RANK, LOCAL_WORLD_SIZE",
        ),
        (TORCHRUN | {"RANK": ""}, "RANK is '' in the environment; wanted a number"),
        (SRUN | {"SLURM_STEP_TASKS_PER_NODE": "4,3"}, r"is 4,3; wanted the same number of tasks on each machine"),
        (SRUN | {"SLURM_LOCALID": "2"}, "process 5 of 8 is number 2 of 4 on machine 1; wanted .* machine by machine"),
    ],
)
def test_places_that_cannot_be(environment, message):
    with pytest.raises(ValueError, match=message):
        place_given(environment)


@pytest.mark.parametrize(
    ("names", "first"),
    [
        ("a", "a"),
        ("a,b", "a"),
        ("n[003-010,12],m1", "n003"),
        ("n[7,9]", "n7"),
        ("n[1-2]-gpu,b", "n1-gpu"),
        ("a-1,n[2-3]", "a-1"),
    ],
)
def test_lists_of_machines(names, first):
    assert first_host(names) == first


def test_tasks_of_machines():
    assert [tasks_on_each(counts) for counts in ("4", "4(x2)", "4(x2),4", "16(x10)")] == [4, 4, 4, 16]
