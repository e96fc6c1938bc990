"""Reads W&B's offline files: LevelDB log blocks (format of W&B's transaction log) of W&B's own protobuf records."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_HEADER = b":W&B\xe1\xbe\x00"
_BLOCK = 32 * 1024
_FULL, _LAST = 1, 4


def offline_files(savedir: Path) -> list[Path]:
    return sorted((savedir / "wandb").glob("offline-run-*/run-*.wandb"))


def read_records(path: Path) -> Iterator[Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    data = path.read_bytes()
    assert data.startswith(_HEADER), data[:7]
    at, message = len(_HEADER), b""
    while at < len(data):
        left = _BLOCK - at % _BLOCK
        if left < 7:
            at += left
            continue
        checksum, length, kind = struct.unpack_from("<IHB", data, at)
        if not kind:
            at += left
            continue
        body = data[at + 7 : at + 7 + length]
        assert len(body) == length and zlib.crc32(body, zlib.crc32(bytes([kind]))) == checksum, f"damaged at {at}"
        message += body
        at += 7 + length
        if kind in (_FULL, _LAST):
            yield Record.FromString(message)
            message = b""


class OfflineRun:
    """What one offline file holds, as a W&B user would see it."""

    def __init__(self, path: Path) -> None:
        self.directory = path.parent
        self.history: list[dict[str, Any]] = []
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.metrics: list[Any] = []
        self.artifacts: list[Any] = []
        self.alerts: list[Any] = []
        self.logs: list[str] = []
        self.exit_code: int | None = None
        self.preempting = False
        for record in read_records(path):
            match record.WhichOneof("record_type"):
                case "run":
                    self.run = record.run
                case "history":
                    self.history.append(_items(record.history.item))
                case "config":
                    self.config |= _items(record.config.update)
                case "summary":
                    self.summary |= _items(record.summary.update)
                case "metric":
                    self.metrics.append(record.metric)
                case "artifact":
                    self.artifacts.append(record.artifact)
                case "alert":
                    self.alerts.append(record.alert)
                case "output_logger":
                    self.logs.append(record.output_logger.line)
                case "preempting":
                    self.preempting = True
                case "exit":
                    self.exit_code = record.exit.exit_code

    def rows(self, column: str) -> list[tuple[float, Any]]:
        """(user's step, value) of every row that has the column, in the order they were written."""
        return [(row["step"], row[column]) for row in self.history if column in row]

    def media(self, column: str) -> Path:
        (value,) = [row[column] for row in self.history if column in row]
        return self.directory / "files" / value["path"]


def _items(items: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        *parents, leaf = item.nested_key or [item.key]
        node = found
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = json.loads(item.value_json)
    return found
