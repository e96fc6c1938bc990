"""Encodes an item in the training thread, so that `log` stores a snapshot of it.

In: a call whose kind names an encoder in the table of kinds. Out: a record and its contents, to the sink. The encoders
are in the modules of this room, one noun per module; they import large packages at first use. An item that is not
stored exactly as it was given is reported, once per name.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ranklog.abc import Call, Content, Encoded, Sink
from ranklog.items.file_names import file_name
from ranklog.items.files import ship
from ranklog.items.options import kept_options, known_options, typed_option, typed_options
from ranklog.model import content
from ranklog.model.errors import InvalidItemError, RanklogError
from ranklog.model.kinds import KINDS, Kind, named
from ranklog.model.options import POLICY
from ranklog.model.record import Item
from ranklog.model.spec import Scalar
from ranklog.model.text import storable
from ranklog.values.local import reading, text_of
from ranklog.values.refusing import refusing


def take(call: Call, sink: Sink) -> None:
    """Encode one item and submit it.

    Raises:
        InvalidItemError: the kind cannot store such an item, or a file to be logged cannot be read.
        InvalidArgumentError: an option is not allowed, or the identifier cannot name a file.
        MissingExtraError: a package that the kind needs is missing.
    """
    with reading(call.what):
        options = known_options(call.kind, call.options)
        policy = typed_option(POLICY, options.get("policy", "mutable"))
        with refusing(call.what):
            encoded = encode(call.item, call.name, call.kind, options)
            if encoded.changed:
                sink.report(
                    f"changed_{call.kind}",
                    f"{call.what} is not stored as it was given: {encoded.changed}",
                    about=f"{call.name}: {re.sub('[0-9]+', '', encoded.changed)}",
                )
            record = record_of(call, options, encoded, sink.place.rank, call.to)
            ship(sink, record, encoded.contents, policy)


def record_of(call: Call, options: Mapping[str, Any], encoded: Encoded, rank: int, to: int) -> Item:
    """The record of an encoded item, without its files."""
    meta = {**kept_options(call.kind, options), **encoded.meta}
    return Item(call.kind, call.name, call.step, time.time_ns(), to, rank, encoded.media, (), meta)


def encode(item: Any, name: str, kind: str, options: Mapping[str, Any]) -> Encoded:
    """Encode one item, or a list of items where the kind has lists.

    Raises:
        InvalidItemError: the kind cannot store such an item.
        InvalidArgumentError: the identifier cannot name a file, or an option is not allowed.
        MissingExtraError: a package that the kind needs is missing.
    """
    row = KINDS[kind]
    try:
        given = typed_options(row, options)
        if row.lists is not None and (found := named(row.lists)(item, f"{kind} {name!r}")) is not None:
            items, changed = found
            return _encode_list(items, changed, name, row, given)
        return _captioned(_encode_one(item, name, row, given), name, row, given)
    except (RanklogError, OSError, MemoryError):
        raise
    except Exception as error:  # methods of the user's own item may raise anything
        raise InvalidItemError(f"{kind} {name!r} cannot be stored: {type(error).__name__}: {error}") from error


def _encode_one(item: Any, name: str, row: Kind, options: Mapping[str, Any]) -> Encoded:
    if row.encoder is None:
        raise InvalidItemError(f"{row.name} {name!r} is not stored as an item: log it with log()")
    encoded: Encoded = named(row.encoder)(item, name, options)
    return encoded


def _encode_list(items: Sequence[Any], changed: str, name: str, row: Kind, options: Mapping[str, Any]) -> Encoded:
    if len(items) == 0:
        raise InvalidItemError(f"{row.name} {name!r} is an empty list: give {row.accepts}")
    file_name(name)
    captions = _captions(options, len(items), name, row)
    width = max(3, len(str(len(items) - 1)))
    contents: list[Content] = []
    meta: dict[str, Scalar] = {}
    changes = {changed: None}
    for index, item in enumerate(items):
        encoded = _encode_one(item, f"{index:0{width}d}", row, options)
        contents += encoded.contents
        meta |= encoded.meta
        changes[encoded.changed] = None
        if captions[index] is not None:
            meta[f"caption.{index}"] = storable(text_of(captions[index], "caption="))
    return Encoded(content.FOLDER, tuple(contents), meta, "; ".join(filter(None, changes)))


def _captions(options: Mapping[str, Any], count: int, name: str, row: Kind) -> Sequence[Any]:
    """A caption or None per item; a caption that is not a list holds for all of them."""
    given: Any = options.get("caption")
    given = given.tolist() if hasattr(given, "tolist") else given
    captions: Sequence[Any] = given if isinstance(given, (list, tuple)) else [given] * count
    if len(captions) != count:
        raise InvalidItemError(
            f"{row.name} {name!r} has {count} items and {len(captions)} captions: give one caption per item"
        )
    return captions


def _captioned(encoded: Encoded, name: str, row: Kind, options: Mapping[str, Any]) -> Encoded:
    """One item with its caption, which may be a list of one."""
    if options.get("caption") is None:
        return encoded
    (caption,) = _captions(options, 1, name, row)
    meta = encoded.meta if caption is None else encoded.meta | {"caption": storable(text_of(caption, "caption="))}
    return msgspec.structs.replace(encoded, meta=meta)
