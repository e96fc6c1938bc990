"""Items as values in W&B's history, or as W&B artifacts.

An item that W&B can show is a value in a row of the history, in the column of its name; a list of items is a list
there. Everything else is an artifact, including items that W&B or this machine cannot show (a table above 10,000 rows,
plotly not installed). The files of artifacts are hard links in the W&B run's own directory if the file system supports
them: there is no second copy, and nothing in the home directory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ranklog.abc import Refused, RunContext
from ranklog.backends.shared.kinds import ANY_MEDIA, find_show
from ranklog.backends.wandb import media
from ranklog.backends.wandb.names import to_artifact_name, to_artifact_path, to_media_column
from ranklog.journal.layout import make_private_dir
from ranklog.journal.store import blob_path
from ranklog.model import content
from ranklog.model.record import File, Item
from ranklog.model.spec import Scalar

if TYPE_CHECKING:
    import wandb

FORMS = {
    "metric": "history",
    "param": "config",
    "text": "Html",
    "dict": "artifact",
    "table": "Table",
    "histogram": "Histogram",
    "image": "Image",
    "figure": "Image or Plotly",
    "audio": "Audio",
    "video": "Video",
    "html": "Html",
    "artifact": "artifact",
    "dataset": "artifact of type dataset",
    "torch": "artifact",
    "model": "artifact of type model",
    "best_model": "artifact of type model",
    "graph": "Graph",
    "embedding": "Table",
    "pr_curve": "chart",
    "alert": "alert",
    "prov_documents": "artifact",
}
SHOWS: dict[tuple[str, str], Callable[[media.Source], Any]] = {
    ("text", content.TEXT): media.show_text,
    ("html", content.HTML): media.show_html,
    ("table", content.TABLE): media.show_table,
    ("histogram", content.HISTOGRAM): media.show_histogram,
    ("image", content.PNG): media.show_image,
    ("figure", content.PNG): media.show_image,
    ("figure", content.PLOTLY): media.show_plotly,
    ("audio", ANY_MEDIA): media.show_audio,
    ("video", ANY_MEDIA): media.show_video,
    ("pr_curve", content.PR_CURVE): media.show_pr_curve,
    ("graph", content.GRAPH): media.show_graph,
    ("embedding", content.FOLDER): media.show_embedding,
}
"""The function that makes a value for the history. Other items, and those for which it returns None, are artifacts."""
_LISTS = ("image", "figure", "audio", "video", "html")
_MAX_ITEMS = {"image": 108, "figure": 108}
"""W&B shows the first images of a longer list and drops the others."""
_LISTS_NEED = {"audio": "soundfile"}
"""Packages without which W&B's client refuses a list, although it does not use them for files."""

_MAX_KEY_BYTES = 120
# W&B makes an artifact of a table. Its name begins with the run id and has 128 bytes at most.
_MAX_KEY_BYTES_OF = {"table": 50, "embedding": 50, "pr_curve": 50}
_ARTIFACT_TYPES = {"dict": "config", "table": "table", "dataset": "dataset", "model": "model", "best_model": "model"}
_ALIASES = {"best_model": "best"}
_USED_BY_THE_RUN = ("dataset",)


