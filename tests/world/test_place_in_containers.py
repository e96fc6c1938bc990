"""A launcher whose variables a container hides is detected from /proc."""

from __future__ import annotations

from pathlib import Path

import pytest

from ranklog.model.errors import LaunchError
from ranklog.world.place import containers
from ranklog.world.place.containers import checked_place, launcher_outside_container

INSIDE = {"APPTAINER_CONTAINER": "/images/ranklog.sif"}


@pytest.fixture
def proc(tmp_path: Path):
    """Makes a /proc whose process has these parents, nearest first: name and command line of each."""

    def make(*parents: tuple[str, str], group: str = "0::/\n", terminal: str = "0") -> Path:
        numbers = [str(100 - index) for index in range(len(parents))] + ["1"]
        for number, parent, (name, command) in zip(
            ["self", *numbers], [*numbers, "0"], [("python", ""), *parents, ("init", "")], strict=True
        ):
            folder = tmp_path / number
            folder.mkdir()
            (folder / "stat").write_text(f"7 (a ) name) S {parent} 7 7 {terminal} -1")
            (folder / "comm").write_text(f"{name}\n")
            (folder / "cmdline").write_text(command)
        (tmp_path / "self" / "cgroup").write_text(group)
        return tmp_path

    return make


def test_a_task_of_a_slurm_step_is_noticed_by_the_daemon_above_it(proc):
    found = launcher_outside_container(INSIDE, proc(("starter", ""), ("slurmstepd", "slurmstepd: [101.0]\0")))
    assert found == "Slurm, step 101.0"


def test_it_is_noticed_where_the_daemons_title_is_cut_off(proc):
    assert launcher_outside_container(INSIDE, proc(("slurmstepd", "slurmstepd: [101.0\0d"))) == "Slurm, step 101.0"


@pytest.mark.parametrize(
    "title", ["slurmstepd: [101.batch]", "slurmstepd: [101.interactive]", "slurmstepd: [101.extern]"]
)
def test_a_batch_script_and_an_interactive_step_hide_no_rank(proc, title):
    assert launcher_outside_container(INSIDE, proc(("bash", ""), ("slurmstepd", title))) is None


def test_a_terminal_in_a_step_is_a_single_process(proc):
    assert launcher_outside_container(INSIDE, proc(("slurmstepd", "slurmstepd: [101.0]"), terminal="34816")) is None


def test_slurms_control_group_shows_the_launcher_if_the_parents_are_hidden(proc):
    group = "5:memory:/slurm_n1/uid_0/job_3/step_0\n"
    assert launcher_outside_container(INSIDE, proc(group=group)) == "Slurm, step 3.0"


@pytest.mark.parametrize("name", ["prterun", "prted", "mpiexec"])
def test_launchers_of_mpi_are_noticed(proc, name):
    assert launcher_outside_container(INSIDE, proc((name, ""))) is not None


def test_outside_a_container_no_launcher_is_hidden(proc):
    assert launcher_outside_container({}, proc(("slurmstepd", "slurmstepd: [101.0]"))) is None


def test_a_proc_that_hides_everything_raises_nothing(tmp_path):
    assert launcher_outside_container(INSIDE, tmp_path) is None


def test_a_hidden_launcher_is_an_error_with_the_cure_unless_the_process_is_forced_single(monkeypatch):
    monkeypatch.setattr(containers, "launcher_outside_container", lambda _: "Slurm, step 101.0")
    with pytest.raises(LaunchError, match=r"Slurm, step 101\.0 started this process.*without --cleanenv"):
        checked_place(INSIDE)
    assert checked_place({**INSIDE, "RANKLOG_STRATEGY": "single"}).world_size == 1
    assert checked_place({**INSIDE, "RANK": "1", "WORLD_SIZE": "2"}).rank == 1, "variables that are left decide"
