"""One run in a Trackio project on disk, written with Trackio's own storage.

Trackio's client numbers steps, sets times and drops records that it cannot send, in its own thread. The storage below
the client takes steps, times and ids as given, and ignores ids that it already has. ranklog uses this storage directly.
The storage's directory is a constant of its module, read from the environment once per process. ranklog loads a copy of
the module with another directory, so other uses of Trackio in the process and the home directory stay untouched.

Rows that are written twice are there once. There are no threads, processes or network. The database and its folders are
readable by their owner only. Blocks for the disk, and up to 30 s for another process that writes to the same project.
"""

from __future__ import annotations

import importlib.util
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import orjson

from ranklog.journal.layout import create_private, make_private_dir
from ranklog.model.errors import InvalidArgumentError, RanklogError
from ranklog.model.record import RunFacts
from ranklog.model.spec import Scalar

RESERVED = ("project", "run", "timestamp", "step", "time", "metrics")
"""Names that Trackio reserves."""
_MODE = "TRACKIO_SQLITE_JOURNAL_MODE"
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class ProjectBusyError(ConnectionError):
    """Another process has the project open. Nothing is wrong with the entries."""


@contextmanager
def explained() -> Iterator[None]:
    """Raise `ProjectBusyError`, which says what helps, when SQLite reports a locked database."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        raise ProjectBusyError(
            f"another process has the project open, perhaps a dashboard with another journal mode ({error}): restart "
            f"it with {_MODE}={_mode() or 'wal'}, the mode of this process, or stop it. The records are kept until then"
        ) from error


def _mode() -> str:
    return os.environ.get(_MODE, "").strip().lower()


class Row(msgspec.Struct, frozen=True):
    """One row of a run: values at a step. Its ``id`` is unique in the project."""

    id: str
    step: int
    time_ns: int
    values: dict[str, Any]


def to_key(name: str) -> str:
    """Return a name as Trackio writes it: reserved names get a prefix of two underscores.

    Example:
        >>> to_key("loss"), to_key("step"), to_key("__step")
        ('loss', '__step', '____step')
    """
    return f"__{name}" if name in RESERVED or name.startswith("__") else name


def clock(time_ns: int) -> str:
    """Format a time as Trackio does. Such times sort as texts."""
    return (_EPOCH + timedelta(microseconds=time_ns // 1000)).isoformat(timespec="microseconds")


def unique_id(facts: RunFacts, part: str) -> str:
    """Return the id of a row or alert, unique in the project; ``part`` is unique in the run."""
    return f"{facts.run_id}/{facts.created_ns}/{part}"


class TrackioStore:
    """A run of a project.

    Args:
        folder: Trackio's directory, as in ``TRACKIO_DIR``.
        project: Name of the project.
        run_id: Name and id of the run.

    Raises:
        InvalidArgumentError: Trackio does not allow the project's name.
        ImportError: Trackio is not installed.
    """

    def __init__(self, folder: Path, project: str, run_id: str) -> None:
        make_private_dir(folder)
        module = _load(folder)
        self.storage: Any = module.SQLiteStorage
        self.project: str = module.canonical_project_name(project)
        self.folder = folder
        self._run_id = run_id
        self._serialize: Callable[[Any], Any] = module.serialize_values
        try:
            self.storage.validate_project_name(project)
        except ValueError as error:
            raise InvalidArgumentError(f"project_name={project!r} is not allowed: {error}") from error
        for suffix in (".db", ".lock"):
            try:
                os.close(create_private(folder / f"{self.project}{suffix}"))
            except FileExistsError:
                pass
        self.storage.init_db(self.project)

    def log(self, rows: Sequence[Row], config: dict[str, Scalar] | None = None) -> None:
        """Add rows that are not there yet. A config replaces that of the run."""
        self.storage.bulk_log(
            self.project,
            self._run_id,
            [row.values for row in rows],
            steps=[row.step for row in rows],
            timestamps=[clock(row.time_ns) for row in rows],
            config=config,
            log_ids=[row.id for row in rows],
            run_id=self._run_id,
        )

    def log_system(self, rows: Sequence[Row]) -> None:
        """Add rows of system metrics that are not there yet. They have no steps."""
        self.storage.bulk_log_system(
            self.project,
            self._run_id,
            [row.values for row in rows],
            timestamps=[clock(row.time_ns) for row in rows],
            log_ids=[row.id for row in rows],
            run_id=self._run_id,
        )

    def remove(self, names: Iterable[str], steps: tuple[int, int | None], is_affected: Callable[[str], bool]) -> None:
        """Remove values from the rows of a range of steps. Rows without any values left are deleted.

        Args:
            names: Names of the values.
            steps: First and last step; None for no last one.
            is_affected: Decides by a row's id whether to change it.
        """
        first, last = steps
        keys = {to_key(name) for name in names}
        with (
            self.storage._get_process_lock(self.project),
            self.storage._get_connection(self.storage.get_project_db_path(self.project)) as connection,
        ):
            found = connection.execute(
                "SELECT id, log_id, metrics FROM metrics WHERE run_id = ? AND step >= ? AND step <= ?",
                (self._run_id, first, 2**63 - 1 if last is None else last),
            ).fetchall()
            for number, row_id, content in found:
                values = orjson.loads(content)
                left = {key: value for key, value in values.items() if key not in keys}
                if len(left) == len(values) or not is_affected(row_id or ""):
                    continue
                if left:
                    connection.execute("UPDATE metrics SET metrics = ? WHERE id = ?", (orjson.dumps(left), number))
                else:
                    connection.execute("DELETE FROM metrics WHERE id = ?", (number,))

    def alert(self, *, id: str, title: str, text: str, level: str, step: int | None, time_ns: int) -> None:
        """Add an alert that is not there yet."""
        self.storage.bulk_alert(
            self.project,
            self._run_id,
            titles=[title],
            texts=[text],
            levels=[level],
            steps=[step],
            timestamps=[clock(time_ns)],
            alert_ids=[id],
            run_id=self._run_id,
        )

    def artifact(
        self,
        name: str,
        kind: str,
        manifest: list[dict[str, Any]],
        metadata: dict[str, Any],
        aliases: Sequence[str],
        *,
        used: bool,
    ) -> None:
        """Create a version of an artifact whose contents lie in `blobs`. The run ``used`` it, or else created it.

        Raises:
            ValueError: Trackio does not accept the name, or the artifact exists with another type.
        """
        if not used:
            self.storage.commit_artifact_version(
                self.project, name, kind, None, manifest, metadata, list(aliases), self._run_id, self._run_id
            )
            return
        artifact_id = self.storage.create_or_get_artifact(self.project, name, kind, None)
        version_id, _, created = self.storage.insert_artifact_version(
            self.project, artifact_id, manifest, metadata, None, None
        )
        if created:
            self.storage.reassign_alias(self.project, artifact_id, "latest", version_id)
        self.storage.insert_run_artifact_link(self.project, self._run_id, self._run_id, version_id, "input")

    @property
    def show(self) -> str:
        """The command that opens the dashboard, with the journal mode of this process."""
        mode = f"{_MODE}={_mode()} " if _mode() else ""
        return f"{mode}TRACKIO_DIR={self.folder} trackio show --project {self.project}"

    @property
    def blobs(self) -> Path:
        """Folder with the contents of artifacts, as ``<first two digits>/<digest>``."""
        return self.folder / "artifacts" / self.project / "blobs" / "sha256"

    @property
    def media(self) -> Path:
        """Folder of media. Rows contain paths relative to it."""
        return self.folder / "media"


def _load(folder: Path) -> Any:
    """Load a copy of Trackio's storage module for a directory."""
    found = importlib.util.find_spec("trackio.sqlite_storage")
    if found is None or found.loader is None:
        raise ImportError("trackio.sqlite_storage is missing")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    module.TRACKIO_DIR = folder  # type: ignore[attr-defined]
    storage = module.SQLiteStorage
    storage._dataset_import_attempted = True  # never download from the Hub, whatever the environment says
    if storage.get_project_db_path("x").parent != folder:
        raise RanklogError("this version of Trackio is not supported: pip install 'trackio==0.43.*'")
    from trackio.utils import is_network_filesystem

    if is_network_filesystem(folder):
        # SQLite's write-ahead log needs memory that all processes share.
        os.environ.setdefault(_MODE, "delete")
    return module
