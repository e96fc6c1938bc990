"""Values of metrics as columns, and their conversion for numpy, pandas, polars and Arrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from numpy.typing import NDArray

from ranklog.model.errors import MissingExtraError

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow  # type: ignore[import-untyped]

COLUMNS = ("name", "step", "time", "value", "rank", "attempt", "op", "answered", "world_size", "superseded")
NONE = -1
"""A rank, or a number of ranks, that a value does not have; a missing value in other libraries."""
_NULLABLE = ("rank", "answered", "world_size")


class Bucket(msgspec.Struct, frozen=True):
    """NaN and infinities in a bucket of a sampled metric.

    Attributes:
        name: Name of the metric.
        start: Position on the axis of the first value of the bucket.
        nan: Number of NaN.
        posinf: Number of values that are +Inf.
        neginf: Number of values that are -Inf.
    """

    name: str
    start: float
    nan: int
    posinf: int
    neginf: int


class Frame:
    """Values of metrics, one row per value, by metric and position on the axis.

    Columns: ``name``; ``step``; ``time`` (UTC); ``value``; ``rank`` of a series per rank; ``attempt`` that logged the
    value; ``op``, its reduction; ``answered`` and ``world_size``, the ranks that took part in the reduction and all
    ranks; ``superseded``, whether a later record replaced it. An axis other than step and time adds the column ``x``.

    Attributes:
        columns: Names of the columns.
        buckets: For sampled metrics, the buckets that hold NaN or infinities.
    """

    def __init__(self, columns: dict[str, NDArray[Any]], buckets: tuple[Bucket, ...] = ()) -> None:
        self._columns = columns
        self.columns = tuple(columns)
        self.buckets = buckets

    def __len__(self) -> int:
        return len(self._columns["step"])

    def __repr__(self) -> str:
        names = dict.fromkeys(self._columns["name"].tolist())
        return f"<Frame: {len(self)} values of {', '.join(names) or 'no metric'}>"

    def numpy(self) -> dict[str, NDArray[Any]]:
        """Return the columns as arrays: int64, float64, bool, ``datetime64[ns]``, and objects for text.

        A rank, or a number of ranks, that a value does not have is -1, and its ``op`` is None.
        """
        return dict(self._columns)

    def pandas(self) -> pandas.DataFrame:
        """Return a DataFrame; missing numbers of ranks are ``NA`` of type ``Int64``.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingExtraError("this needs pandas: pip install pandas") from error
        frame = pandas.DataFrame(self._columns)
        frame["time"] = frame["time"].dt.tz_localize("UTC")
        for column in _NULLABLE:
            frame[column] = frame[column].astype("Int64").mask(frame[column] == NONE)
        return frame

    def polars(self) -> polars.DataFrame:
        """Return a DataFrame; missing numbers of ranks are null.

        Raises:
            MissingExtraError: polars or pyarrow is not installed.
        """
        try:
            import polars
        except ImportError as error:
            raise MissingExtraError("this needs polars: pip install polars pyarrow") from error
        return polars.DataFrame(self.arrow())

    def arrow(self) -> pyarrow.Table:
        """Return a table; missing numbers of ranks are null.

        Raises:
            MissingExtraError: pyarrow is not installed.
        """
        try:
            import pyarrow
        except ImportError as error:
            raise MissingExtraError("this needs pyarrow: pip install pyarrow") from error
        arrays = {}
        for name, column in self._columns.items():
            missing = column == NONE if name in _NULLABLE else None
            kind = pyarrow.string() if column.dtype == object else None
            arrays[name] = pyarrow.array(column, type=kind, mask=missing)
        table = pyarrow.table(arrays)
        utc = table["time"].cast(pyarrow.timestamp("ns", "UTC"))
        return table.set_column(table.schema.get_field_index("time"), "time", utc)
