"""Files of random bytes, and journals with random changes, passed to the reader.

python -m benchmarks.soak.random_files [--files 100000] [--seed 1]

Half of the files are random. Most of them have a frame's magic and a plausible head, so the reader trusts lengths and
counts as far as possible. The other half are real journals with changed, removed or repeated bytes. The trial measures
the exceptions of the reader, and its peak memory above that of Python before.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import struct
import tempfile
import time
from pathlib import Path

import msgspec

from ranklog.journal.frame import MAGIC, encode_frame
from ranklog.journal.layout import segment_name
from ranklog.journal.reader import JournalReader
from ranklog.model.record import File as ItemFile
from ranklog.model.record import Item, Metrics, Record

RESULTS = Path(__file__).with_name("results")
LARGEST = 4096


class Read(msgspec.Struct, frozen=True):
    """Results for the files.

    Attributes:
        files: Number of files.
        raised: Exceptions of the reader, with their number by name.
        records: Records returned by the reader.
        damaged: Files with reported damage.
        memory_mib: Peak memory above the start.
        longest_ms: Longest time for one file.
    """

    files: int
    raised: dict[str, int]
    records: int
    damaged: int
    memory_mib: float
    longest_ms: float


def read_random(files: int, seed: int, folder: Path) -> Read:
    """Write and read ``files`` files."""
    chance = random.Random(seed)
    whole = _journal()
    path = folder / segment_name(0)
    raised: dict[str, int] = {}
    records = damaged = 0
    longest_s = 0.0
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(files):
        path.write_bytes(_random(chance) if chance.random() < 0.5 else _changed(chance, whole))
        started_s = time.perf_counter()
        try:
            reader = JournalReader(folder)
            records += sum(1 for _ in reader.poll())
            damaged += bool(reader.damage or reader.tail)
        except Exception as error:
            raised[type(error).__name__] = raised.get(type(error).__name__, 0) + 1
        longest_s = max(longest_s, time.perf_counter() - started_s)
    memory_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024
    return Read(files, raised, records, damaged, memory_mib, longest_s * 1e3)


def _journal() -> bytes:
    item = Item("text", "note", 1, 0, -1, 0, "text/plain", (ItemFile("note.txt", 2, "0" * 64, b"hi"),))
    batches: list[list[Record]] = [
        [Metrics(step, step, -1, {"loss": 1.0, "acc": 0.5}) for step in range(first, first + 5)]
        for first in range(0, 50, 5)
    ]
    frames = [encode_frame([*batch, item], number * 6) for number, batch in enumerate(batches)]
    return b"".join(frames)


def _random(chance: random.Random) -> bytes:
    body = chance.randbytes(chance.randrange(LARGEST))
    kind = chance.randrange(3)
    if kind == 0:
        return body
    length = chance.choice([len(body), chance.getrandbits(32), chance.getrandbits(16), 0, 2**26, 2**32 - 1])
    head = struct.pack("<IQII", length, chance.getrandbits(63), chance.getrandbits(31), chance.getrandbits(32))
    return (MAGIC + head + body) * (1 if kind == 1 else chance.randrange(1, 20))


def _changed(chance: random.Random, whole: bytes) -> bytes:
    data = bytearray(whole)
    for _ in range(chance.randrange(1, 6)):
        start = chance.randrange(len(data))
        end = min(len(data), start + chance.randrange(1, 200))
        kind = chance.randrange(4)
        if kind == 0:
            data[start] = chance.randrange(256)
        elif kind == 1:
            del data[start:end]
        elif kind == 2:
            data[start:start] = data[start:end]
        else:
            data[start:end] = chance.randbytes(end - start)
        if not data:
            break
    return bytes(data)


def main() -> None:
    """Run the trial and write its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = read_random(given.files, given.seed, Path(folder))
    text = json.dumps({"seed": given.seed, **msgspec.to_builtins(found)}, indent=1)
    (RESULTS / "random_files.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
