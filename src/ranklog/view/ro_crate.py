"""Export of a run as an RO-Crate: a folder with its files and a machine-readable description, for archives.

In: a run directory. Out: a new folder, written completely or not at all. It contains ``ro-crate-metadata.json`` in the
profile Process Run Crate, ``metrics.csv``, and ``run.json`` with facts about attempts, ranks and jobs. Files of items
are in ``artifacts/``; those of a name with several steps are in ``artifacts/steps/<step>/``. Folders have mode 0700,
files 0600. Files that cannot be included are returned as a list. Does not change the run. Uses the library ``rocrate``.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from ranklog.backends.shared.artifacts import artifact_path, step_path
from ranklog.journal.layout import make_private_dir, read_facts, write_private
from ranklog.journal.reader import JournalReader
from ranklog.journal.store import copy_out, read_file
from ranklog.model.as_json import to_json
from ranklog.model.content import DATASET, FOLDER, REFERENCE, Dataset, Reference
from ranklog.model.errors import InvalidArgumentError, MissingExtraError
from ranklog.model.record import File, Item
from ranklog.view.export import write_csv
from ranklog.view.query import RunView
from ranklog.view.ro_crate_action import describe_run, to_iso

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
CONTEXT = "https://w3id.org/ro/terms/workflow-run/context"
RO_CRATE = "1.1"
"""The version of RO-Crate that the profile extends."""
ARTIFACTS = "artifacts"
_NOT_A_FILE = ("dataset", "prov_documents")


def write_crate(run_dir: Path, directory: Path, license_url: str | None = None) -> list[str]:
    """Write a run as an RO-Crate.

    Args:
        run_dir: The run directory.
        directory: The folder to create.
        license_url: Address of the license of the crate.

    Returns:
        Files that are not in the crate, one line each.

    Raises:
        InvalidArgumentError: the folder exists and is not empty.
        MissingExtraError: the library ``rocrate`` is not installed.
    """
    try:
        from rocrate.rocrate import ROCrate
    except ImportError as error:
        raise MissingExtraError("an RO-Crate needs rocrate: pip install 'ranklog[crate]'") from error
    directory = directory.absolute()
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InvalidArgumentError(f"{directory} exists and is not empty: name a new folder")
    make_private_dir(directory.parent)
    temporary = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}")
    make_private_dir(temporary)
    try:
        crate = ROCrate(version=RO_CRATE)
        crate.metadata.extra_contexts.append(CONTEXT)
        missing = _Packing(run_dir, temporary, crate).pack(license_url)
        crate.write(temporary)
        for path in temporary.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
        temporary.replace(directory)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return missing


class _Packing:
    """Builds one crate.

    Args:
        run_dir: The run directory.
        root: Folder for its files.
        crate: The ``rocrate.rocrate.ROCrate``.
    """

    def __init__(self, run_dir: Path, root: Path, crate: Any) -> None:
        self._run_dir = run_dir
        self._root = root
        self._crate = crate
        self._missing: list[str] = []
        self._steps: dict[PurePosixPath, set[int]] = {}
        for item in self._items():
            self._steps.setdefault(artifact_path(item), set()).add(item.step)

    def pack(self, license_url: str | None) -> list[str]:
        """Add everything; returns the files that are missing."""
        view = RunView(self._run_dir)
        facts = read_facts(self._run_dir)
        results, datasets = [self._metrics(), self._facts(view)], []
        for item in self._items():
            if item.kind == "dataset":
                datasets.append(self._dataset(item))
            elif (entity := self._files(item)) is not None:
                results.append(entity)
        root = self._crate.root_dataset
        root["name"] = f"Run {facts.run_id} of {facts.experiment}"
        root["description"] = (
            f"Data logged by {' '.join(facts.command) or 'a training program'}, recorded with ranklog."
        )
        root["conformsTo"] = self._context(PROFILE, "CreativeWork", name="Process Run Crate", version="0.5")
        if license_url is not None:
            root["license"] = self._context(license_url, "CreativeWork", name=license_url)
        root["mentions"] = describe_run(self._run_dir, view, self._context, objects=datasets, results=results)
        return self._missing

    def _context(self, identifier: str, type_: str | list[str], /, **properties: object) -> Any:
        """Add a contextual entity, without properties that are None."""
        from rocrate.model.contextentity import ContextEntity

        given = {name: value for name, value in properties.items() if value is not None}
        return self._crate.add(ContextEntity(self._crate, identifier, {"@type": type_, **given}))

    def _items(self) -> Iterator[Item]:
        for entry in JournalReader(self._run_dir).poll():
            if isinstance(entry.record, Item):
                yield entry.record

    def _files(self, item: Item) -> Any:
        """Copy and describe an item's files; returns None if they cannot be copied."""
        if item.kind in _NOT_A_FILE:
            return None
        path = PurePosixPath(ARTIFACTS) / self._path(item)
        folder = item.media == FOLDER
        try:
            for file in item.files:
                self._copy(file, path / file.path if folder else path)
        except (OSError, ValueError) as error:
            self._missing.append(f"{item.kind} {item.name!r} of step {item.step}: {error}")
            return None
        properties = {
            "name": item.name,
            "description": f"{item.kind}, step {item.step}{f', rank {item.rank}' if item.rank else ''}",
            "dateCreated": to_iso(item.time_ns),
        }
        if not folder:
            return self._file(path, item.media, item.files[0], **properties, **self._elsewhere(item))
        parts = [self._file(path / file.path, None, file, name=file.path) for file in item.files]
        return self._crate.add_dataset(dest_path=str(path), properties={**properties, "hasPart": parts})

    def _copy(self, file: File, path: PurePosixPath) -> None:
        target = (self._root / path).resolve()
        if self._root.resolve() not in target.parents:
            raise ValueError(f"path {file.path!r} leaves its folder")
        make_private_dir(target.parent)
        copy_out(self._run_dir, file, target)

    def _file(self, path: PurePosixPath, media: str | None, file: File, **more: object) -> Any:
        properties = {**more, "contentSize": str(file.size), "sha256": file.sha256}
        if media is not None:
            properties["encodingFormat"] = media
        return self._crate.add_file(self._root / path, dest_path=str(path), properties=properties)

    def _path(self, item: Item) -> PurePosixPath:
        path = artifact_path(item)
        return step_path(item, path) if len(self._steps[path]) > 1 else path

    def _elsewhere(self, item: Item) -> dict[str, object]:
        """Return the location of files that an item only refers to."""
        if item.media != REFERENCE:
            return {}
        reference = msgspec.json.decode(self._content(item), type=Reference)
        return {
            "about": self._context(reference.uri, "Thing", name=f"{len(reference.files)} files on {reference.host}")
        }

    def _dataset(self, item: Item) -> Any:
        dataset = msgspec.json.decode(self._content(item), type=Dataset) if item.media == DATASET else None
        context = item.meta.get("context")
        if dataset is None:
            return self._context(f"#dataset-{item.name}", "CreativeWork", name=item.name)
        return self._context(
            f"#dataset-{dataset.digest}",
            "CreativeWork",
            name=dataset.name,
            identifier=dataset.digest,
            url=dataset.source or None,
            description=f"{context} data" if context else None,
            size=f"{dataset.rows} rows" if dataset.rows is not None else None,
        )

    def _content(self, item: Item) -> bytes:
        return read_file(self._run_dir, item.files[0])

    def _metrics(self) -> Any:
        path = self._root / "metrics.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            write_csv(self._run_dir, file)
        properties = {"name": "metrics", "encodingFormat": "text/csv", "description": "Every value, one row per point."}
        return self._crate.add_file(path, dest_path=path.name, properties=properties, record_size=True)

    def _facts(self, view: RunView) -> Any:
        facts = {
            "run": view.summary.facts,
            "status": view.summary.status,
            "attempts": view.attempts,
            "jobs": {str(number): job for number, job in view.jobs.items()},
            "ranks": list(view.ranks.values()),
            "events": view.events,
        }
        path = self._root / "run.json"
        write_private(path, to_json(facts, indent=1).encode())
        properties = {
            "name": "facts",
            "encodingFormat": "application/json",
            "description": "Attempts, ranks, jobs, events.",
        }
        return self._crate.add_file(path, dest_path=path.name, properties=properties, record_size=True)
