"""Opens the run directory and its journal on rank 0.

Guarantee: every step registers how it is undone, so that an opening which fails later leaves nothing behind.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from ranklog.abc import Strategy
from ranklog.job.facts import job_facts
from ranklog.job.requeue import RunChoice, choose_run_id, new_run_id
from ranklog.job.runs import claim_run, unclaim_run
from ranklog.journal.layout import FACTS
from ranklog.model.config import SessionConfig
from ranklog.model.place import Place
from ranklog.model.record import Attempt
from ranklog.pipeline.inbox import Inbox
from ranklog.process.warnings import Health
from ranklog.world.place.detect import unjoined_tasks_warning


class ClaimedRun(msgspec.Struct, frozen=True):
    """A run directory that this process may write.

    Attributes:
        run_dir: The directory.
        attempt: The attempt that starts now.
        remember: Called once the run is open.
    """

    run_dir: Path
    attempt: Attempt
    remember: Callable[[], None]


def claim(config: SessionConfig, place: Place, undo: ExitStack) -> ClaimedRun:
    """Choose the run and claim its directory.

    Args:
        config: Configuration of the session.
        place: This process.
        undo: Takes what undoes it.

    Raises:
        InvalidArgumentError: the run exists and ``resume`` forbids it, or the other way round, or it is being written.
        OSError: the directory cannot be written.
    """
    choice = _choose(config, place)
    run_dir = config.directory / choice.run_id
    is_new = not (run_dir / FACTS).exists()
    attempt = claim_run(run_dir, experiment=config.experiment, resume=config.resume, place=place, specs=config.specs)
    if is_new:
        undo.callback(unclaim_run, run_dir)
    return ClaimedRun(run_dir, attempt, choice.remember)


def _choose(config: SessionConfig, place: Place) -> RunChoice:
    """The given run, a new one, or the one which an earlier attempt of this job opened."""
    if config.run_id is not None:
        return RunChoice(config.run_id, lambda: None)
    if config.resume == "never":
        return RunChoice(new_run_id(), lambda: None)
    # Without the number of the channel: the order of opening tells equal loggers apart.
    program = "|".join([config.experiment, config.channel.partition("/")[0], sys.argv[0]])
    return choose_run_id(config.directory, place, program)


class TaskCheck:
    """Warns once about several tasks that no process group has joined: they may be separate trainings.

    Args:
        strategy: Says whether the ranks can meet.
        health: Takes the warning.
    """

    def __init__(self, strategy: Strategy, health: Health) -> None:
        self._strategy = strategy
        self._health = health
        self._checked = False

    def check(self) -> None:
        """Check, at the first call only: when the first record comes."""
        if self._checked:
            return
        self._checked = True
        if not self._strategy.ready() and (text := unjoined_tasks_warning(os.environ)):
            self._health.warn("independent", text)


def collect_facts(inbox: Inbox, place: Place, health: Health) -> threading.Thread | None:
    """Collect facts about the job in a thread, which may ask git and the scheduler; None where none can be started."""

    def collect() -> None:
        try:
            inbox.put(job_facts(os.environ))
        except Exception as error:  # facts about a job must not disturb it
            health.warn("facts", f"{place}: cannot collect facts about the job: {error!r}")

    thread = threading.Thread(target=collect, name="ranklog-facts", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # the limit on threads
        health.warn("facts", f"{place}: cannot collect facts about the job: {error}")
        return None
    return thread
