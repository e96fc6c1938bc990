"""Makes the parcel of one item: encodes it, and copies now what may change after the call returns."""

from __future__ import annotations

import re
import shutil
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from ranklog.capture.drain import Parcel
from ranklog.capture.encode import FOLDER, Content, Encoded, encode, file_name, folder_contents
from ranklog.model.errors import RanklogWarning
from ranklog.model.kinds import KINDS
from ranklog.model.record import File, Item
from ranklog.model.spec import Scalar
from ranklog.model.text import storable

if TYPE_CHECKING:
    from ranklog.capture.session import Session

READ_AT_ONCE_BYTES = 4 * 1024 * 1024

_STREAM = re.compile(r"iostream|PytorchStreamWriter|file write failed")
_ignored: set[tuple[str, str]] = set()


class _RefusedError(Exception):
    """The disk of the run directory refuses."""


def make_parcel(
    session: Session, item: Any, name: str, kind: str, *, step: int, to: int, options: Mapping[str, Any]
) -> Parcel | None:
    """Encode one item for the drain thread.

    Files above `READ_AT_ONCE_BYTES` and models are copied to the run directory before this returns. Where the disk
    refuses that, the item is lost, which is warned about and counted: None.

    Raises:
        InvalidItemError: the kind cannot store such an item.
        OSError: a file to be logged cannot be read.
    """
    known = _options(kind, options)
    meta: dict[str, Scalar] = {
        option: storable(value) if isinstance(value, str) else value
        for option, value in known.items()
        if isinstance(value, (str, int, float, bool))
    }
    try:
        if kind in ("model", "best_model"):
            encoded, stored = _model(session, item, name, kind, known.get("input_example"))
            contents: tuple[Content | File, ...] = stored
        else:
            encoded = encode(item, name, kind, meta)
            contents = tuple(_snapshot(session, content) for content in encoded.contents)
    except _RefusedError as refused:
        session.lose_item(f"{kind} {name!r} is lost: it cannot be copied to {session.run_dir()}: {refused}")
        return None
    record = Item(kind, name, step, time.time_ns(), to, session.place.rank, encoded.media, (), meta)
    return Parcel(record, contents)


def _options(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that the kind has; others are named once, since code of other loggers passes what only they know."""
    known = KINDS[kind].options
    for option in options:
        if option not in known and (kind, option) not in _ignored:
            _ignored.add((kind, option))
            takes = ", ".join(known) or "none"
            warnings.warn(
                f"ranklog: option {option}= of kind={kind!r} is ignored (it takes: {takes})",
                RanklogWarning,
                stacklevel=5,
            )
    return {option: value for option, value in options.items() if option in known}


def _snapshot(session: Session, content: Content) -> Content | File:
    if not isinstance(content.source, Path):
        return content
    if content.source.stat().st_size <= READ_AT_ONCE_BYTES:
        return Content(content.path, content.source.read_bytes())
    return _store(session, content)


def _store(session: Session, content: Content) -> File:
    try:
        return session.store(content, False)
    except OSError as error:
        raise _RefusedError(str(error)) from error


def _model(session: Session, model: Any, name: str, kind: str, input_example: Any) -> tuple[Encoded, tuple[File, ...]]:
    from ranklog.capture.encode_torch import save_model

    file_name(name)
    for_mlflow = any(spec.backend == "mlflow" for spec in session.config.specs)
    folder = session.run_dir() / f".model-{token_hex(6)}"
    try:
        try:
            save_model(model, name, kind, folder, for_mlflow=for_mlflow, input_example=input_example)
        except (OSError, RuntimeError) as error:
            # torch tells of a disk that refuses in the words of its C++ streams.
            if isinstance(error, OSError) or _STREAM.search(str(error)):
                raise _RefusedError(str(error)) from error
            raise
        contents = folder_contents(folder)
        return Encoded(FOLDER, contents), tuple(_store(session, content) for content in contents)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
