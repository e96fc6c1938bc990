"""Scripts from the fork server run as with `python script`."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fork_server import Server, channel, server

pytestmark = pytest.mark.slow

LEAVES = """
import threading
def late():
    threading.main_thread().join()
    print('late')
threading.Thread(target=late).start()
"""
ENDS = {
    "returns": "print('said')",
    "raises": "raise ValueError('why')",
    "exits with a status": "import sys; sys.exit(3)",
    "exits with a text": "raise SystemExit('why')",
    "is killed by itself": "import os; os.kill(os.getpid(), 9)",
    "does something at exit": "import atexit; atexit.register(print, 'last')",
    "leaves a thread": LEAVES,
}
SEES = """
import os, pickle, signal, sys
class Own:
    pass
print(__name__, __file__, sys.argv, sys.path[0], os.getcwd(), dict(os.environ))
print(type(pickle.loads(pickle.dumps(Own()))))
print(signal.getsignal(signal.SIGCHLD), signal.getsignal(signal.SIGINT), signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""


def plainly(script: Path, *arguments: str, env: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(script), *arguments], cwd=script.parent, env=env, text=True, check=False, timeout=60,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.returncode, done.stdout


def forked(script: Path, *arguments: str, env: dict[str, str]) -> tuple[int | None, str]:
    process = server().start(str(script), *arguments, cwd=script.parent, env=env)
    output = process.communicate()
    return process.returncode, output


@pytest.mark.parametrize("how", ENDS)
def test_it_ends_as_in_an_interpreter_of_its_own(how: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(ENDS[how])
    status, output = plainly(script, env=dict(os.environ))
    status_forked, output_forked = forked(script, env=dict(os.environ))
    assert status_forked == status
    assert output_forked.splitlines()[-1:] == output.splitlines()[-1:]


def test_it_sees_its_own_arguments_directory_environment_and_signal_handlers(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SEES)
    env = {"ONLY": "this", "LC_ALL": "C.UTF-8"}
    assert forked(script, "--one", "two", env=env) == plainly(script, "--one", "two", env=env)


def test_its_lines_can_be_read_while_it_runs_and_signals_reach_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import signal\nprint('ready', flush=True)\nsignal.pause()")
    process = server().start(str(script), cwd=tmp_path, env={})
    assert process.readline() == "ready\n"
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(0.0)
    assert process.returncode is None
    process.send_signal(signal.SIGTERM)
    assert (process.communicate(), process.returncode) == ("", -signal.SIGTERM)
    process.kill()  # of a process that has ended: nothing


def test_several_run_at_once_and_each_has_its_own_status(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys; sys.exit(int(sys.argv[1]))")
    processes = [server().start(str(script), str(status), cwd=tmp_path, env={}) for status in range(8)]
    assert [process.communicate() for process in reversed(processes)] == [""] * 8
    assert [process.returncode for process in processes] == list(range(8))


def test_a_process_with_the_id_of_an_earlier_one_has_its_own_status() -> None:
    client, serving = channel()
    with client, serving:
        for message in (
            {"started": 7, "number": 0},
            {"ended": 0, "status": 3},
            {"started": 7, "number": 1},
            {"ended": 1, "status": 0},
        ):
            serving.send(json.dumps(message).encode())
        asking = Server(client)
        first, second = (asking.fork(("script.py",), "/", {}, output=1) for _ in range(2))
        assert [asking.status(process, 60.0) for process in (first, second)] == [3, 0]
