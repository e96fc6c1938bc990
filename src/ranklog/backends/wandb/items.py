"""Items as W&B's media in the history, or as W&B artifacts.

Takes items in their canonical encoding. What W&B has a view for is a value of a row under the item's name
(`wandb_media`), a list of such items is a list there; everything else, and what W&B or this machine cannot show (a
table above 10,000 rows, plotly not installed), is an artifact, so that nothing is dropped. Contents of artifacts
are hard links in the W&B run's own directory where the file system has them: no second copy, nothing in the home
directory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ranklog.abc import Refused, RunContext
from ranklog.backends.wandb.media import FROM_CONTENT, FROM_FILES, LISTS, MAX_ITEMS, embedding, media_of
from ranklog.backends.wandb.names import to_artifact_name, to_artifact_path, to_media_column
from ranklog.journal.layout import make_private_dir
from ranklog.journal.store import blob_path
from ranklog.model import content
from ranklog.model.record import File, Item
from ranklog.model.spec import Scalar

if TYPE_CHECKING:
    import wandb

_MAX_KEY_BYTES = 120
_MAX_TABLE_KEY_BYTES = 50  # W&B makes an artifact of it, whose name begins with the run id and ends at 128
_TYPES = {"dict": "config", "table": "table", "dataset": "dataset", "model": "model", "best_model": "model"}


class ItemStore:
    """Stores items with one W&B run.

    Args:
        context: Gives the contents of files.
        run: The open run.
        folder: Where artifacts' files lie until they are uploaded.
    """

    def __init__(self, context: RunContext, run: wandb.Run, folder: Path) -> None:
        self._context = context
        self._run = run
        self._folder = folder
        self._types: dict[str, str] = {}

    def learn(self, item: Item) -> None:
        """Take notice of an item that W&B has already: no other type of artifact can have its name."""
        if not _may_be_shown(item):
            self._types.setdefault(to_artifact_name(item.name), _type_of(item))

    def row(self, item: Item, ordinal: int) -> dict[str, Any] | None:
        """The item as a row of the history; None where it can only be an artifact."""
        value = self._value(item, ordinal)
        if value is None:
            return None
        limit = _MAX_TABLE_KEY_BYTES if item.kind in ("table", "embedding", "pr_curve") else _MAX_KEY_BYTES
        return {to_media_column(item.name, limit): value}

    def _value(self, item: Item, ordinal: int) -> Any:
        if item.kind == "embedding":
            return embedding({file.path: self._context.content(file) for file in item.files})
        if item.media != content.FOLDER:
            return self._shown(item.files[0], item.kind, item.media, item.meta.get("caption"), ordinal)
        if item.kind not in LISTS or len(item.files) > MAX_ITEMS.get(item.kind, len(item.files)):
            return None
        if item.kind == "audio" and find_spec("soundfile") is None:
            return None  # W&B's client refuses several sounds without that package, which it does not use for files
        shown = [
            self._shown(file, item.kind, media_of(file.path), item.meta.get(f"caption.{index}"), ordinal)
            for index, file in enumerate(item.files)
        ]
        return None if any(each is None for each in shown) else shown  # W&B's types compare by more than identity

    def _shown(self, file: File, kind: str, media: str, caption: Scalar, ordinal: int) -> Any:
        text = None if caption is None else str(caption)
        if kind in FROM_FILES:
            path = self._place(file, self._folder / str(ordinal), ordinal)
            return FROM_FILES[kind](path, text)
        show = FROM_CONTENT.get((kind, media))
        return show(self._context.content(file), text) if show else None

    def store_artifact(self, item: Item, ordinal: int) -> None:
        """Store an item as an artifact.

        Raises:
            Refused: a file of the item would lie outside its folder, or W&B has another type of that name.
        """
        import wandb

        name, kept_as = to_artifact_name(item.name), _type_of(item)
        if self._types.setdefault(name, kept_as) != kept_as:
            # Its client asks the server, which may not have heard of the first one yet, and offline it asks nobody.
            raise Refused(
                f"W&B does not take {item.name!r} as an artifact of type {kept_as!r}: {name} already exists with type"
                f" {self._types[name]!r}; log it under another name",
                [ordinal],
            )
        metadata: dict[str, Any] = {
            "name": item.name,
            "kind": item.kind,
            "step": item.step,
            "rank": item.rank,
            **_joined(item.meta),
        }
        reference = None
        if item.media == content.REFERENCE:
            reference = msgspec.json.decode(self._context.content(item.files[0]), type=content.Reference)
            metadata |= {"uri": reference.uri, "host": reference.host, "bytes": sum(f.size for f in reference.files)}
        elif item.kind == "dataset" and item.media == content.DATASET:
            facts = msgspec.json.decode(self._context.content(item.files[0]), type=content.Dataset)
            metadata |= {key: value for key, value in msgspec.to_builtins(facts).items() if key != "name"}
            metadata["dataset"] = facts.name
        artifact = wandb.Artifact(name, type=kept_as, metadata=metadata)
        for file in item.files:
            path = self._place(file, self._folder / str(ordinal), ordinal)
            artifact.add_file(str(path), name=to_artifact_path(file.path), policy="immutable", skip_cache=True)
        if reference is not None:
            # Without a checksum W&B does not read what may be terabytes; the digests are in the file beside.
            artifact.add_reference(reference.uri, name=reference.uri.rsplit("/", 1)[-1] or "files", checksum=False)
        alias = str(item.meta.get("alias") or ("best" if item.kind == "best_model" else ""))
        aliases = ["latest", *([to_artifact_name(alias)] if alias else [])]
        try:
            if item.kind == "dataset":
                # What `use_artifact` does with an artifact that is not logged yet; that one waits until the server has
                # it, and cannot be called offline.
                self._run._log_artifact(artifact, aliases=aliases, is_user_created=True, use_after_commit=True)
            else:
                self._run.log_artifact(artifact, aliases=aliases)
        except ValueError as error:
            raise Refused(f"W&B does not take {item.name!r} as an artifact: {error}", [ordinal]) from error

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
                pass  # another file system, or one without links: copied below
            else:
                return target
        return self._context.materialise([file], folder)[0]


def _type_of(item: Item) -> str:
    return _TYPES.get(item.kind, "artifact")


def _may_be_shown(item: Item) -> bool:
    if item.media == content.FOLDER:
        return item.kind in LISTS or item.kind == "embedding"
    return item.kind in FROM_FILES or (item.kind, item.media) in FROM_CONTENT


def _joined(meta: Mapping[str, Scalar]) -> dict[str, Any]:
    """Captions of a list as one entry: W&B takes 100 entries."""
    captions = {name: str(value) for name, value in meta.items() if name.startswith("caption.")}
    rest = {name: value for name, value in meta.items() if name not in captions}
    return rest | ({"captions": captions} if captions else {})
