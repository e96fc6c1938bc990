"""Opens the run directory and its journal on rank 0.

Guarantee: every step registers how it is undone, so that an opening which fails later leaves nothing behind.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from ranklog.job.requeue import RunChoice, choose_run_id, new_run_id
from ranklog.job.runs import claim_run, unclaim_run
from ranklog.model.config import SessionConfig
from ranklog.model.place import Place
from ranklog.model.record import Attempt


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
    attempt = claim_run(run_dir, experiment=config.experiment, resume=config.resume, place=place, specs=config.specs)
    undo.callback(unclaim_run, run_dir, attempt)
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
