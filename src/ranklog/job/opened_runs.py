"""Remembers which runs a job has opened, in a file ``.jobs/<program>.json`` or ``.jobs/<program>-<step>.json``.

In: the runs of one program of a job. Out: the same after a restart, or None if there is no such file, or none that can
be read. Steps of a job that start together get their numbers in any order. So if a requeue changed the number of a
step, its file is found by the arguments of its program.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from ranklog.journal.layout import make_private_dir, read_replaced, write_private
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.spec import check_run_id

FOLDER = ".jobs"


class Opener(msgspec.Struct, frozen=True):
    """The process that opened a run.

    Attributes:
        host: Its host.
        pid: Its process id.
        time_ns: When it opened the run.
        parent: Identifies its parent process, for example torchrun's agent.
        requeues: How often the scheduler had requeued the job.
        arguments: Digest of the arguments of its program.
    """

    host: str = ""
    pid: int = 0
    time_ns: int = 0
    parent: str = ""
    requeues: int = 0
    arguments: str = ""


class OpenedRuns(msgspec.Struct, frozen=True):
    """The runs of one job, in the order in which a program opens them.

    Attributes:
        attempt: The attempt that wrote this.
        position: How many runs it has opened.
        runs: Run ids, including those of earlier attempts that opened more runs.
        opener: The process that opened the last one.
    """

    attempt: int
    position: int
    runs: tuple[str, ...]
    opener: Opener = Opener()


def file_of(directory: Path, program: str, step: str, attempt: int, arguments: str) -> Path:
    """Return the file of a program: of its step, or of another step that an earlier attempt ran with these arguments.

    Args:
        directory: Directory of the runs.
        program: Identifies the program and its job.
        step: Number of its step; empty for none.
        attempt: Number of this attempt.
        arguments: Digest of its arguments.
    """
    folder = directory / FOLDER
    own = folder / (f"{program}-{step}.json" if step else f"{program}.json")
    before = load(own)
    if not step or not attempt or (before is not None and before.opener.arguments == arguments):
        return own
    for other in sorted(folder.glob(f"{program}-*.json")):
        found = load(other)
        if found is not None and found.opener.arguments == arguments and found.attempt < attempt:
            return other
    return own


def load(path: Path) -> OpenedRuns | None:
    """Read a file."""
    try:
        opened = msgspec.json.decode(read_replaced(path), type=OpenedRuns)
        for run in opened.runs:
            check_run_id(run)
    except (OSError, msgspec.MsgspecError, InvalidArgumentError):
        return None
    return opened if 0 < opened.position <= len(opened.runs) else None


def save(path: Path, opened: OpenedRuns) -> None:
    """Write a file, if the disk permits."""
    try:
        make_private_dir(path.parent)
        write_private(path, msgspec.json.encode(opened))
    except OSError:
        pass  # opening the run directory will report what is wrong with this disk
