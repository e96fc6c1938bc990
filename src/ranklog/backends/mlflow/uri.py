"""Where MLflow keeps runs: the tracking URI from options and environment, and a SQLite file's first opening.

Guarantees: databases are private; several processes may begin in one SQLite file. Blocks for another one that does.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from ranklog.journal.layout import make_private_dir
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.identity import plain_address
from ranklog.model.redact import mask_text
from ranklog.model.spec import Scalar
from ranklog.model.text import absolute_uri


def tracking_uri(options: dict[str, Scalar]) -> str:
    """Where the options, or else the environment, want runs to be; else a SQLite file in ``savedir``.

    Raises:
        InvalidArgumentError: it is a folder, which MLflow does not write to.
    """
    uri, variable = text_of(options, "tracking_uri"), os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri or (variable and plain_address(absolute_uri(variable)) == plain_address(uri)):
        uri = variable  # it may bring a user and password, which options never hold
    if not uri:
        database = Path(savedir_of(options)) / "mlflow.db"
        make_private_dir(database.parent)
        # SQLite would create it with the umask's permissions.
        os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        return f"sqlite:///{database}"
    allowed = os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1")
    if urlsplit(uri).scheme in ("", "file") and not allowed and not uri.startswith("databricks"):
        raise InvalidArgumentError(
            f"tracking_uri={mask_text(uri)!r} is a folder, which MLflow no longer writes to: leave it out "
            f"to get SQLite under savedir, or give sqlite:///<path>/mlflow.db or a server's http(s) address"
        )
    return uri


@contextmanager
def alone_in_sqlite(uri: str) -> Iterator[None]:
    """One process at a time: of two that make the tables of a new SQLite database one would fail."""
    database = _sqlite_file(uri)
    if database is None:
        yield
        return
    make_private_dir(database.parent)
    # MLflow has a lock of its own, which does not keep them apart: one of two failed in most tries.
    fd = os.open(database.parent / f".{database.name}.opening", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _sqlite_file(uri: str) -> Path | None:
    if urlsplit(uri).scheme.split("+")[0] != "sqlite":
        return None
    from sqlalchemy.engine import make_url

    name = make_url(uri).database
    return Path(name).absolute() if name and name != ":memory:" else None


def text_of(options: dict[str, Scalar], name: str) -> str:
    """An option as text; empty where it is not given."""
    value = options.get(name)
    return "" if value is None else str(value)


def savedir_of(options: dict[str, Scalar]) -> str:
    """The option ``savedir``.

    Raises:
        InvalidArgumentError: it is missing.
    """
    savedir = text_of(options, "savedir")
    if not savedir:
        raise InvalidArgumentError("the MLflow backend's option 'savedir' is missing: give an absolute path")
    return savedir
