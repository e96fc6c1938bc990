"""`place`, `rank_zero_only` and `rank_zero_print` in this process, with real torch process groups of one process.

A group of one process in which rank and size are chosen comes from torch's own "fake" backend.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from launch import torchrun
from launch_fixtures import SLURM_STEP, TORCHRUN

from ranklog.model.errors import LaunchError, RanklogWarning
from ranklog.model.place import Place
from ranklog.world.place import reconcile
from ranklog.world.place.current import place, rank_zero_only, rank_zero_print
from ranklog.world.place.launchers import LAUNCHERS

Launch = Callable[[dict[str, str]], None]
Group = Callable[[int, int], None]


@pytest.fixture
def launched_with(monkeypatch: pytest.MonkeyPatch) -> Launch:
    """Set this process's environment to a launcher's variables, and nothing else that a launcher sets."""
    prefixes = ("SLURM", "OMPI", "PMI", "PALS", "TORCHELASTIC", "HOROVOD", "LOCAL_", "GROUP_", "NODE_RANK", "RANKLOG_")
    known = {name for launcher in LAUNCHERS for name in launcher.required}
    for name in list(os.environ):
        if name.startswith(prefixes) or name in known:
            monkeypatch.delenv(name)

    def launch(environ: dict[str, str]) -> None:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)

    reconcile._warn_once.cache_clear()
    return launch


@pytest.fixture
def group_of() -> Iterator[Group]:
    """Initialise torch's default group with a rank and a world size of our choice."""
    dist = pytest.importorskip("torch.distributed")
    from torch.testing._internal.distributed.fake_pg import FakeStore

    def initialise(rank: int, world_size: int) -> None:
        dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world_size)

    yield initialise
    if dist.is_initialized():
        dist.destroy_process_group()


def test_without_a_group_the_launcher_decides_the_place(launched_with: Launch) -> None:
    launched_with(TORCHRUN)
    assert str(place()) == "rank 5/8 (torchrun)"


def test_without_a_launcher_the_group_decides_the_place(launched_with: Launch, group_of: Group) -> None:
    launched_with({})
    group_of(3, 4)
    assert place() == Place(rank=3, world_size=4, local_rank=3, local_world_size=4, launcher="torch")


def test_a_group_that_agrees_with_the_launcher_keeps_its_node_facts(launched_with: Launch, group_of: Group) -> None:
    launched_with(SLURM_STEP)
    group_of(6, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = place()
    assert (str(found), found.local_rank, found.node_rank, found.job_id) == ("rank 6/8 (slurm)", 2, 1, "4242")


def test_a_group_that_is_initialised_later_is_seen_by_the_next_call(launched_with: Launch, group_of: Group) -> None:
    launched_with({})
    assert place().world_size == 1
    group_of(1, 2)
    assert place().world_size == 2


def test_a_group_of_another_size_wins_with_one_warning_that_names_both(launched_with: Launch, group_of: Group) -> None:
    launched_with(SLURM_STEP)
    group_of(1, 2)
    with pytest.warns(RanklogWarning) as caught:
        found = [place() for _ in range(3)]
    assert {str(one) for one in found} == {"rank 1/2 (torch)"}
    assert found[0].job_id == "4242"
    assert len(caught) == 1
    assert "rank 1/2 (torch)" in str(caught[0].message)
    assert "rank 6/8 (slurm)" in str(caught[0].message)
    assert caught[0].filename == __file__


def test_a_group_with_another_order_of_ranks_keeps_the_node(launched_with: Launch, group_of: Group) -> None:
    launched_with(SLURM_STEP)
    group_of(0, 8)
    with pytest.warns(RanklogWarning, match="using the group"):
        found = place()
    assert (found.rank, found.local_rank, found.node_rank) == (0, 2, 1)


def test_a_group_replaces_incomplete_launcher_variables(launched_with: Launch, group_of: Group) -> None:
    launched_with({"WORLD_SIZE": "4", "LOCAL_RANK": "1", "NODE_RANK": "1", "LOCAL_WORLD_SIZE": "2"})
    with pytest.raises(LaunchError):
        place()
    group_of(3, 4)
    assert place() == Place(
        rank=3, world_size=4, local_rank=1, local_world_size=2, node_rank=1, node_count=2, launcher="torch"
    )


def test_local_facts_that_contradict_the_group_are_left_out(launched_with: Launch, group_of: Group) -> None:
    launched_with({"LOCAL_RANK": "7", "LOCAL_WORLD_SIZE": "8", "SLURM_JOB_ID": "9"})
    group_of(0, 2)
    assert place() == Place(world_size=2, local_world_size=2, launcher="torch", job_id="9")


def test_a_process_that_is_forced_single_ignores_the_group(launched_with: Launch, group_of: Group) -> None:
    launched_with({"RANKLOG_STRATEGY": "single"})
    group_of(1, 2)
    assert str(place()) == "rank 0/1 (single)"


def test_rank_zero_only_finds_the_place_when_called_not_when_decorated(launched_with: Launch) -> None:
    launched_with({})
    seen: list[int] = []

    @rank_zero_only
    def note(value: int, *, twice: bool = False) -> int:
        """Note a value."""
        seen.append(value)
        return value * (2 if twice else 1)

    assert note(4, twice=True) == 8
    launched_with({"RANK": "1", "WORLD_SIZE": "2"})
    assert note(5) is None
    launched_with({"RANK": "0"})
    assert note(6) == 6
    assert seen == [4, 6]
    assert note.__doc__ == "Note a value."


def test_rank_zero_only_passes_errors_on(launched_with: Launch) -> None:
    launched_with({})

    @rank_zero_only
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        fail()


def test_rank_zero_print_prints_on_rank_zero_only(launched_with: Launch, capsys: pytest.CaptureFixture[str]) -> None:
    launched_with({"RANK": "1", "WORLD_SIZE": "2"})
    rank_zero_print("from rank 1")
    launched_with({"RANK": "0"})
    rank_zero_print("loss", 0.5, sep="=", end=";")
    rank_zero_print("to stderr", file=sys.stderr, flush=True)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("loss=0.5;", "to stderr\n")


def test_asking_for_the_place_imports_no_framework() -> None:
    code = (
        "import sys; from ranklog.world.place.current import place; place();"
        "print([m for m in ('torch', 'mpi4py', 'horovod', 'ray', 'mlflow', 'wandb') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


SCRIPT = """
import torch.distributed as dist
from ranklog.world.place.current import place, rank_zero_print
before = place()
dist.init_process_group("gloo")
assert place() == before and before.launcher == "torchrun" and before.rank == dist.get_rank()
places = [None] * dist.get_world_size()
dist.all_gather_object(places, (before.rank, before.world_size, before.local_rank, before.local_world_size))
rank_zero_print(places)
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_under_a_real_torchrun_every_process_finds_its_place_and_rank_zero_prints(
    launched_with: Launch, tmp_path: Path
) -> None:
    launched_with({})
    done = torchrun(2, SCRIPT, cwd=tmp_path)
    assert done.code == 0, done.output
    assert [line for line in done.output.splitlines() if line.startswith("[")] == ["[(0, 2, 0, 2), (1, 2, 1, 2)]"]
