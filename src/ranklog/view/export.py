"""Export of a run for other programs: every record as JSON lines, or the metrics as a long table.

The table has one row per point, by name and step. Superseded points, which a later record of the same step or a later
attempt replaced, come first and have a 1 in the column ``superseded``. The JSON lines hold every record in the order of
the journal, with NaN and infinities as in `ranklog.model.as_json`. Contents above 32 KiB stay in ``blobs/`` and are
named by their SHA-256.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from ranklog.journal.layout import read_facts
from ranklog.journal.reader import JournalReader
from ranklog.model.as_json import to_json, to_plain
from ranklog.model.errors import MissingExtraError
from ranklog.view.index.run_index import RunIndex
from ranklog.view.query import RunView

COLUMNS = ("name", "step", "value", "time_ns", "attempt", "op", "answered", "world_size", "contributed", "superseded")
Row = tuple[str, int, float, int, int, str | None, int | None, int | None, int | None, int]


def write_jsonl(run_dir: Path, file: TextIO) -> None:
    """Write the run's facts, then each record as an object with its ``type``, ``ordinal`` and ``segment``."""
    facts = to_plain(read_facts(run_dir))
    file.write(to_json({"type": "run", "facts": facts}) + "\n")
    for entry in JournalReader(run_dir).poll():
        record = to_plain(entry.record)
        if isinstance(record, dict):
            file.write(to_json({"ordinal": entry.ordinal, "segment": entry.segment, **record}) + "\n")


def write_csv(run_dir: Path, file: TextIO) -> None:
    """Write the metrics with a header; NaN and infinities as ``nan``, ``inf`` and ``-inf``."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(metric_rows(run_dir))


def write_parquet(run_dir: Path, path: Path) -> None:
    """Write the metrics.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("parquet needs pyarrow: pip install pyarrow") from error
    types = ("string", "int64", "float64", "int64", "int64", "string", "int64", "int64", "int64", "int64")
    columns = list(zip(*metric_rows(run_dir), strict=True)) or [()] * len(COLUMNS)
    arrays = [pyarrow.array(column, type=type_) for column, type_ in zip(columns, types, strict=True)]
    parquet.write_table(pyarrow.table(arrays, names=list(COLUMNS)), path)


def metric_rows(run_dir: Path) -> Iterator[Row]:
    """Yield the rows of the long table, with the fields of `COLUMNS`, by name and step."""
    view = RunView(run_dir, index=RunIndex(run_dir))
    for name in view.names:
        points = [(point.step, 1, point) for point in view.superseded(name)]
        points += [(point.step, 0, point) for point in view.series(name)]
        for step, superseded, point in sorted(points, key=lambda each: (each[0], -each[1])):
            covered = point.coverage
            coverage = (covered.answered, covered.world_size, covered.contributed) if covered else (None, None, None)
            yield (name, step, point.value, point.time_ns, point.attempt, point.op, *coverage, superseded)
