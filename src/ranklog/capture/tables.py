"""Tables of every shape as names of columns and rows. Pure; imports no package.

In: a DataFrame or Series of pandas or what turns into one, an arrow or polars table, (columns, rows), a mapping of
columns, a list of rows with names. Out: texts and rows of cells as they were given.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from ranklog.capture.fields import fields_of
from ranklog.capture.options import levels_to_the_user
from ranklog.capture.plain import NotPlain, key_text, keyed
from ranklog.model.errors import RanklogWarning

Table = tuple[list[str], list[list[Any]]]


def columns_and_rows(item: Any) -> Table | None:
    """The table in an item; None where there is none.

    Raises:
        NotPlain: it is a table, but a ragged one, or two of its columns have one name.
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
    """A frame of pandas, or a series: an index that says something comes first."""
    if hasattr(item, "to_frame") and hasattr(item, "index") and not hasattr(item, "columns"):
        item = item.to_frame()
    if not (hasattr(item, "columns") and hasattr(item, "itertuples")):
        return None
    index = index_columns(item)
    given = [key_text(name) for name in item.columns]
    # Names of the user's own columns stay, whatever the index is called.
    names = distinct([*given, *(name for name, _ in index)], index=len(given))
    rows = item.itertuples(index=False, name=None)
    cells = [values for _, values in index]
    data = [[*(values[at] for values in cells), *row] for at, row in enumerate(rows)]
    return [*names[len(given) :], *names[: len(given)]], data


def index_columns(frame: Any) -> list[tuple[str, list[Any]]]:
    """Names and values of a frame's index; none where it only counts the rows."""
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


def distinct(names: Sequence[str], index: int | None = None) -> list[str]:
    """Names of columns; a second one of a name gets a number behind it, as pandas has it when it reads a file.

    Args:
        names: As they were given.
        index: From which position on they name an index: such a name changes without a warning.
    """
    out: dict[str, None] = {}
    changed: list[str] = []
    for position, name in enumerate(names):
        new, number = name, 1
        while new in out or (new != name and new in names):
            new, number = f"{name}.{number}", number + 1
        out[new] = None
        if new != name and (index is None or position < index):
            changed.append(f"{name!r} is now {new!r}")
    if changed:
        warnings.warn(
            f"ranklog: a table has two columns of one name: {', '.join(changed[:5])}",
            RanklogWarning,
            stacklevel=levels_to_the_user(),
        )
    return list(out)


def _of_arrow(item: Any) -> Table | None:
    """A table or record batch of pyarrow: its own values, where pandas would turn ints with gaps into floats."""
    if not (hasattr(item, "schema") and hasattr(item, "column_names") and hasattr(item, "to_pylist")):
        return None
    columns = [column.to_pylist() for column in item.columns]
    return distinct([key_text(name) for name in item.column_names]), [list(row) for row in zip(*columns, strict=True)]


def _of_polars(item: Any) -> Table | None:
    if not (callable(rows := getattr(item, "rows", None)) and callable(getattr(item, "iter_rows", None))):
        return None
    return [str(name) for name in item.columns], [list(row) for row in rows()]


def _of_columns(columns: Mapping[str, Any]) -> Table:
    listed = {name: _listed(column, f"column {name!r}") for name, column in columns.items()}
    lengths = {len(column) for column in listed.values()}
    if len(lengths) > 1:
        raise NotPlain(f"it has columns of different lengths, {min(lengths)} to {max(lengths)}: give as many each")
    return list(listed), [list(row) for row in zip(*listed.values(), strict=True)]


def _of_named_rows(rows: Sequence[Mapping[str, Any]]) -> Table:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return names, [[row.get(name) for name in names] for row in rows]


def _checked(columns: list[str], rows: Iterable[Any]) -> Table:
    listed = [_listed(row, f"row {number}") for number, row in enumerate(rows)]
    bad = next((number for number, row in enumerate(listed) if len(row) != len(columns)), None)
    if bad is not None:
        raise NotPlain(f"it has {len(columns)} columns and a row of {len(listed[bad])} cells (row {bad})")
    return distinct(columns), listed


def _listed(values: Any, what: str) -> list[Any]:
    if not isinstance(values, (str, bytes, Mapping, Set)):
        try:
            return list(values)
        except (TypeError, ValueError, RuntimeError):
            pass
    raise NotPlain(f"its {what} is a {type(values).__qualname__}: give a list")
