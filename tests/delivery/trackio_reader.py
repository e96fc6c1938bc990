"""Reads a Trackio directory with Trackio's own API, which looks where constants of its modules say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trackio
from trackio import cas, sqlite_storage, utils
from trackio.sqlite_storage import SQLiteStorage

PLACES = ((utils, "TRACKIO_DIR", ""), (utils, "MEDIA_DIR", "media"), (utils, "ARTIFACTS_DIR", "artifacts"))


class TrackioRun:
    """One run as Trackio reads it.

    Attributes:
        config: Its config.
        rows: Its rows, by time, with ``step`` and ``timestamp``.
        load: The rows of its page of system metrics, with ``timestamp``.
        alerts: Its alerts.
        artifacts: By direction and name: type, and content by path.
    """

    def __init__(self, folder: Path, project: str, run_id: str) -> None:
        with _at(folder):
            (run,) = [each for each in trackio.Api().runs(project) if each.id == run_id]
            self.config: dict[str, Any] = run.config or {}
            self.alerts: list[dict[str, Any]] = sorted(run.alerts(), key=lambda alert: alert["timestamp"])
            self.rows: list[dict[str, Any]] = SQLiteStorage.get_logs(project, run_id=run_id)
            self.load: list[dict[str, Any]] = SQLiteStorage.get_system_logs(project, run_id=run_id)
            linked = SQLiteStorage.get_run_artifacts(project, run.name, run_id=run_id)
            self.artifacts: dict[tuple[str, str], Any] = {}
            for direction, link in ((way, link) for way, links in linked.items() for link in links):
                spec = f"v{link['version']}"
                record = SQLiteStorage.get_artifact_manifest(project, link["name"], spec)
                self.artifacts[direction, f"{link['name']}:{spec}"] = {
                    "type": record["type"],
                    "aliases": record["aliases"],
                    "metadata": record["metadata"],
                    "manifest": record["manifest"],
                    "files": {
                        entry["path"]: cas.blob_path(project, entry["digest"]).read_bytes()
                        for entry in record["manifest"]
                        if "ref" not in entry
                    },
                }
        self.folder = folder

    def values(self, name: str) -> list[tuple[int, Any]]:
        """Steps and values of a name."""
        return [(row["step"], row[name]) for row in self.rows if name in row]

    def media(self, name: str) -> tuple[str, bytes, str | None]:
        """Type, content and caption of the only value of a name."""
        ((_, value),) = self.values(name)
        return value["_type"], (self.folder / "media" / value["file_path"]).read_bytes(), value["caption"]


@contextmanager
def _at(folder: Path) -> Iterator[None]:
    places = [*PLACES, (sqlite_storage, "TRACKIO_DIR", "")]
    before = [getattr(module, name) for module, name, _ in places]
    try:
        for module, name, below in places:
            setattr(module, name, folder / below)
        yield
    finally:
        for (module, name, _), value in zip(places, before, strict=True):
            setattr(module, name, value)
