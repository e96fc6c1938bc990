"""`detect_place` on the environments of launch_fixtures.py, and on every environment that hypothesis can think of."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from launch_fixtures import FOUND, OPENMPI, REFUSED, SLURM_STEP, TORCHRUN, Found, Refused

from ranklog.model.errors import LaunchError
from ranklog.model.place import Place
from ranklog.world.place.detect import detect_place, tasks_on_node, unjoined_tasks_warning
from ranklog.world.place.launchers import LAUNCHERS


@pytest.mark.parametrize("fixture", FOUND, ids=lambda fixture: fixture.name)
def test_finds_the_place_of(fixture: Found) -> None:
    assert detect_place(fixture.environ) == fixture.place


@pytest.mark.parametrize("fixture", REFUSED, ids=lambda fixture: fixture.name)
def test_refuses(fixture: Refused) -> None:
    with pytest.raises(LaunchError) as raised:
        detect_place(fixture.environ)
    for text in fixture.says:
        assert text in str(raised.value)


def test_every_fixture_has_a_different_name() -> None:
    names = [fixture.name for fixture in (*FOUND, *REFUSED)]
    assert len(names) == len(set(names)) >= 40


def test_every_launcher_that_can_decide_has_a_fixture() -> None:
    found = {fixture.place.launcher for fixture in FOUND}
    assert found == {launcher.name for launcher in LAUNCHERS if launcher.world_size is not None} | {"single"}


VARIABLES = sorted(
    {
        name
        for launcher in LAUNCHERS
        for name in (
            *launcher.required,
            *launcher.local_rank,
            *launcher.local_world_size,
            *launcher.node_rank,
            *launcher.node_count,
            *((launcher.tasks_per_node,) if launcher.tasks_per_node else ()),
        )
    }
    | {"SLURM_PTY_PORT", "SLURM_JOB_ID", "SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT", "LSB_JOBINDEX"}
    | {"TORCHELASTIC_MAX_RESTARTS", "RANKLOG_STRATEGY", "MPI_LOCALRANKID", "LSB_JOBID"}
)
NUMBERS = st.integers(min_value=0, max_value=9).map(str)
NOISE = st.one_of(
    NUMBERS,
    st.text(alphabet="019 -+._x(),a\u0663\n\0", max_size=6),
    st.integers().map(str),
    st.sampled_from(["4(x2),3", "single", "4294967290"]),
)


def holds_together(place: Place) -> bool:
    return (
        0 <= place.rank < place.world_size
        and 0 <= place.local_rank < place.local_world_size <= place.world_size
        and 0 <= place.node_rank < place.node_count
        and place.attempt >= 0
    )


@given(st.dictionaries(st.sampled_from(VARIABLES), NOISE))
def test_any_environment_gives_a_consistent_place_or_a_launch_error(environ: dict[str, str]) -> None:
    try:
        place = detect_place(environ)
    except LaunchError:
        return
    assert holds_together(place)


@given(st.sampled_from([f for f in LAUNCHERS if f.world_size]), st.data())
def test_complete_variables_of_a_launcher_give_its_rank_or_a_launch_error(launcher, data) -> None:
    names = [
        *launcher.required,
        *launcher.local_rank,
        *launcher.local_world_size,
        *launcher.node_rank,
        *launcher.node_count,
    ]
    environ = {name: data.draw(NUMBERS, label=name) for name in names}
    try:
        place = detect_place(environ)
    except LaunchError:
        return
    assert holds_together(place)
    assert (place.launcher == "single") or place.rank == int(environ[launcher.rank])


@given(st.integers(1, 5), st.integers(1, 9))
def test_ranks_in_blocks_are_put_on_their_nodes_from_local_rank_and_size(nodes: int, local_size: int) -> None:
    for rank in range(nodes * local_size):
        node, local_rank = divmod(rank, local_size)
        place = detect_place(
            {
                "OMPI_COMM_WORLD_RANK": str(rank),
                "OMPI_COMM_WORLD_SIZE": str(nodes * local_size),
                "OMPI_COMM_WORLD_LOCAL_RANK": str(local_rank),
                "OMPI_COMM_WORLD_LOCAL_SIZE": str(local_size),
            }
        )
        assert (place.node_rank, place.node_count, place.local_rank) == (node, nodes, local_rank)


def slurm_notation(tasks: list[int]) -> str:
    """Write tasks per node as Slurm does: runs of equal numbers are folded."""
    runs = [(number, len(list(group))) for number, group in itertools.groupby(tasks)]
    return ",".join(f"{number}(x{nodes})" if nodes > 1 else str(number) for number, nodes in runs)


@given(st.lists(st.integers(min_value=1, max_value=5), min_size=1, max_size=30))
def test_tasks_per_node_read_back_as_slurm_wrote_them(tasks: list[int]) -> None:
    notation = slurm_notation(tasks)
    assert [tasks_on_node(notation, node) for node in range(len(tasks))] == tasks
    with pytest.raises(LaunchError, match=f"list {len(tasks)} nodes"):
        tasks_on_node(notation, len(tasks))


def test_tasks_per_node_of_a_billion_nodes_cost_nothing() -> None:
    assert tasks_on_node("4(x1000000000),7", 1_000_000_000) == 7


@pytest.mark.parametrize("notation", ["", "4,", "x2", "4(2)", "-1", "4(x0)", "0", "4 (x2)", "4(x2)3"])
def test_tasks_per_node_in_another_notation_are_refused(notation: str) -> None:
    with pytest.raises(LaunchError, match="cannot be read"):
        tasks_on_node(notation, 9)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=2, max_size=2, unique=True))
def test_a_later_attempt_always_has_the_higher_number(attempts: list[tuple[int, int]]) -> None:
    """Requeues and torchrun's restarts, ordered as they happen: restarts count from 0 again after a requeue."""
    earlier, later = (
        detect_place(
            {
                **TORCHRUN,
                "SLURM_RESTART_COUNT": str(requeues),
                "TORCHELASTIC_RESTART_COUNT": str(restarts),
                "TORCHELASTIC_MAX_RESTARTS": "3",
            }
        ).attempt
        for requeues, restarts in sorted(attempts)
    )
    assert earlier < later


def test_detection_leaves_the_environment_as_it_was() -> None:
    environ = dict(SLURM_STEP)
    detect_place(environ)
    assert environ == SLURM_STEP


@pytest.mark.parametrize(("environ", "launcher"), [(SLURM_STEP, "slurm"), (OPENMPI, "openmpi")], ids=["srun", "mpirun"])
def test_tasks_without_a_group_get_a_warning_with_the_setting_for_independent_ones(environ, launcher) -> None:
    text = unjoined_tasks_warning(environ)
    assert text is not None
    assert f"8 tasks started by {launcher}" in text
    assert "RANKLOG_STRATEGY=single" in text


@pytest.mark.parametrize(
    "environ",
    [
        {},
        TORCHRUN,
        {**SLURM_STEP, **TORCHRUN},
        {**SLURM_STEP, "RANKLOG_STRATEGY": "single"},
        {**SLURM_STEP, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0", "SLURM_STEP_TASKS_PER_NODE": "1(x2)"}
        | {"SLURM_LOCALID": "0"},
    ],
    ids=["laptop", "torchrun", "torchrun in srun", "told to be by itself", "one task"],
)
def test_one_task_or_tasks_that_a_launcher_joins_get_no_warning(environ) -> None:
    assert unjoined_tasks_warning(environ) is None
