"""The offline directories of one W&B run, and what W&B's own ``wandb sync`` has taken of them.

W&B appends what is synced and never replaces it. So a directory that was synced is kept, and the next one begins after
its last entry. One that was not synced is deleted and written anew: W&B loses rows when it is killed.

A directory that is being written is out of reach of ``wandb sync``, which looks for the ending ``.wandb``: its log has
another one until it is complete. Blocks for the disk.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import msgspec

from ranklog.journal.layout import write_private

_FINISHED_MARK = "ranklog-finished"
_OPEN = ".open"


class Taken(msgspec.Struct, frozen=True):
    """What must not be written again.

    Attributes:
        next_ordinal: First entry that no kept directory has.
        warning: What is not known about it, or "".
    """

    next_ordinal: int
    warning: str


def clear(savedir: Path, run_id: str, last: str | None) -> Taken:
    """Delete the directories of this run that ``wandb sync`` did not touch.

    Args:
        savedir: Where they are.
        run_id: W&B's id of the run.
        last: The directory that was written last, where there was one.
    """
    next_ordinal = 0
    warnings: list[str] = []
    if last is not None and Path(last).name.startswith("offline-run-") and not Path(last).exists():
        warnings.append(f"{last} is gone and is written anew; if it was synced, the next `wandb sync` doubles its rows")
    for directory in sorted((savedir / "wandb").glob("offline-run-*")):
        log = directory / _log_name(run_id)
        if not (log.is_file() or log.with_name(log.name + _OPEN).is_file()):
            continue
        ended = log.with_name(log.name + ".synced").exists()
        if not ended and not log.with_name(log.name + ".syncstate").exists():
            shutil.rmtree(directory)
            continue
        upto = _finished_at(directory)
        if upto is None:
            warnings.append(f"{directory} was synced before it was complete; the next `wandb sync` doubles its rows")
            continue
        next_ordinal = max(next_ordinal, upto)
        if not ended:
            warnings.append(
                f"a `wandb sync` of {directory} began and did not end: nobody knows which rows W&B has, and another"
                " `wandb sync` of it appends all of them"
            )
    return Taken(next_ordinal, "; ".join(warnings))


def hide(directory: Path, run_id: str) -> None:
    """Keep a directory that is being written from ``wandb sync``; W&B's client has its log open already."""
    log = directory / _log_name(run_id)
    with contextlib.suppress(FileNotFoundError):
        log.rename(log.with_name(log.name + _OPEN))


def show(directory: Path, run_id: str) -> None:
    """Let ``wandb sync`` have a directory that is complete."""
    log = directory / _log_name(run_id)
    with contextlib.suppress(FileNotFoundError):
        log.with_name(log.name + _OPEN).rename(log)


def begin(directory: Path) -> None:
    """Note that a directory, online or offline, is being written."""
    (directory / _FINISHED_MARK).unlink(missing_ok=True)


def finish(directory: Path, next_ordinal: int) -> None:
    """Note that a directory is complete up to an entry."""
    write_private(directory / _FINISHED_MARK, str(next_ordinal).encode())


def is_finished(directory: Path) -> bool:
    """Whether W&B closed it in good order."""
    return (directory / _FINISHED_MARK).exists()


def _finished_at(directory: Path) -> int | None:
    try:
        return int((directory / _FINISHED_MARK).read_text())
    except (OSError, ValueError):
        return None


def _log_name(run_id: str) -> str:
    return f"run-{run_id}.wandb"
