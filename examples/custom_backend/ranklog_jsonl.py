"""ranklog backend that writes one JSON line per record to ``<savedir>/<run_id>.jsonl``, and files to a folder.

Each line has the number of the record in the run as ``ordinal``. Delivery is at least once, so the same records may
arrive again after a crash. `open` cuts off an incomplete last line and finds the last ordinal. `deliver` skips records
up to it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import msgspec

from ranklog.abc import RunContext
from ranklog.model.record import Entry, Item, Status


class JsonlBackend:
    """Writes JSON lines to the folder given by the option ``savedir``."""

    def open(self, *, context: RunContext) -> dict[str, str]:
        """Open the file. The return value is stored and passed to the next `open`."""
        self._context = context
        folder = context.savedir
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / f"{context.facts.run_id}.jsonl"
        self._files = folder / f"{context.facts.run_id}.files"
        self._lines = open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")  # noqa: PTH123, SIM115
        content = self._lines.read()
        whole = content.rfind(b"\n") + 1
        self._lines.truncate(whole)
        self._lines.seek(whole)
        last = content[:whole].splitlines()[-1:]
        self._next = json.loads(last[0])["ordinal"] + 1 if last else 0
        return {"run_id": context.facts.run_id, "url": path.as_uri()}

    def deliver(self, *, entries: Sequence[Entry]) -> None:
        """Append one line per record. The records count as delivered when this returns."""
        for entry in entries:
            if entry.ordinal >= self._next:
                self._append(entry)
                self._next = entry.ordinal + 1
        self._lines.flush()
        os.fsync(self._lines.fileno())

    def close(self, *, status: Status | None, timeout_s: float) -> None:
        """Close the file. A status of None means that the run may continue later."""
        self._lines.close()

    def _append(self, entry: Entry) -> None:
        line = {"ordinal": entry.ordinal, "type": type(entry.record).__name__}
        for name in entry.record.__struct_fields__:
            line[name] = getattr(entry.record, name)
        if isinstance(entry.record, Item):
            paths = self._context.materialise(entry.record.files, self._files / str(entry.ordinal))
            line["files"] = [str(path.relative_to(self._files.parent)) for path in paths]
        self._lines.write(json.dumps(msgspec.to_builtins(line)).encode() + b"\n")
