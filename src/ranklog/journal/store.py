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
    """Return the path of a content."""
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError(f"not a SHA-256 hex digest: {sha256!r}")
    return run_dir / "blobs" / sha256


def store_bytes(run_dir: Path, path: str, data: bytes, *, inline: bool = True) -> File:
    """Store one file of an item, and return its description. Small contents are inlined unless ``inline`` is False."""
    digest = hashlib.sha256(data).hexdigest()
    if inline and len(data) <= INLINE_BYTES:
        return File(path, len(data), digest, data)
    target = blob_path(run_dir, digest)
    if not target.exists():
        make_private_dir(target.parent)
        write_private(target, data)
    return File(path, len(data), digest)


def store_file(run_dir: Path, path: str, source: Path, *, inline: bool = True) -> File:
    """Store a file on disk like `store_bytes`, without holding it in memory."""
    if inline and source.stat().st_size <= INLINE_BYTES:
        return store_bytes(run_dir, path, source.read_bytes())
    temporary = _new_blob(run_dir)
    with source.open("rb") as reader, new_file(temporary) as writer:
        size, digest = digest_of(reader, writer.write)
    return _name_blob(run_dir, path, temporary, size, digest)


def link_file(run_dir: Path, path: str, source: Path) -> File:
    """Store a file that nobody will write to again: as a hard link if possible, else as a copy."""
    temporary = _new_blob(run_dir)
    try:
        os.link(source, temporary)
    except OSError:
        return store_file(run_dir, path, source, inline=False)
    return adopt_file(run_dir, path, temporary)


def adopt_file(run_dir: Path, path: str, source: Path) -> File:
    """Store a file on the run's own file system that is no longer needed in its place, by moving it."""
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
    """Return size and SHA-256 of the rest of a file; pass each part to ``write``."""
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
    """Move a file to the path that its content determines; keep an equal content that is already there."""
    target = blob_path(run_dir, digest)
    put_in_place(temporary, target, replace=False)
    return File(path, size, digest)


def read_file(run_dir: Path, file: File) -> bytes:
    """Read one file of an item."""
    return file.data if file.data is not None else blob_path(run_dir, file.sha256).read_bytes()


def copy_out(run_dir: Path, file: File, target: Path) -> None:
    """Copy one file of an item to ``target``, 0600, without holding a large one in memory."""
    if file.data is not None:
        write_private(target, file.data)
        return
    temporary = target.with_name(f".{secrets.token_hex(8)}")
    with blob_path(run_dir, file.sha256).open("rb") as reader, new_file(temporary) as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
    put_in_place(temporary, target)
