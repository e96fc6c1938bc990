"""Contents of items in a run directory: small ones inside records, large ones as files named by their SHA-256.

A content appears under its final name only when it is complete and synced, so readers never see half a file. Two equal
contents share one file. Directories are 0700, files 0600.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ranklog.journal.layout import make_private_dir, new_file, put_in_place, write_private
from ranklog.model.record import File

INLINE_BYTES = 32 * 1024
"""Contents up to this size are stored inside the record."""


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
    put_in_place(temporary, target, replace=False)
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
    put_in_place(temporary, target)
