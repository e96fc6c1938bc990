"""Reads tables of many types as column names and rows. Pure; imports no package.

In: a pandas DataFrame or Series or an object that converts to one, an arrow or polars table, (columns, rows), a mapping
of columns, or a list of rows with names. Out: column names as text, and rows of cells as they were given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import msgspec

from ranklog.model.text import type_text
from ranklog.values.fields import fields_of
from ranklog.values.plain import NotPlain, key_text, keyed


class Table(msgspec.Struct, frozen=True):
    """A table before its cells are read.

    Attributes:
        columns: Names, each once.
        rows: Cells as they were given.
        changed: In words, which names were changed; empty for none.
    """

    columns: list[str]
    rows: list[list[Any]]
    changed: str = ""


def columns_and_rows(item: Any) -> Table | None:
    """The table in an item; None if it is not a table.

    Raises:
        NotPlain: it is a table, but its rows differ in length or two of its columns have one name.
    """
    table = _of_frame(item) or _of_arrow(item) or _of_polars(item)
    if table is not None:
        return table
    if callable(convert := getattr(item, "to_pandas", None)):
        return columns_and_rows(convert())
    if isinstance(item, Mapping):
        return _of_columns(keyed((fields_of(item) or {}).items()))
    if isinstance(item, (list, tuple)) and item and None not in (rows := [fields_of(row) for row in item]):
        return _of_named_rows([keyed(row.items()) for row in rows if row is not None])
    if isinstance(item, tuple) and len(item) == 2:
        return _checked([key_text(name) for name in _listed(item[0], "columns")], _listed(item[1], "rows"))
    return None


def _of_frame(item: Any) -> Table | None:
    """A pandas DataFrame or Series; an index that is not the default comes first."""
    if hasattr(item, "to_frame") and hasattr(item, "index") and not hasattr(item, "columns"):
        item = item.to_frame()
    if not (hasattr(item, "columns") and hasattr(item, "itertuples")):
        return None
    index = index_columns(item)
    given = [key_text(name) for name in item.columns]
    # The user's own columns keep their names, whatever the index is called.
    names = distinct([*given, *(name for name, _ in index)])
    rows = item.itertuples(index=False, name=None)
    cells = [values for _, values in index]
    data = [[*(values[at] for values in cells), *row] for at, row in enumerate(rows)]
    own = names[: len(given)]
    return Table([*names[len(given) :], *own], data, _changed(given, own))


def index_columns(frame: Any) -> list[tuple[str, list[Any]]]:
    """Names and values of a frame's index; none if it only counts the rows."""
    index = frame.index
    if type(index).__name__ == "RangeIndex" and index.name is None and (index.start, index.step) == (0, 1):
        return []
    names = list(index.names)
    return [
        (
            key_text(name) if name is not None else "index" if len(names) == 1 else f"level_{level}",
            list(index.get_level_values(level)),
        )
        for level, name in enumerate(names)
    ]


def distinct(names: Sequence[str]) -> list[str]:
    """Distinct column names; a repeated name gets a number, as in `pandas.read_csv`.

    Example:
        >>> distinct(["x", "x", "x.1"])
        ['x', 'x.2', 'x.1']
    """
    out: dict[str, None] = {}
    for name in names:
        new, number = name, 1
        while new in out or (new != name and new in names):
            new, number = f"{name}.{number}", number + 1
        out[new] = None
    return list(out)


def _changed(names: Sequence[str], now: Sequence[str]) -> str:
    changed = [f"{new!r} was {name!r}" for name, new in zip(names, now, strict=True) if name != new]
    return f"it has several columns of one name, and {', '.join(changed[:5])}" if changed else ""


def _named(names: Sequence[str], rows: list[list[Any]]) -> Table:
    """A table whose columns may share a name."""
    now = distinct(names)
    return Table(now, rows, _changed(names, now))


def _of_arrow(item: Any) -> Table | None:
    """A pyarrow table or record batch. Its own values are read: pandas would turn ints with gaps into floats."""
    if not (hasattr(item, "schema") and hasattr(item, "column_names") and hasattr(item, "to_pylist")):
        return None
    columns = [column.to_pylist() for column in item.columns]
    return _named([key_text(name) for name in item.column_names], [list(row) for row in zip(*columns, strict=True)])


def _of_polars(item: Any) -> Table | None:
    if not (callable(rows := getattr(item, "rows", None)) and callable(getattr(item, "iter_rows", None))):
        return None
    return Table([key_text(name) for name in item.columns], [list(row) for row in rows()])


def _of_columns(columns: Mapping[str, Any]) -> Table:
    listed = {name: _listed(column, f"column {name!r}") for name, column in columns.items()}
    lengths = {len(column) for column in listed.values()}
    if len(lengths) > 1:
        raise NotPlain(f"its columns have {min(lengths)} to {max(lengths)} rows: give columns of equal length")
    return Table(list(listed), [list(row) for row in zip(*listed.values(), strict=True)])


def _of_named_rows(rows: Sequence[Mapping[str, Any]]) -> Table:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return Table(names, [[row.get(name) for name in names] for row in rows])


def _checked(columns: list[str], rows: Iterable[Any]) -> Table:
    listed = [_listed(row, f"row {number}") for number, row in enumerate(rows)]
    bad = next((number for number, row in enumerate(listed) if len(row) != len(columns)), None)
    if bad is not None:
        raise NotPlain(f"row {bad} is of length {len(listed[bad])}: give {len(columns)} cells, one per column")
    return _named(columns, listed)


def _listed(values: Any, what: str) -> list[Any]:
    if not isinstance(values, (str, bytes, Mapping, Set)):
        try:
            return list(values)
        except (TypeError, ValueError, RuntimeError):
            pass
    raise NotPlain(f"its {what} is {type_text(values)}: give a list")
