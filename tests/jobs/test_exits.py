"""The status of a run that the program leaves open is the status that the process exits with."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from exit_job import CASES, CODES
from launch import job_environment

from ranklog import JournalLogger
from ranklog.model.record import End
from ranklog.testing import captured

pytestmark = pytest.mark.slow

JOB = Path(__file__).with_name("exit_job.py")
UNCAUGHT = {
    "exception": "ValueError: the weights are gone",
    "with_another_exception_hook": "ValueError: the weights are gone",
    "with_a_hook_that_calls_no_other": "ValueError: the weights are gone",
    "interrupt": "KeyboardInterrupt: ",
}
OPEN = "from ranklog import *; l = JournalLogger({!r}, run_id='ended'); l.create_logger_context()\n"


def run(*command: str, stdin: str = "") -> int:
    env = job_environment(PYTHONPATH=str(JOB.parent))
    done = subprocess.run(
        [sys.executable, *command], env=env, input=stdin, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode


def end(savedir: Path) -> End:
    records = captured(savedir / "runs" / "ended")
    (found,) = [record for record in records if isinstance(record, End)]
    assert records[-1] is found
    return found


def check(savedir: Path, status: int, error: str = "") -> None:
    found = end(savedir)
    if status == 0:
        assert (found.status, found.reason) == ("FINISHED", "")
    else:
        assert found.status == "FAILED"
        assert found.reason.startswith(error or f"exit status {status}")


@pytest.mark.parametrize("case", [*CODES, *CASES])
def test_a_program_ends_as_without_a_logger_and_its_run_has_that_status(case: str, tmp_path: Path) -> None:
    status = run(str(JOB), case)
    assert run(str(JOB), case, str(tmp_path)) == status
    check(tmp_path, abs(status), UNCAUGHT.get(case, ""))


@pytest.mark.parametrize("case", ["raised", "three", "none", "caught_and_read", "exception"])
@pytest.mark.parametrize("how", ["-m", "-c"])
def test_it_does_not_matter_how_the_program_was_started(how: str, case: str, tmp_path: Path) -> None:
    program = "exit_job" if how == "-m" else "import sys; from exit_job import main; main(*sys.argv[1:])"
    status = run(how, program, case)
    assert run(how, program, case, str(tmp_path)) == status
    check(tmp_path, status, UNCAUGHT.get(case, ""))


@pytest.mark.parametrize("typed", ["1 / 0", "try:\n    exit(3)\nexcept SystemExit as e:\n    e.code\n", "exit(3)"])
def test_an_interactive_interpreter_ends_with_what_it_exits_with(typed: str, tmp_path: Path) -> None:
    status = run("-i", stdin=OPEN.format(str(tmp_path)) + typed + "\n")
    assert status == (3 if typed == "exit(3)" else 0)
    check(tmp_path, status)


def test_an_exception_before_the_interactive_prompt_does_not_end_the_run(tmp_path: Path) -> None:
    assert run("-i", str(JOB), "exception", str(tmp_path)) == 0
    check(tmp_path, 0)


def test_a_run_that_was_closed_before_keeps_its_status(tmp_path: Path) -> None:
    code = OPEN.format(str(tmp_path)) + "l.destroy_logger_context()\nraise SystemExit(3)"
    assert run("-c", code) == 3
    assert end(tmp_path).status == "FINISHED"


def test_a_logger_that_is_opened_again_knows_nothing_of_what_was_before(tmp_path: Path) -> None:
    code = (
        OPEN.format(str(tmp_path / "first"))
        + "l.destroy_logger_context()\n"
        + "import sys\ntry:\n    sys.exit(2)\nexcept SystemExit:\n    pass\n"
        + OPEN.format(str(tmp_path / "second"))
        + "sys.exit(9)"
    )
    assert run("-c", code) == 9
    assert (end(tmp_path / "second").status, end(tmp_path / "second").reason) == ("FAILED", "exit status 9")


def test_a_block_has_the_status_of_what_ends_it(tmp_path: Path) -> None:
    logger = JournalLogger(tmp_path, run_id="ended")
    with pytest.raises(SystemExit), logger.start_logging():
        sys.exit("")
    assert (end(tmp_path).status, end(tmp_path).reason) == ("FAILED", "exit status 1: ")


def test_a_child_process_with_a_logger_of_its_own_has_a_run_of_its_own(tmp_path: Path) -> None:
    code = (
        "import multiprocessing, exit_job\nif __name__ == '__main__':\n"
        "    process = multiprocessing.get_context('spawn').Process(target=exit_job.main, "
        f"args=('raised', {str(tmp_path)!r}))\n    process.start()\n    process.join()\n"
        "    raise SystemExit(process.exitcode + 10)"
    )
    assert run("-c", code) == 13
    assert (end(tmp_path).status, end(tmp_path).reason) == ("FAILED", "exit status 3")


def test_what_is_put_in_place_of_the_interpreters_own_is_gone_when_the_last_logger_is_closed(tmp_path: Path) -> None:
    def own() -> list[object]:
        return [sys.exit, sys.excepthook, SystemExit.__dict__["code"]]

    before = own()
    first, second = JournalLogger(tmp_path), JournalLogger(tmp_path)
    with first.start_logging():
        with second.start_logging():
            assert own() != before
        error = SystemExit(3)
        error.code = 4
        assert (error.code, SystemExit.code) == (4, before[2])
        child = os.fork()
        if child == 0:
            os._exit(0 if own() == before else 1)
        assert os.waitpid(child, 0)[1] == 0
    assert own() == before


def test_a_layer_that_somebody_put_on_top_is_left_alone_and_ours_is_not_put_twice(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        + OPEN.format(str(tmp_path / "first"))
        + "def on_top(of):\n    return lambda *given: of(*given)\n"
        + "sys.exit, sys.excepthook = mine = on_top(sys.exit), on_top(sys.excepthook)\n"
        + "l.destroy_logger_context()\nassert (sys.exit, sys.excepthook) == mine\n"
        + OPEN.format(str(tmp_path / "second"))
        + "assert (sys.exit, sys.excepthook) == mine\nsys.exit(4)"
    )
    assert run("-c", code) == 4
    assert end(tmp_path / "second").reason == "exit status 4"
