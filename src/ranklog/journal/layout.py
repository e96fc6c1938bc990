"""Names and permissions of what lies in a run directory.

``run.msgpack`` (immutable facts), ``journal-00000.rlj`` … (segments), ``blobs/<sha256>`` (contents too large
for a frame), ``cursors/<backend>.json`` (how far each backend is), ``delivery.log``. Directories are 0700,
files 0600, whatever the umask.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from ranklog.model.errors import RanklogError, RunNotFoundError
from ranklog.model.place import Place
from ranklog.model.record import File, RunFacts

INLINE_BYTES = 32 * 1024
FACTS = "run.msgpack"
_SEGMENT = re.compile(r"journal-(\d{5,})\.rlj")


def segment_name(number: int) -> str:
    """File name of a segment."""
    return f"journal-{number:05d}.rlj"


def segments(run_dir: Path) -> list[tuple[int, Path]]:
    """Number and path of every segment, in order; none where the directory is missing."""
    try:
        names = os.listdir(run_dir)  # noqa: PTH208 - a Path for each of many entries costs more than it helps
    except FileNotFoundError:
        return []
    found = [(int(m.group(1)), run_dir / name) for name in names if (m := _SEGMENT.fullmatch(name))]
    return sorted(found)


def make_private_dir(path: Path) -> None:
    """Create a directory and its parents; those created here are 0700."""
    missing: list[Path] = []
    current = path
    while not current.exists():
        missing.append(current)
        current = current.parent
    for each in reversed(missing):
        try:
            each.mkdir(mode=0o700)
            each.chmod(0o700)
        except FileExistsError:
            pass  # another process was faster


def create_private(path: Path, flags: int = 0) -> int:
    """Create a file, 0600, for writing; returns its descriptor.

    Raises:
        FileExistsError: when there is one.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | flags, 0o600)
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
    """A new file, 0600, that is on the disk when the block is over; none where anything fails, its close included.

    Raises:
        FileExistsError: when there is one.
        OSError: the disk refused.
    """
    fd = create_private(path)
    try:
        with os.fdopen(fd, "wb") as file:  # which forgets the number before it closes
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise


def write_private(path: Path, data: bytes) -> None:
    """Write a file as a whole: to a temporary name, synced, then renamed; 0600."""
    temporary = path.with_name(f".{secrets.token_hex(8)}")  # the name itself may be as long as file systems take
    with new_file(temporary) as file:
        file.write(data)
    _put_in_place(temporary, path)


def _put_in_place(temporary: Path, path: Path, *, replace: bool = True) -> None:
    try:
        if replace or not path.exists():
            temporary.replace(path)
    finally:
        with suppress(OSError):  # also since it is no longer there
            temporary.unlink()


def shared_run_dir(run_dir: Path, place: Place) -> Path:
    """Return the run directory if this rank can reach it.

    Raises:
        RanklogError: it is on another file system.
    """
    if not (run_dir / FACTS).exists():
        raise RanklogError(
            f"{place}: the run directory {run_dir} is not there: savedir must be on a file system that all ranks "
            "share, where others than rank 0 log files"
        )
    return run_dir


def write_facts(run_dir: Path, facts: RunFacts) -> None:
    """Write the run's facts once."""
    write_private(run_dir / FACTS, msgspec.msgpack.encode(facts))


def read_facts(run_dir: Path) -> RunFacts:
    """Read the run's facts.

    Raises:
        RunNotFoundError: when the directory is no run.
    """
    try:
        return msgspec.msgpack.decode((run_dir / FACTS).read_bytes(), type=RunFacts)
    except (OSError, msgspec.MsgspecError) as error:
        reason = f"{run_dir} is not a run directory: {FACTS} cannot be read ({error})"
        raise RunNotFoundError(reason) from error


def blob_path(run_dir: Path, sha256: str) -> Path:
    """Where a blob lies."""
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError(f"not a SHA-256 hex digest: {sha256!r}")
    return run_dir / "blobs" / sha256


def store_bytes(run_dir: Path, path: str, data: bytes, *, inline: bool = True) -> File:
    """Describe one file of an item; its content goes to ``blobs/`` unless it is small and ``inline``."""
    digest = hashlib.sha256(data).hexdigest()
    if inline and len(data) <= INLINE_BYTES:
        return File(path, len(data), digest, data)
    target = blob_path(run_dir, digest)
    if not target.exists():
        make_private_dir(target.parent)
        write_private(target, data)
    return File(path, len(data), digest)


def store_file(run_dir: Path, path: str, source: Path, *, inline: bool = True) -> File:
    """As `store_bytes` for a file on disk, without holding it in memory."""
    if inline and source.stat().st_size <= INLINE_BYTES:
        return store_bytes(run_dir, path, source.read_bytes())
    temporary = _new_blob(run_dir)
    with source.open("rb") as reader, new_file(temporary) as writer:
        size, digest = digest_of(reader, writer.write)
    return _name_blob(run_dir, path, temporary, size, digest)


def link_file(run_dir: Path, path: str, source: Path) -> File:
    """As `store_file` for a file that nobody will write to again: a hard link where there can be one, else a copy."""
    temporary = _new_blob(run_dir)
    try:
        os.link(source, temporary)
    except OSError:
        return store_file(run_dir, path, source, inline=False)
    return adopt_file(run_dir, path, temporary)


def adopt_file(run_dir: Path, path: str, source: Path) -> File:
    """As `store_file` for a file on the run's own file system that is no longer needed at its place: it is moved."""
    try:
        make_private_dir(run_dir / "blobs")
        with source.open("rb") as reader:
            size, digest = digest_of(reader)
            os.fsync(reader.fileno())
        return _name_blob(run_dir, path, source, size, digest)
    finally:
        with suppress(OSError):
            source.unlink()


def digest_of(reader: BinaryIO, write: Callable[[bytes], object] | None = None) -> tuple[int, str]:
    """Size and SHA-256 of what a file still has; each part is given to ``write`` on the way."""
    digest = hashlib.sha256()
    size = 0
    while chunk := reader.read(1 << 20):
        digest.update(chunk)
        size += len(chunk)
        if write is not None:
            write(chunk)
    return size, digest.hexdigest()


def _new_blob(run_dir: Path) -> Path:
    blobs = run_dir / "blobs"
    make_private_dir(blobs)
    return blobs / f".{secrets.token_hex(8)}"


def _name_blob(run_dir: Path, path: str, temporary: Path, size: int, digest: str) -> File:
    """Put a file to the place that its content names; an equal content that is there already stays."""
    target = blob_path(run_dir, digest)
    _put_in_place(temporary, target, replace=False)
    return File(path, size, digest)


def read_file(run_dir: Path, file: File) -> bytes:
    """Content of one file of an item."""
    return file.data if file.data is not None else blob_path(run_dir, file.sha256).read_bytes()


def copy_out(run_dir: Path, file: File, target: Path) -> None:
    """Write one file of an item to ``target``, without holding a large one in memory; 0600."""
    if file.data is not None:
        write_private(target, file.data)
        return
    temporary = target.with_name(f".{secrets.token_hex(8)}")
    with blob_path(run_dir, file.sha256).open("rb") as reader, new_file(temporary) as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
    _put_in_place(temporary, target)


def find_runs(directory: Path) -> Iterator[Path]:
    """Run directories at or below ``directory``, oldest name first, without descending into runs."""
    if (directory / FACTS).is_file():
        yield directory
        return
    for root, names, files in os.walk(directory):
        if FACTS in files:
            names.clear()
            yield Path(root)
        else:
            names[:] = sorted(name for name in names if not name.startswith("."))
