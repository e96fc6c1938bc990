"""Turns items of every kind into their canonical bytes, in the training thread: what is logged is a snapshot.

In: an item, its identifier and kind. Out: an `Encoded`: media type and contents, each bytes or a path of a file
that the caller copies. What a kind becomes is in the modules beside this one; large packages are imported at first use.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from ranklog.capture.encode_data import encode_dataset
from ranklog.capture.encode_media import encode_figure, encode_image, encode_video
from ranklog.capture.encode_numbers import encode_embedding, encode_histogram, encode_pr_curve
from ranklog.capture.encode_plain import (
    encode_alert,
    encode_dict,
    encode_html,
    encode_prov_documents,
    encode_table,
    encode_text,
)
from ranklog.capture.encode_sound import encode_audio
from ranklog.capture.encoded import Content, Encoded, file_name, wrong_item
from ranklog.model import content
from ranklog.model.errors import InvalidItemError
from ranklog.model.kinds import KINDS
from ranklog.model.spec import Scalar
from ranklog.model.text import short_part, storable

_LONGEST_NAME = 255
"""In bytes, of a file or folder."""


def encode(item: Any, name: str, kind: str, options: Mapping[str, Any]) -> Encoded:
    """Encode an item of any kind that is not measured, watched, traced or saved by the modules of its own.

    Raises:
        InvalidItemError: when the kind cannot store such an item.
        InvalidArgumentError: when the identifier cannot name a file, or an option is not allowed.
        MissingExtraError: a package that the kind needs is missing.
    """
    if KINDS[kind].lists and (items := _listed(item, kind)) is not None:
        return _encode_list(items, name, kind, options)
    return _encode_one(item, name, kind, options)


def _listed(item: Any, kind: str) -> Sequence[Any] | None:
    """The items of a list of items; None where it is one item."""
    if isinstance(item, (list, tuple)):
        # A list of numbers is a sound, a list of sounds is several.
        one = kind == "audio" and item and isinstance(item[0], (int, float))
        return None if one else item
    dimensions = {"image": 4, "video": 5}.get(kind)
    return item if dimensions is not None and getattr(item, "ndim", 0) == dimensions else None


def _encode_list(items: Sequence[Any], name: str, kind: str, options: Mapping[str, Any]) -> Encoded:
    if len(items) == 0:
        raise InvalidItemError(f"{kind} {name!r} is an empty list: give {KINDS[kind].accepts}")
    file_name(name)
    given = options.get("caption")
    captions: Sequence[Any] = given if isinstance(given, (list, tuple)) else [given] * len(items)
    if len(captions) != len(items):
        raise InvalidItemError(f"{kind} {name!r} has {len(items)} items and {len(captions)} captions: give as many")
    width = max(3, len(str(len(items) - 1)))
    contents: list[Content] = []
    meta: dict[str, Scalar] = {}
    for index, item in enumerate(items):
        encoded = _encode_one(item, f"{index:0{width}d}", kind, options)
        contents += encoded.contents
        meta |= encoded.meta
        if captions[index] is not None:
            meta[f"caption.{index}"] = storable(str(captions[index]))
    return Encoded(content.FOLDER, tuple(contents), meta)


def _artifact(item: object, name: str) -> Encoded:
    path = file_name(name)
    media = mimetypes.guess_type(path)[0] or "application/octet-stream"
    if isinstance(item, (bytes, bytearray, memoryview)):
        return Encoded(media, (Content(path, bytes(item)),))
    if not isinstance(item, (str, Path)):
        raise wrong_item(item, name, "artifact")
    source = Path(item)
    if source.is_file():
        return Encoded(media, (Content(path, source),))
    if source.is_dir():
        return Encoded(content.FOLDER, folder_contents(source))
    raise InvalidItemError(f"artifact {name!r}: no file or folder at {str(source)!r}")


def folder_contents(folder: Path) -> tuple[Content, ...]:
    """Every regular file below a folder, by its relative path."""
    files: Sequence[Path] = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(Content(_member(path.relative_to(folder)), path) for path in files)


def _member(path: PurePath) -> str:
    """Path of a file in a folder; a name that is no Unicode becomes longer, and may be too long then."""
    parts = map(storable, path.parts)
    return "/".join(part if len(part.encode()) <= _LONGEST_NAME else short_part(part) for part in parts)


def _encode_one(item: Any, name: str, kind: str, options: Mapping[str, Any]) -> Encoded:
    match kind:
        case "text" | "dict" | "table" | "html":
            return _PLAIN[kind](item, name)
        case "alert":
            return encode_alert(item, name, options)
        case "prov_documents":
            return encode_prov_documents(name, options)
        case "histogram" | "pr_curve" | "embedding":
            return _encode_numbers(item, name, kind, options)
        case "image" | "figure" | "audio" | "video":
            return _encode_media(item, name, kind, options)
        case "dataset":
            return encode_dataset(item, name)
        case "artifact":
            return _artifact(item, name)
        case _:
            from ranklog.capture.encode_torch import encode_tensors

            return Encoded(content.TORCH, (Content(file_name(name, ".pt"), encode_tensors(item, name)),))


_PLAIN: dict[str, Callable[[Any, str], Encoded]] = {
    "text": encode_text,
    "dict": encode_dict,
    "table": encode_table,
    "html": encode_html,
}


def _encode_numbers(item: Any, name: str, kind: str, options: Mapping[str, Any]) -> Encoded:
    match kind:
        case "histogram":
            return encode_histogram(item, name, options.get("bins", 64))
        case "pr_curve":
            return encode_pr_curve(item, name, options.get("num_thresholds", 127), options.get("weights"))
        case _:
            return encode_embedding(item, name, options)


def _encode_media(item: Any, name: str, kind: str, options: Mapping[str, Any]) -> Encoded:
    match kind:
        case "image":
            return encode_image(item, name)
        case "figure":
            return encode_figure(item, name)
        case "audio":
            return encode_audio(item, name, options.get("sample_rate", 44_100))
        case _:
            return encode_video(item, name, options.get("fps", 4))
