"""The choice of MLflow's database, and one SQLite file per run on file systems that machines share.

SQLite needs locks that all machines see and reads that are never stale. Most network file systems lack one of them, and
two jobs that write one file damage it. Without a tracking URI, a run on such a file system therefore gets a database of
its own. Only the process that holds the run's delivery lock writes it. The journal has all records, so a damaged,
missing or unfinished database is set aside and written again. Blocks for disk.
"""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import msgspec

from ranklog.abc import RunContext
from ranklog.backends.mlflow.run import connect, disconnect
from ranklog.backends.mlflow.uri import (
    create_database,
    given_uri,
    savedir_of,
    shared_database,
    sqlite_file,
    sqlite_uri,
)
from ranklog.journal.file_system import FileSystem, file_system_of
from ranklog.journal.layout import make_private_dir, write_private
from ranklog.model.redact import mask_text
from ranklog.model.spec import Scalar

FOLDER = "runs"
"""Folder of the databases of single runs, below the backend's ``savedir``."""
_SIDECARS = ("-journal", "-wal", "-shm")


class Database(msgspec.Struct, frozen=True):
    """Where MLflow stores a run.

    Attributes:
        uri: MLflow's tracking URI.
        is_new: Whether everything has to be delivered again, because the database has nothing of the run.
        warning: Risk of this choice, with the cure; empty without one.
    """

    uri: str
    is_new: bool = False
    warning: str = ""


def choose_database(context: RunContext) -> Database:
    """Return the database for a run, and prepare the file if ranklog chooses it.

    Raises:
        InvalidArgumentError: the tracking URI is a folder.
    """
    options = context.spec.options
    uri = given_uri(options)
    if uri is not None:
        return Database(uri, warning=_warning(uri))
    database = _default(options, context.facts.run_id)
    known = "run_id" in context.known and context.known.get("tracking_uri") == sqlite_uri(database)
    if database == shared_database(options):
        create_database(database)
        return Database(sqlite_uri(database), is_new="run_id" in context.known and not known)
    is_new = not known or not _is_sound(database)
    if is_new:
        _start_again(database)
    return Database(sqlite_uri(database), is_new=is_new)


def shared_file_system(uri: str) -> FileSystem | None:
    """Return the file system of a SQLite file that several machines can write to; None for other tracking URIs."""
    database = sqlite_file(uri)
    found = None if database is None else file_system_of(database)
    return found if found and found.is_shared else None


def _warning(uri: str) -> str:
    found = shared_file_system(uri)
    if found is None:
        return ""
    return (
        f"{mask_text(uri)} is a SQLite file on {found.kind}, where two jobs that write it damage it: use an MLflow "
        "server, or leave tracking_uri out for one database per run"
    )


def _default(options: dict[str, Scalar], run_id: str) -> Path:
    own = Path(savedir_of(options)) / FOLDER / f"{run_id}.db"
    return own if own.exists() or file_system_of(own).is_shared else shared_database(options)


def _is_sound(database: Path) -> bool:
    if not database.exists():
        return False
    try:
        with closing(sqlite3.connect(database)) as connection:
            return bool(connection.execute("PRAGMA quick_check").fetchone() == ("ok",))
    except sqlite3.OperationalError:
        raise  # for example, it is locked or the disk does not answer, which can pass
    except sqlite3.DatabaseError:
        return False


def _start_again(database: Path) -> None:
    """Set a database aside, under the name of the last one set aside, and put an empty one in its place."""
    disconnect(sqlite_uri(database))
    if database.exists() and database.stat().st_size:
        database.replace(database.with_suffix(".damaged"))
    for suffix in _SIDECARS:
        # SQLite would apply a journal that is left to the new file.
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    # MLflow creates its tables in hundreds of synced writes, which take most of a minute on a slow file system.
    with tempfile.TemporaryDirectory(prefix="ranklog-mlflow-") as folder:
        local = Path(folder) / database.name
        create_database(local)
        connect(sqlite_uri(local))
        disconnect(sqlite_uri(local))
        make_private_dir(database.parent)
        write_private(database, local.read_bytes())
