"""The offline directories of one W&B run, and which of them ``wandb sync`` has uploaded.

W&B appends synced rows and never replaces them. A directory that was synced is therefore kept, and the next directory
begins after its last entry. A directory that was not synced is deleted and written again, because W&B loses rows when
it is killed.

``wandb sync`` looks for files that end in ``.wandb``. The log of a directory that is being written has another ending
until it is complete, so ``wandb sync`` does not find it. Blocks for the disk.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import msgspec

from ranklog.journal.layout import write_private

_FINISHED_MARK = "ranklog-finished"
_OPEN = ".open"


class Synced(msgspec.Struct, frozen=True):
    """The entries that must not be written again.

    Attributes:
        next_ordinal: First entry that no kept directory has.
        warning: Why some rows may show twice, or "".
    """

    next_ordinal: int
    warning: str


def clear(savedir: Path, backend_run_id: str, last: str | None) -> Synced:
    """Delete the directories of this run that ``wandb sync`` did not touch.

    Args:
        savedir: Parent of W&B's directory.
        backend_run_id: W&B's id of the run.
        last: The directory that was written last, if any.
    """
    next_ordinal = 0
    warnings: list[str] = []
    if last is not None and Path(last).name.startswith("offline-run-") and not Path(last).exists():
        warnings.append(
            f"{last} is missing and is written again; if it was synced, the next `wandb sync` duplicates its rows"
        )
    for directory in sorted((savedir / "wandb").glob("offline-run-*")):
        log = directory / _log_name(backend_run_id)
        if not (log.is_file() or log.with_name(log.name + _OPEN).is_file()):
            continue
        ended = log.with_name(log.name + ".synced").exists()
        if not ended and not log.with_name(log.name + ".syncstate").exists():
            shutil.rmtree(directory)
            continue
        upto = _finished_at(directory)
        if upto is None:
            warnings.append(f"{directory} was synced before it was complete; the next `wandb sync` duplicates its rows")
            continue
        next_ordinal = max(next_ordinal, upto)
        if not ended:
            warnings.append(
                f"a `wandb sync` of {directory} began and did not finish. W&B may have some of its rows, and another"
                " `wandb sync` of it appends all of them"
            )
    return Synced(next_ordinal, "; ".join(warnings))


def hide(directory: Path, backend_run_id: str) -> None:
    """Hide a directory that is being written from ``wandb sync``. W&B's client already has its log open."""
    log = directory / _log_name(backend_run_id)
    with contextlib.suppress(FileNotFoundError):
        log.rename(log.with_name(log.name + _OPEN))


def show(directory: Path, backend_run_id: str) -> None:
    """Make a complete directory visible to ``wandb sync``."""
    log = directory / _log_name(backend_run_id)
    with contextlib.suppress(FileNotFoundError):
        log.with_name(log.name + _OPEN).rename(log)


def begin(directory: Path) -> None:
    """Mark a directory, online or offline, as being written."""
    (directory / _FINISHED_MARK).unlink(missing_ok=True)


def finish(directory: Path, next_ordinal: int) -> None:
    """Mark a directory as complete up to an entry."""
    write_private(directory / _FINISHED_MARK, str(next_ordinal).encode())


def is_finished(directory: Path) -> bool:
    """Return whether W&B completed a directory."""
    return (directory / _FINISHED_MARK).exists()


def _finished_at(directory: Path) -> int | None:
    try:
        return int((directory / _FINISHED_MARK).read_text())
    except (OSError, ValueError):
        return None


def _log_name(backend_run_id: str) -> str:
    return f"run-{backend_run_id}.wandb"