class ItemStore:
    """Stores the items of one W&B run.

    Args:
        context: Reads the contents of files.
        run: The open run.
        folder: Folder for the files of artifacts until they are uploaded.
    """

    def __init__(self, context: RunContext, run: wandb.Run, folder: Path) -> None:
        self._context = context
        self._run = run
        self._folder = folder
        self._types: dict[str, str] = {}

    def restore(self, item: Item) -> None:
        """Restore an item that W&B already has. The name of its artifact cannot have another type."""
        if not _can_be_shown(item):
            self._types.setdefault(to_artifact_name(item.name), _type_of(item))

    def row(self, item: Item, ordinal: int) -> dict[str, Any] | None:
        """Return the item as a row of the history, or None if it can only be an artifact."""
        value = self._list(item, ordinal) if _is_list(item) else self._show(item, item.media, item.files, "", ordinal)
        if value is None:
            return None
        return {to_media_column(item.name, _MAX_KEY_BYTES_OF.get(item.kind, _MAX_KEY_BYTES)): value}

    def _list(self, item: Item, ordinal: int) -> list[Any] | None:
        if len(item.files) > _MAX_ITEMS.get(item.kind, len(item.files)):
            return None
        if item.kind in _LISTS_NEED and find_spec(_LISTS_NEED[item.kind]) is None:
            return None
        shown = [
            self._show(item, media.media_of(file.path), [file], f".{index}", ordinal)
            for index, file in enumerate(item.files)
        ]
        return None if any(each is None for each in shown) else shown  # `None in shown` would use W&B's own equality

    def _show(self, item: Item, media_type: str, files: Sequence[File], number: str, ordinal: int) -> Any:
        show = find_show(SHOWS, item.kind, media_type)
        if show is None:
            return None
        caption = item.meta.get(f"caption{number}")
        place = partial(self._place, folder=self._folder / str(ordinal), ordinal=ordinal)
        return show(media.Source(files, None if caption is None else str(caption), self._context.content, place))

    def store_artifact(self, item: Item, ordinal: int) -> None:
        """Store an item as an artifact.

        Raises:
            Refused: a file of the item would lie outside its folder, or the artifact's name already has another type.
        """
        import wandb

        name, type_ = to_artifact_name(item.name), _type_of(item)
        if self._types.setdefault(name, type_) != type_:
            # W&B's client asks the server, which may not know the first artifact yet. Offline it asks nobody.
            raise Refused(
                f"W&B does not accept {item.name!r} as an artifact of type {type_!r}: {name} already exists with type"
                f" {self._types[name]!r}; log it under another name",
                [ordinal],
            )
        facts = {"name": item.name, "kind": item.kind, "step": item.step, "rank": item.rank}
        metadata: dict[str, Any] = {**facts, **_join_captions(item.meta)}
        if describe := _METADATA.get(item.media):
            metadata |= describe(self._context.content(item.files[0]))
        artifact = wandb.Artifact(name, type=type_, metadata=metadata)
        for file in item.files:
            path = self._place(file, self._folder / str(ordinal), ordinal)
            artifact.add_file(str(path), name=to_artifact_path(file.path), policy="immutable", skip_cache=True)
        if item.media == content.REFERENCE:
            uri = metadata["uri"]
            # Without a checksum, W&B does not read what may be terabytes. The digests are in the file above.
            artifact.add_reference(uri, name=uri.rsplit("/", 1)[-1] or "files", checksum=False)
        alias = str(item.meta.get("alias") or _ALIASES.get(item.kind, ""))
        aliases = ["latest", *([to_artifact_name(alias)] if alias else [])]
        try:
            if item.kind in _USED_BY_THE_RUN:
                # `use_artifact` does this with an artifact that is not logged yet, but it waits for the server and
                # fails offline.
                self._run._log_artifact(artifact, aliases=aliases, is_user_created=True, use_after_commit=True)
            else:
                self._run.log_artifact(artifact, aliases=aliases)
        except ValueError as error:
            raise Refused(f"W&B does not accept {item.name!r} as an artifact: {error}", [ordinal]) from error

    def _place(self, file: File, folder: Path, ordinal: int) -> Path:
        target = (folder / file.path).resolve()
        if folder.resolve() not in target.parents:
            raise Refused(f"path {file.path!r} of an item leaves its directory", [ordinal])
        if file.data is None:
            make_private_dir(target.parent)
            try:
                target.unlink(missing_ok=True)
                os.link(blob_path(self._context.run_dir, file.sha256), target)
            except OSError:
                pass  # another file system, or one without hard links: copied below
            else:
                return target
        return self._context.materialise([file], folder)[0]


def _type_of(item: Item) -> str:
    return _ARTIFACT_TYPES.get(item.kind, "artifact")


def _is_list(item: Item) -> bool:
    return item.media == content.FOLDER and item.kind in _LISTS


def _can_be_shown(item: Item) -> bool:
    return _is_list(item) or find_show(SHOWS, item.kind, item.media) is not None


def _reference_facts(body: bytes) -> dict[str, Any]:
    reference = msgspec.json.decode(body, type=content.Reference)
    return {"uri": reference.uri, "host": reference.host, "bytes": sum(file.size for file in reference.files)}


def _dataset_facts(body: bytes) -> dict[str, Any]:
    facts = msgspec.to_builtins(msgspec.json.decode(body, type=content.Dataset))
    return {**{key: value for key, value in facts.items() if key != "name"}, "dataset": facts["name"]}


_METADATA: dict[str, Callable[[bytes], dict[str, Any]]] = {
    content.DATASET: _dataset_facts,
    content.REFERENCE: _reference_facts,
}
"""The function that reads metadata of an artifact from its content, by media type."""


def _join_captions(meta: Mapping[str, Scalar]) -> dict[str, Any]:
    """Join the captions of a list into one entry: W&B's metadata takes 100 entries."""
    captions = {name: str(value) for name, value in meta.items() if name.startswith("caption.")}
    others = {name: value for name, value in meta.items() if name not in captions}
    return others | ({"captions": captions} if captions else {})
