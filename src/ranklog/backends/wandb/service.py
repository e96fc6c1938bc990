"""Start and stop of W&B's service process, which writes and uploads for W&B's Python client.

A service process of another program is neither used nor stopped. W&B never prompts for a login. `finish` keeps its time
limit and leaves no process behind, unless this process has another W&B run open.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranklog.model.errors import InvalidArgumentError
from ranklog.model.record import Status

if TYPE_CHECKING:
    import wandb

_EXIT_CODES: dict[Status | None, int] = {"FINISHED": 0, "FAILED": 1, "KILLED": 255, None: 1}
_OFFLINE_MODES = ("offline", "dryrun", "disabled")


def prepare(savedir: Path, *, offline: bool) -> bool:
    """Set up W&B for this process and return whether the run will be offline.

    ``WANDB_MODE`` and W&B's settings files can request offline, too.

    Raises:
        InvalidArgumentError: the run is online and W&B has no API key.
    """
    if "wandb" not in sys.modules:
        # Inherited from a training process that uses W&B itself; its service ends with that process.
        os.environ.pop("WANDB_SERVICE", None)
    import wandb
    from wandb.sdk import wandb_setup

    service = _service_process()
    if service is not None and service.poll() is not None:
        stop_if_idle()  # it died, and W&B starts another one only after a teardown

    # W&B stages uploads beside the run and not in the home directory, which is small on clusters.
    os.environ.setdefault("WANDB_DATA_DIR", str(savedir))
    os.environ.setdefault("WANDB_CACHE_DIR", str(savedir / "cache"))
    offline = offline or wandb_setup.singleton().settings.mode in _OFFLINE_MODES
    if offline:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # offline: nothing may be sent
    elif not wandb.login(prompt=False, verify=False):
        stop_if_idle()
        raise InvalidArgumentError(
            "W&B has no API key: set WANDB_API_KEY or run `wandb login`; "
            "or write an offline run with offline_mode=True or WANDB_MODE=offline"
        )
    return offline


def finish(run: wandb.Run, status: Status | None, timeout_s: float) -> None:
    """Finish a run with a status, or as preempted with None, and stop the service process.

    Raises:
        TimeoutError: W&B took longer than ``timeout_s``; the service process was killed.
    """
    from wandb.sdk import wandb_setup

    failure: list[BaseException] = []

    def work() -> None:
        try:
            try:
                if status is None:
                    run.mark_preempting()
                else:
                    run.summary["ranklog/status"] = status
            finally:
                run.finish(exit_code=_EXIT_CODES[status])
        except BaseException as error:
            failure.append(error)
            wandb_setup.singleton().remove_active_run(run)  # W&B keeps it open when its process has died
        finally:
            stop_if_idle()

    service = _service_process()
    thread = threading.Thread(target=work, name="ranklog-wandb-finish", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        if service is not None and _is_idle():
            service.kill()
            service.wait()
            thread.join(5.0)
        raise TimeoutError(f"W&B did not finish within {timeout_s:g} s; the next `ranklog sync` uploads the rest")
    if failure:
        if service is not None:
            service.poll()  # reaps a process that has ended
        raise failure[0]


def stop_if_idle() -> None:
    """Stop the service process, unless this process has another W&B run open."""
    import wandb

    if _is_idle():
        # W&B raises SystemExit when the service ended with a nonzero code. The service may also have died already.
        with contextlib.suppress(SystemExit, Exception):
            wandb.teardown()


def _is_idle() -> bool:
    from wandb.sdk import wandb_setup

    return wandb_setup.singleton().most_recent_active_run is None


def _service_process() -> Any:
    """Return the service's `subprocess.Popen` if this process started it. W&B has no public API for this."""
    from wandb.sdk import wandb_setup

    connection = getattr(wandb_setup.singleton(), "_connection", None)
    return getattr(getattr(connection, "_proc", None), "_process", None)
