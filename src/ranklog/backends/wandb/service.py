"""The life of W&B's service process, which writes and uploads for its Python client.

Guarantees: a process that serves someone else is neither used nor ended; a login is never asked for; `finish` keeps
its time limit and leaves no process behind, unless another W&B run is open in this process.
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
    """Set W&B up for this process; returns whether the run will be offline.

    ``WANDB_MODE`` and W&B's settings files may ask for offline, too.

    Raises:
        InvalidArgumentError: online is asked for and there is no login.
    """
    if "wandb" not in sys.modules:
        # Inherited from a training process that uses W&B itself: its service ends with it.
        os.environ.pop("WANDB_SERVICE", None)
    import wandb
    from wandb.sdk import wandb_setup

    service = _service_process()
    if service is not None and service.poll() is not None:
        stop_if_idle()  # it died; W&B starts another one only when it has forgotten it

    # What W&B stages for upload is kept beside the run, not in the home directory, which is small on clusters.
    os.environ.setdefault("WANDB_DATA_DIR", str(savedir))
    os.environ.setdefault("WANDB_CACHE_DIR", str(savedir / "cache"))
    offline = offline or wandb_setup.singleton().settings.mode in _OFFLINE_MODES
    if offline:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # offline means that nothing is sent anywhere
    elif not wandb.login(prompt=False, verify=False):
        stop_if_idle()
        raise InvalidArgumentError(
            "W&B has no API key: set WANDB_API_KEY or run `wandb login`; "
            "or write an offline run with offline_mode=True or WANDB_MODE=offline"
        )
    return offline


def finish(run: wandb.Run, status: Status | None, timeout_s: float) -> None:
    """Finish a run with a status, None as preempted, and stop the service.

    Raises:
        TimeoutError: it took too long; the service process was killed.
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
            wandb_setup.singleton().remove_active_run(run)  # W&B keeps it open when its process is gone
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
        raise TimeoutError(
            f"W&B did not finish within {timeout_s:g} s; what it has not uploaded is sent at the next `ranklog sync`"
        )
    if failure:
        if service is not None:
            service.poll()  # takes leave of a dead one
        raise failure[0]


def stop_if_idle() -> None:
    """Stop the service process unless another run of this process uses it."""
    import wandb

    if _is_idle():
        # SystemExit is W&B's way of saying that the service ended with a code; it may also be gone already.
        with contextlib.suppress(SystemExit, Exception):
            wandb.teardown()


def _is_idle() -> bool:
    from wandb.sdk import wandb_setup

    return wandb_setup.singleton().most_recent_active_run is None


def _service_process() -> Any:
    """The service's `subprocess.Popen` if this process started it. W&B has no public way to it."""
    from wandb.sdk import wandb_setup

    connection = getattr(wandb_setup.singleton(), "_connection", None)
    return getattr(getattr(connection, "_proc", None), "_process", None)
