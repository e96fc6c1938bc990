"""Layout of a run directory: names, permissions, and how to find runs.

``run.msgpack`` (immutable facts), ``journal-00000.rlj`` … (segments), ``blobs/<sha256>`` (large contents, see
`ranklog.journal.store`), ``cursors/<n>-<backend>.json`` (delivery progress), ``delivery.log``. Directories are 0700 and
files 0600, whatever the umask.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from ranklog.model.errors import RunNotFoundError
from ranklog.model.record import RunFacts

FACTS = "run.msgpack"
REPLACED_S = 0.02
"""Seconds for which a file may be missing while another one replaces it."""
_SEGMENT = re.compile(r"journal-(\d{5,})\.rlj")


def segment_name(number: int) -> str:
    """Return the file name of a segment."""
    return f"journal-{number:05d}.rlj"


def segments(run_dir: Path) -> list[tuple[int, Path]]:
    """Return number and path of every segment, in order; none if the directory is missing.

    Network file systems cache listings for up to a minute. Segments that follow the last listed one are therefore
    looked up by name.
    """
    try:
        names = os.listdir(run_dir)  # noqa: PTH208 - a Path for each of many entries costs more than it helps
    except FileNotFoundError:
        return []
    found = [(int(m.group(1)), run_dir / name) for name in names if (m := _SEGMENT.fullmatch(name))]
    found.sort()
    following = found[-1][0] + 1 if found else 0
    while (path := run_dir / segment_name(following)).exists():
        found.append((following, path))
        following += 1
    return found


def make_private_dir(path: Path) -> None:
    """Create a directory and its parents; those created here are 0700."""
    missing: list[Path] = []
    current = path
    while not current.exists():
        missing.append(current)
        current = current.parent
    for each in reversed(missing):
        make_private_child(each)


def make_private_child(path: Path) -> None:
    """Create a directory, 0700, in a parent that exists; one that is there stays as it is."""
    try:
        path.mkdir(mode=0o700)
        path.chmod(0o700)
    except OSError as error:
        if not is_taken(error, path):
            raise


def is_taken(error: OSError, path: Path) -> bool:
    """Whether a creation failed because another process created the name first. SFTP reports that as EPERM."""
    return isinstance(error, FileExistsError) or (error.errno == errno.EPERM and os.path.lexists(path))


def create_private(path: Path, flags: int = 0) -> int:
    """Create a file, 0600, for writing; return its descriptor.

    Raises:
        FileExistsError: the file exists.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | flags, 0o600)
    except PermissionError as error:
        if is_taken(error, path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        raise
    try:
        os.fchmod(fd, 0o600)
    except BaseException:
        with suppress(OSError):
            os.close(fd)
        with suppress(OSError):
            path.unlink()
        raise
    return fd


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Create a file, 0600, that is on the disk when the block ends. Any error, even in the close, removes it.

    Raises:
        FileExistsError: the file exists.
        OSError: the disk refused.
    """
    fd = create_private(path)
    try:
        with os.fdopen(fd, "wb") as file:  # it forgets the number before it closes
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise


def write_private(path: Path, data: bytes) -> None:
    """Write a file atomically: to a temporary name, synced, then renamed; 0600."""
    temporary = path.with_name(f".{secrets.token_hex(8)}")  # the target's name may already have the maximum length
    with new_file(temporary) as file:
        file.write(data)
    put_in_place(temporary, path)


def read_replaced(path: Path) -> bytes:
    """Read a file that another process may be replacing: on some file systems its name is gone for an instant.

    Raises:
        OSError: the file is not there, or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESTALE):
            raise
    time.sleep(REPLACED_S)
    return path.read_bytes()


def put_in_place(temporary: Path, path: Path, *, replace: bool = True) -> None:
    """Rename a finished temporary file to its final name; without ``replace``, keep a file that is already there."""
    try:
        if replace or not path.exists():
            temporary.replace(path)
    finally:
        with suppress(OSError):  # it may be gone already
            temporary.unlink()


def write_facts(run_dir: Path, facts: RunFacts) -> None:
    """Write the run's facts once."""
    write_private(run_dir / FACTS, msgspec.msgpack.encode(facts))


def read_facts(run_dir: Path) -> RunFacts:
    """Read the run's facts.

    Raises:
        RunNotFoundError: the directory is not a run.
    """
    try:
        return msgspec.msgpack.decode(read_replaced(run_dir / FACTS), type=RunFacts)
    except (OSError, msgspec.MsgspecError) as error:
        reason = f"{run_dir} is not a run directory: cannot read {FACTS} ({error})"
        raise RunNotFoundError(reason) from error


def find_runs(directory: Path) -> Iterator[Path]:
    """Yield run directories at or below ``directory``, sorted by name, without descending into runs."""
    if (directory / FACTS).is_file():
        yield directory
        return
    for root, names, files in os.walk(directory):
        if FACTS in files:
            names.clear()
            yield Path(root)
        else:
            names[:] = sorted(name for name in names if not name.startswith("."))
