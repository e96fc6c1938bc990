"""A disk below one directory whose calls fail as told, and that may lose what was not synced when one does.

As with Linux: a close that fails has closed; after a sync that failed the pages are gone, and the next sync is called
good. A call may do all that it should and fail ("late"), as over a network. Each time one of our descriptors is closed
the program opens a file of its own, which gets that very number.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

Fate = Literal["good", "fails", "loses", "short", "late"]

CALLS = ("open", "write", "fdatasync", "fsync", "ftruncate", "close", "replace", "unlink")


def _path(fd: int) -> Path:
    return Path(f"/proc/self/fd/{fd}").readlink()


class FaultyDisk:
    """See the module.

    Args:
        below: Where calls may fail.
        own: Folder for the program's own files.
        fate: Asked at each call what becomes of it; may be replaced.
    """

    def __init__(self, below: Path, own: Path, fate: Callable[[str], Fate]) -> None:
        self._below = str(below)
        self._own = own
        self.fate = fate
        self._real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in CALLS}
        self._safe: dict[int, int] = {}  # inode to bytes that are on the disk
        self._files: list[tuple[int, Path]] = []

    def _is_ours(self, fd: int) -> bool:
        return str(_path(fd)).startswith(self._below)

    def open_own(self) -> None:
        """Have the program open a file and write to it, unbuffered."""
        path = self._own / f"checkpoint-{len(self._files)}"
        fd = self._real["open"](path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self._real["write"](fd, b"first")
        self._files.append((fd, path))

    def check_own(self) -> None:
        """Write to each file of the program again, close it, and compare."""
        for fd, path in self._files:
            self._real["write"](fd, b"second")
            self._real["close"](fd)
            assert path.read_bytes() == b"firstsecond"
        self._files.clear()

    def lose(self) -> None:
        """Have what was not synced turn into zeros, as after a crash of the machine."""
        for path in Path(self._below).iterdir():
            if path.is_file():
                self._lose(path)

    def _lose(self, path: Path) -> None:
        size = path.stat().st_size
        safe = min(self._safe.get(path.stat().st_ino, 0), size)
        with path.open("r+b") as file:
            file.seek(safe)
            file.write(bytes(size - safe))

    def _call(self, name: str, fd: int, args: tuple[Any, ...]) -> Any:
        fate = self.fate(name)
        path = _path(fd)
        if name == "close":
            self._real["close"](fd)
            self.open_own()
        if fate in ("good", "short"):
            if name == "close":
                return None
            if name == "write" and fate == "short":
                args = (bytes(args[0])[: len(args[0]) // 2 + 1],)
            if name in ("fsync", "fdatasync"):
                self._safe[os.fstat(fd).st_ino] = os.fstat(fd).st_size
                return None
            return self._real[name](fd, *args)
        if fate == "loses" and path.is_file():
            self._lose(path)
        if fate == "late" and name in ("write", "ftruncate"):
            self._real[name](fd, *args)
        raise OSError(errno.EIO, f"{name} fails")

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """Have calls go through this disk."""

        def on_descriptor(name: str) -> Callable[..., Any]:
            def call(fd: int, *args: Any) -> Any:
                return self._call(name, fd, args) if self._is_ours(fd) else self._real[name](fd, *args)

            return call

        def on_path(name: str) -> Callable[..., Any]:
            def call(path: Any, *args: Any, **kwargs: Any) -> Any:
                if str(path).startswith(self._below) and self.fate(name) in ("fails", "loses"):
                    raise OSError(errno.EIO, f"{name} fails")
                return self._real[name](path, *args, **kwargs)

            return call

        paths = ("open", "replace", "unlink")
        changed = {name: on_path(name) if name in paths else on_descriptor(name) for name in CALLS}
        with patch.multiple(os, **changed):
            yield
