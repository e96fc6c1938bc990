"""MLflow's tracking URI, from options and environment, and the creation of SQLite files.

Databases are readable by their owner only. Several processes of one machine can open a new SQLite file at once; each
waits for the other. `ranklog.backends.mlflow.run_database` has the default on file systems that machines share.
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


def given_uri(options: dict[str, Scalar]) -> str | None:
    """Return the URI from the options or the environment; None if ranklog chooses the database.

    The address of the default database counts as the default, because cursors store it.

    Raises:
        InvalidArgumentError: the URI is a folder, which MLflow does not write to.
    """
    uri, variable = text_of(options, "tracking_uri"), os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri or (variable and plain_address(absolute_uri(variable)) == plain_address(uri)):
        uri = variable  # it can have a user and password, which options never have
    if not uri or plain_address(uri) == plain_address(sqlite_uri(shared_database(options))):
        return None
    allowed = os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1")
    if urlsplit(uri).scheme in ("", "file") and not allowed and not uri.startswith("databricks"):
        raise InvalidArgumentError(
            f"tracking_uri={mask_text(uri)!r} is a folder, which MLflow no longer writes to: leave it out "
            f"for a SQLite file in savedir, or give sqlite:///<path>/mlflow.db or the http(s) address of a server"
        )
    return uri


def shared_database(options: dict[str, Scalar]) -> Path:
    """Return the path of the database that all runs of a ``savedir`` share."""
    return Path(savedir_of(options)) / "mlflow.db"


def sqlite_uri(database: Path) -> str:
    """Return the tracking URI of a SQLite file."""
    return f"sqlite:///{database}"


def create_database(database: Path) -> None:
    """Create an empty SQLite file, 0600, if there is none. SQLite would use the permissions of the umask."""
    make_private_dir(database.parent)
    os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


@contextmanager
def alone_in_sqlite(uri: str) -> Iterator[None]:
    """Let one process at a time open a SQLite database: of two that create its tables, one would fail."""
    database = sqlite_file(uri)
    if database is None:
        yield
        return
    make_private_dir(database.parent)
    # MLflow's own lock does not prevent that: one of two processes failed in most tries.
    fd = os.open(database.parent / f".{database.name}.opening", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite database on disk; None for other addresses."""
    if urlsplit(uri).scheme.split("+")[0] != "sqlite":
        return None
    from sqlalchemy.engine import make_url

    name = make_url(uri).database
    return Path(name).absolute() if name and name != ":memory:" else None


def text_of(options: dict[str, Scalar], name: str) -> str:
    """Return an option as text, empty when it is not given."""
    value = options.get(name)
    return "" if value is None else str(value)


def savedir_of(options: dict[str, Scalar]) -> str:
    """Return the option ``savedir``.

    Raises:
        InvalidArgumentError: the option is missing.
    """
    savedir = text_of(options, "savedir")
    if not savedir:
        raise InvalidArgumentError("the MLflow backend's option 'savedir' is missing: give an absolute path")
    return savedir
