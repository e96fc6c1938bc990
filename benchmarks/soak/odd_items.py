"""Hypothesis strategies for items with odd but possible content, for every kind of `log`."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import ipaddress
import pathlib
import types
import uuid
from typing import Any

import numpy as np
import pandas as pd
import torch
from hypothesis import strategies as st

from ranklog.model.kinds import KINDS


@dataclasses.dataclass(frozen=True)
class OddCall:
    """One call of a logger.

    Attributes:
        kind: A kind of `log`, or the name of another method.
        item: The logged item.
        name: The identifier; unused for other methods.
        options: Further arguments.
    """

    kind: str
    item: Any
    name: Any
    options: dict[str, Any]

    def __repr__(self) -> str:
        """Short representation, also for deep and recursive items."""
        try:
            return f"{self.kind}: {_short(self.item)}, {self.name!r:.80}, **{_short(self.options)}"
        except Exception as error:  # items may raise anything
            return f"{self.kind}: <{type(self.item).__name__}: {type(error).__name__}>, {self.name!r:.80}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))


def _short(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    return f"{type(value).__module__}.{type(value).__name__}: {dtype or ''} {value!r:.300}"


class Colour(enum.Enum):
    """Enumeration, as in configurations."""

    RED = 1
    GREEN = "green"


class Level(enum.IntEnum):
    """Enumeration of integers."""

    LOW = 1


@dataclasses.dataclass
class Schedule:
    """Configuration with values for which no backend has a type."""

    rate: Any = 0.1
    warm_up: Any = print
    inner: Any = None


Point = collections.namedtuple("Point", ["x", "y"])

FLOATS = (0.0, -0.0, 1.5, 1e-320, 1e200, -1e308, float("nan"), float("inf"), float("-inf"), 1.0 + 4e-16, 255.0, 1e17)
INTS = (0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64, -(2**70), 10**400)
NUMPY_DTYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
    "longdouble", "complex64", "complex128", ">f4", ">i8", "U3", "S3", "datetime64[s]", "timedelta64[ns]", "object",
    [("a", "i4"), ("b", "f8")],
)  # fmt: skip
TORCH_DTYPES = (
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32,
    torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128,
    torch.float8_e4m3fn, torch.float8_e5m2,
)  # fmt: skip
SHAPES = (
    (), (0,), (1,), (2,), (7,), (1, 1), (2, 2), (3, 2), (2, 3, 3), (3, 4, 5), (4, 5, 4), (0, 3, 3), (5, 5, 1),
    (2, 3, 4, 3), (2, 1, 4, 4), (2, 2, 3, 4, 3), (1, 1, 1, 1, 1, 1),
)  # fmt: skip


def _filled(size: int, fill: str, rng: np.random.Generator) -> np.ndarray:
    match fill:
        case "zeros":
            return np.zeros(size)
        case "constant":
            return np.full(size, rng.choice([1e17, 3.4e38, 1.0, -5.0]))
        case "nearly constant":
            return 1e16 + rng.integers(0, 2, size) * 2.0
        case "odd":
            return rng.choice(np.array(FLOATS), size)
        case "unit":
            return rng.random(size)
        case _:
            return rng.integers(-300, 300, size).astype(float)


FILLS = st.sampled_from(["zeros", "constant", "nearly constant", "odd", "unit", "integers"])


@st.composite
def numpy_arrays(draw: st.DrawFn, shapes: st.SearchStrategy[Any] | None = None) -> Any:
    """Arrays of all dtypes: empty, 0-d, strided, reversed, read-only, masked."""
    shape = draw(shapes if shapes is not None else st.sampled_from(SHAPES))
    dtype = draw(st.sampled_from(NUMPY_DTYPES))
    values = _filled(int(np.prod(shape)), draw(FILLS), np.random.default_rng(draw(st.integers(0, 99)))).reshape(shape)
    with np.errstate(all="ignore"):
        try:
            array = values.astype(dtype)
        except (TypeError, ValueError, OverflowError):
            array = np.nan_to_num(values, posinf=9, neginf=-9).clip(-9, 9).astype(np.int64).astype(dtype)
    match draw(st.sampled_from(["plain", "strided", "reversed", "read-only", "fortran", "masked", "scalar"])):
        case "strided" if array.ndim:
            array = np.repeat(array, 2, axis=0)[::2]
        case "reversed" if array.ndim:
            array = array[::-1]
        case "read-only":
            array.setflags(write=False)
        case "fortran":
            array = np.asfortranarray(array)
        case "masked" if array.dtype.kind in "iuf":
            return np.ma.masked_array(array, mask=np.arange(array.size).reshape(array.shape) % 3 == 0)
        case "scalar" if array.size:
            return array.reshape(-1)[0]
    return array


@st.composite
def torch_tensors(draw: st.DrawFn, shapes: st.SearchStrategy[Any] | None = None) -> Any:
    """Tensors of all dtypes: views, sparse, with a gradient, without data."""
    shape = draw(shapes if shapes is not None else st.sampled_from(SHAPES))
    dtype = draw(st.sampled_from(TORCH_DTYPES))
    values = _filled(int(np.prod(shape)), draw(FILLS), np.random.default_rng(draw(st.integers(0, 99)))).reshape(shape)
    tensor = torch.from_numpy(values.copy()).to(dtype)
    match draw(st.sampled_from(["plain", "view", "transposed", "gradient", "sparse", "meta", "conjugate", "expanded"])):
        case "view" if tensor.ndim and dtype in (torch.float32, torch.int64):
            return torch.zeros(1000, *shape, dtype=dtype)[3]
        case "transposed" if tensor.ndim >= 2:
            return tensor.transpose(0, -1)
        case "gradient" if dtype.is_floating_point and dtype.itemsize > 1:
            return tensor.requires_grad_()
        case "sparse" if tensor.ndim and dtype in (torch.float32, torch.int64, torch.complex64):
            return tensor.to_sparse()
        case "meta":
            return tensor.to("meta")
        case "conjugate" if dtype.is_complex:
            return tensor.conj()
        case "expanded" if tensor.ndim and tensor.shape[0]:
            return tensor[:1].expand(4, *tensor.shape[1:])
    return tensor


def arrays(shapes: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[Any]:
    """Arrays and tensors."""
    return numpy_arrays(shapes) | torch_tensors(shapes)


SURROGATE = chr(0xD83D)
TEXTS = st.text(max_size=12) | st.sampled_from(
    [
        "",
        " ",
        f"half {SURROGATE}",
        "a\0b",
        "a\nb\r",
        "\x1b[31m",
        "=1+1",
        "ä" * 200,
        "x" * 5000,
        "<script>",
        '"',
        "a,b",
        "..",
        "/",
    ]
)
NAMES = st.sampled_from(
    ["x", "a/b", "val/loss", "name.txt", "ß ö", "a" * 246, "é" * 127, "p/" + "n" * 255, "CON", "a:b", "%2e"]
) | st.text(max_size=8)
NUMBERS = (
    st.sampled_from(FLOATS)
    | st.sampled_from(INTS)
    | st.booleans()
    | st.sampled_from([decimal.Decimal("0.1"), decimal.Decimal("NaN"), fractions.Fraction(1, 3), 1 + 2j, Level.LOW])
    | numpy_arrays(st.just(()))
    | torch_tensors(st.sampled_from([(), (1,)]))
)
PANDAS = st.sampled_from(
    [
        pd.NA, pd.NaT, pd.Timestamp("2024-01-01", tz="UTC"), pd.Timedelta("1s"), pd.Interval(0, 1),
        pd.Period("2024-01"),
    ]
)  # fmt: skip
SCALARS = (
    NUMBERS
    | TEXTS
    | PANDAS
    | st.sampled_from(
        [
            None, b"bytes\xff", bytearray(b"x"), datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc),
            datetime.date(1, 1, 1), datetime.timedelta(days=1), pathlib.Path("a/b"), uuid.UUID(int=1), Colour.RED,
            ipaddress.ip_address("127.0.0.1"), np.str_("s"), np.datetime64("NaT"), object(), print, int, range(3),
            functools.partial(int, base=2), lambda: 0, slice(1), Ellipsis, torch.float32, np.dtype("f4"),
        ]
    )
)  # fmt: skip
KEYS = TEXTS | st.sampled_from([0, 1, "1", 1.5, True, None, (1, 2), Colour.GREEN, np.int64(3), b"k", float("nan")])


def _recursive_list() -> list[Any]:
    out: list[Any] = [1]
    out.append(out)
    return out


def _recursive_dict() -> dict[str, Any]:
    out: dict[str, Any] = {"a": 1}
    out["self"] = out
    return out


def _deep(levels: int) -> dict[str, Any]:
    out: dict[str, Any] = {"leaf": 1}
    for _ in range(levels):
        out = {"a": out}
    return out


def _hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.sets(SCALARS.filter(_hashable), max_size=2)
        | st.builds(Schedule, inner, inner, inner)
        | st.builds(Point, inner, inner)
        | st.builds(lambda value: types.SimpleNamespace(value=value), inner)
        | st.builds(lambda value: argparse.Namespace(value=value), inner)
    ),
    max_leaves=6,
)
MAPPINGS = (
    st.dictionaries(KEYS, VALUES, max_size=4)
    | st.builds(_recursive_dict)
    | st.builds(lambda: {"list": _recursive_list()})
    | st.builds(_deep, st.sampled_from([3, 200, 5000]))
    | st.just({"a.b": 1, "a": {"b": 2}})
    | st.just({1: "a", "1": "b"})
    | st.just({"ids": np.arange(5000)})
)
CONFIGS = MAPPINGS | st.builds(Schedule, VALUES, VALUES) | st.builds(lambda v: argparse.Namespace(v=v), VALUES)


@st.composite
def data_frames(draw: st.DrawFn) -> pd.DataFrame:
    """Frames with odd columns, cells and indices."""
    rows = draw(st.integers(0, 3))
    columns = draw(st.lists(KEYS.filter(_hashable), min_size=0, max_size=3))
    cells = [[draw(SCALARS) for _ in columns] for _ in range(rows)]
    frame = pd.DataFrame(cells, columns=pd.Index(columns, dtype=object), dtype=object)
    match draw(st.sampled_from(["range", "named", "dates", "multi", "categories"])):
        case "named":
            frame.index = pd.Index([f"row {i}" for i in range(rows)], name="sample")
        case "dates":
            frame.index = pd.date_range("2024-01-01", periods=rows)
        case "multi":
            frame.index = pd.MultiIndex.from_tuples(
                [(i, str(i)) for i in range(rows)] or [(0, "")][:0], names=["i", "j"]
            )
        case "categories" if rows and len(frame.columns):
            frame = frame.assign(kind=pd.Categorical(["a"] * rows))
    return frame


TABLES = (
    data_frames()
    | st.tuples(st.lists(KEYS, max_size=3), st.lists(st.lists(SCALARS, max_size=3), max_size=3))
    | st.dictionaries(KEYS, st.lists(VALUES, max_size=3), max_size=3)
    | st.lists(st.dictionaries(KEYS, VALUES, max_size=3), max_size=3)
    | VALUES
    | arrays()
)
OPTION_NUMBERS = NUMBERS | st.sampled_from(
    [1, 2, 8, 4.0, 44_100, np.int32(5), np.float64(4.0), np.uint8(3), "4", None, -1, 0]
)
CAPTIONS = TEXTS | st.lists(TEXTS, max_size=3) | st.none() | SCALARS


def _module(how: str) -> torch.nn.Module:
    match how:
        case "empty":
            return torch.nn.Identity()
        case "bfloat16":
            return torch.nn.Linear(2, 2).to(torch.bfloat16)
        case "buffer of NaN":
            net = torch.nn.Linear(2, 2)
            net.register_buffer("odd.name".replace(".", "_"), torch.full((2,), float("nan")))
            return net
        case "meta":
            return torch.nn.Linear(2, 2, device="meta")
        case "lazy":
            return torch.nn.LazyLinear(2)
        case _:
            return torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())


BATCHES = st.just(torch.zeros(1, 2)) | arrays()
MODULES = st.builds(
    _module, st.sampled_from(["plain", "plain", "plain", "empty", "bfloat16", "buffer of NaN", "meta", "lazy"])
)


def _figure(how: str) -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(1, 1))
    pyplot.close(figure)
    match how:
        case "NaN":
            axes.plot([0, float("nan"), float("inf")])
        case "bad text":
            axes.set_title("$\\frac{$")
        case "log of negatives":
            axes.set_yscale("log")
            axes.plot([-1, -2])
        case "axes":
            return axes
    return figure


def _plotly(values: Any) -> Any:
    import plotly.graph_objects

    return plotly.graph_objects.Figure({"data": [{"type": "scatter", "y": values}]})


FIGURES = (
    st.builds(_figure, st.sampled_from(["plain", "NaN", "bad text", "log of negatives", "axes"]))
    | st.builds(_plotly, st.lists(st.sampled_from(FLOATS), max_size=3))
    | VALUES
)


def _pil(mode: str) -> Any:
    from PIL import Image

    return Image.new(mode, (3, 2))


PICTURES = (
    arrays()
    | arrays(st.sampled_from([(4, 5), (4, 5, 3), (3, 4, 5), (4, 5, 4), (1, 4, 5)]))
    | st.builds(
        _pil, st.sampled_from(["1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "LAB", "HSV", "YCbCr", "LA"])
    )
    | VALUES
)
LABELS = st.sampled_from([[0, 1, 1], [0, 1], [], [0, 2], [True, False], [0.5, 1], [-1, 1], [float("nan"), 1]])
SCORES = st.sampled_from([[0.1, 0.9, 0.5], [0.1, 0.9], [], [float("nan"), 0.5], [2.0, 0.5], [-1, 0.5], [0.5]])
METRIC = {
    "step": NUMBERS,
    "weight": NUMBERS,
    "reduce": st.sampled_from(["mean", "sum", "min", "std", "median", "stats", "per_rank"]) | VALUES,
    "goal": st.sampled_from(["min", "max"]) | VALUES,
}
ITEMS: dict[str, tuple[st.SearchStrategy[Any], dict[str, st.SearchStrategy[Any]]]] = {
    "metric": (NUMBERS | st.dictionaries(KEYS, NUMBERS, max_size=3) | VALUES | arrays(), METRIC),
    "param": (CONFIGS | VALUES, {}),
    "text": (TEXTS | VALUES, {}),
    "dict": (MAPPINGS | VALUES, {}),
    "table": (TABLES, {}),
    "histogram": (
        arrays()
        | st.lists(NUMBERS, max_size=4)
        | st.tuples(st.lists(NUMBERS, max_size=3), st.lists(NUMBERS, max_size=4))
        | VALUES,
        {"bins": OPTION_NUMBERS},
    ),
    "image": (PICTURES | st.lists(PICTURES, max_size=2), {"caption": CAPTIONS}),
    "figure": (FIGURES | st.lists(FIGURES, max_size=2), {}),
    "audio": (
        arrays(st.sampled_from([(9,), (2, 9), (9, 2)]))
        | arrays()
        | st.lists(NUMBERS, max_size=4)
        | st.lists(arrays(st.just((9,))), max_size=2)
        | VALUES,
        {"sample_rate": OPTION_NUMBERS, "caption": CAPTIONS},
    ),
    "video": (
        arrays(st.sampled_from([(2, 4, 5, 3), (2, 3, 4, 5), (1, 1, 4, 4), (0, 3, 4, 4), (2, 2, 3, 4, 4), ()])) | VALUES,
        {"fps": OPTION_NUMBERS, "caption": CAPTIONS},
    ),
    "html": (TEXTS | st.lists(TEXTS, max_size=2) | VALUES, {}),
    "artifact": (st.binary(max_size=9) | TEXTS.map(lambda text: "no such file " + text) | VALUES, {"policy": VALUES}),
    "dataset": (
        data_frames()
        | arrays()
        | st.tuples(TEXTS, TEXTS, TEXTS)
        | VALUES
        | arrays().map(lambda array: [array])
        | st.just(torch.utils.data.TensorDataset(torch.zeros(3, 1))),
        {},
    ),
    "torch": (arrays() | st.dictionaries(KEYS, arrays() | VALUES, max_size=2) | VALUES, {}),
    "model": (MODULES | VALUES, {"input_example": VALUES, "alias": VALUES, "registered_model_name": VALUES}),
    "best_model": (MODULES | VALUES, {"input_example": VALUES, "alias": VALUES}),
    "graph": (MODULES | MODULES | VALUES, {"input_example": st.just(torch.zeros(1, 2)) | BATCHES | VALUES}),
    "embedding": (
        arrays(st.sampled_from([(3, 2), (2, 2), (5, 3)])) | arrays() | VALUES,
        {"metadata": VALUES, "metadata_header": VALUES, "label_img": arrays() | VALUES},
    ),
    "pr_curve": (
        st.tuples(LABELS | arrays(), SCORES | arrays()) | VALUES,
        {"num_thresholds": OPTION_NUMBERS, "weights": st.lists(NUMBERS, max_size=3) | arrays()},
    ),
    "watch": (MODULES | VALUES, {"log": TEXTS | VALUES, "log_freq": OPTION_NUMBERS, "bins": OPTION_NUMBERS}),
    "alert": (TEXTS | VALUES, {"level": TEXTS | VALUES, "wait_duration": OPTION_NUMBERS | VALUES}),
    "flops_pb": (st.tuples(MODULES, BATCHES) | VALUES, {}),
    "flops_pe": (st.tuples(MODULES, st.lists(BATCHES, max_size=2) | arrays()) | VALUES, {}),
    "system": (st.none() | VALUES, {}),
    "carbon": (st.none(), {}),
    "execution_time": (st.none() | VALUES, {}),
    "prov_documents": (st.none(), {"create_graph": st.just(False), "create_svg": st.just(False)}),
    "log_metrics": (
        st.dictionaries(KEYS, NUMBERS, max_size=3) | MAPPINGS | VALUES,
        {name: values for name, values in METRIC.items() if name != "goal"},
    ),
    "save_hyperparameters": (CONFIGS | VALUES, {}),
    "serialize": (VALUES | arrays() | MAPPINGS, {}),
    "reduce_now": (NUMBERS | VALUES | arrays(), {"op": st.sampled_from(["mean", "max"]) | VALUES, "weight": NUMBERS}),
}


@st.composite
def calls(draw: st.DrawFn, kind: str) -> OddCall:
    """Calls of one kind, mostly with a plain identifier, some with options."""
    item, options = ITEMS[kind]
    common = {"context": st.none() | TEXTS | VALUES} if kind in KINDS else {}
    chosen = st.fixed_dictionaries({}, optional={**options, **common})
    names = st.just(f"odd/{kind}") | NAMES | (st.none() if kind in KINDS and KINDS[kind].nameless else st.nothing())
    return OddCall(kind, draw(item), draw(names), draw(chosen))
