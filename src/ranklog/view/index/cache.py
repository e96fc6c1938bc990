"""Where indexes are kept: a private directory of the user, never the run directory.

``RANKLOG_CACHE_DIR``, else ``$XDG_CACHE_HOME/ranklog``, else ``ranklog-<user id>`` in the directory for temporary
files. Below it lies one directory per host and run, because locks and sizes are only sure on one host. Whoever holds
its lock may write there.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ranklog.journal.layout import make_private_dir
from ranklog.journal.liveness import this_host

DIR_VARIABLE = "RANKLOG_CACHE_DIR"
BYTES_VARIABLE = "RANKLOG_CACHE_BYTES"
DEFAULT_BYTES = 5 << 30
STATE = "state"
_INDEX = "index"
_LOCK = "lock"
_ADMINISTRATOR = 0


def cache_root(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the directory of the cache. It need not exist."""
    if own := environ.get(DIR_VARIABLE):
        return Path(os.path.expanduser(own)).absolute()  # noqa: PTH111 - the method raises for unknown users
    xdg = environ.get("XDG_CACHE_HOME", "")
    if Path(xdg).is_absolute():
        return Path(xdg, "ranklog")
    return Path(tempfile.gettempdir(), f"ranklog-{os.getuid()}")


def cache_limit(environ: Mapping[str, str] = os.environ) -> int:
    """Return how many bytes indexes may take; `DEFAULT_BYTES` if the variable is not a number."""
    try:
        return max(0, int(environ.get(BYTES_VARIABLE, "")))
    except ValueError:
        return DEFAULT_BYTES


def index_dir(run_dir: Path, root: Path) -> Path:
    """Create and return the directory for the index of a run.

    Raises:
        OSError: the directory cannot be made, or belongs to another user.
    """
    digest = hashlib.sha256(os.fsencode(run_dir.resolve())).hexdigest()[:32]
    return own_dir(root, _INDEX, this_host(), digest)


def own_dir(root: Path, *names: str) -> Path:
    """Create and return a directory below the root of the cache.

    Raises:
        OSError: it cannot be made, or the root or the directory belongs to another user.
    """
    directory = root.joinpath(*names)
    for each in (root, directory):
        make_private_dir(each)
        check_own(each)
    return directory


def check_own(directory: Path) -> None:
    """Raise if another user may change a directory, or made the link that leads to it.

    Raises:
        OSError: so it is, or there is no such directory.
    """
    found = directory.stat()
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o022:
        raise PermissionError(f"{directory} can be written by other users")
    if directory.lstat().st_uid not in {os.getuid(), _ADMINISTRATOR}:
        raise PermissionError(f"{directory} is a link of another user")


class CacheLock:
    """The right to write one index; `held` says whether this process has it.

    Args:
        directory: Directory of the index.

    Raises:
        OSError: the lock file cannot be opened.
    """

    def __init__(self, directory: Path) -> None:
        self._fd, self._pid = -1, os.getpid()
        self._fd = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.held = False
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.held = True
        except OSError:
            pass

    def release(self) -> None:
        """Give the right up. A forked child only closes its file, because the right is its parent's."""
        if self._fd >= 0:
            with suppress(OSError):
                if self.held and self._pid == os.getpid():
                    fcntl.flock(self._fd, fcntl.LOCK_UN)  # children may have the file open
                os.close(self._fd)
        self._fd, self.held = -1, False

    def __del__(self) -> None:
        self.release()


def evict(root: Path, limit: int) -> int:
    """Remove the least recently used indexes that nobody holds until all take at most ``limit`` bytes.

    Returns:
        Number of bytes removed.
    """
    found: list[tuple[float, int, Path]] = []
    try:
        check_own(root)
    except OSError:
        return 0
    for directory in (root / _INDEX / this_host()).glob("*"):
        with suppress(OSError):
            found.append((_used_at(directory), _size(directory), directory))
    total, removed = sum(size for _, size, _ in found), 0
    for _, size, directory in sorted(found):
        if total - removed <= limit:
            break
        with suppress(OSError):
            lock = CacheLock(directory)
            if lock.held:
                shutil.rmtree(directory, ignore_errors=True)
                removed += size
            lock.release()
    return removed


def _used_at(directory: Path) -> float:
    state = directory / STATE
    return (state if state.exists() else directory).stat().st_mtime


def _size(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.iterdir())
