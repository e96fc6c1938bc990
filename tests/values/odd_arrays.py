"""Strategies for arrays, tensors and lists of every dtype, shape, layout and content, for property tests."""

from __future__ import annotations

import warnings
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

NUMPY_DTYPES = [
    *("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "g", "c8", "c16", "G"),
    *(">i4", ">f8", ">u2", "U3", "S3", "M8[s]", "m8[ms]"),
]
TORCH_DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
    *(torch.bool, torch.complex64, torch.complex128),
]
LAYOUTS = ["plain", "sparse", "csr", "meta", "grad", "conj", "quantized", "expanded", "part", "subclass", "parameter"]

ODD_FLOATS = st.sampled_from(
    [
        *(0.0, -0.0, 1.0, -1.0, 0.5, 255.0, 256.0, 1e17, -1e17, 1e200, 1.7e308, -1.7e308, 5e-324, 1e-310, 3.5e38),
        *(float("nan"), float("inf"), float("-inf"), 1.0 + 2**-52),
    ]
)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5)
LIKELY_SHAPES = st.sampled_from(
    [
        *((), (1,), (1, 1), (6,), (0,), (0, 3), (4, 5), (3, 4, 5), (4, 5, 3), (4, 5, 4), (2, 2, 1)),
        *((2, 3, 4, 5), (2, 4, 5, 3)),
    ]
)


class Named(torch.Tensor):
    """A class of tensors of somebody's own."""


@st.composite
def numpy_arrays(draw: st.DrawFn) -> Any:
    """Arrays of every kind that numpy has."""
    dtype = np.dtype(draw(st.sampled_from(NUMPY_DTYPES)))
    shape = draw(st.one_of(SHAPES, LIKELY_SHAPES))
    if dtype.kind == "f" and draw(st.booleans()):
        with np.errstate(all="ignore"):
            array = draw(hnp.arrays(np.float64, shape, elements=ODD_FLOATS)).astype(dtype)
    else:
        array = draw(hnp.arrays(dtype, shape))
    how = draw(st.sampled_from(["plain", "object", "turned", "strided", "read-only", "masked", "matrix", "fields"]))
    if how == "object":
        return array.astype(object)
    if how == "turned":
        return array.T
    if how == "strided":
        return np.repeat(array, 2, axis=-1)[..., ::2] if array.ndim else array
    if how == "read-only":
        array.flags.writeable = False
    if how == "masked":
        return np.ma.array(array, mask=draw(hnp.arrays(bool, array.shape)))
    if how == "matrix" and array.ndim == 2:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asmatrix(array)
    if how == "fields":
        return np.zeros(array.shape, dtype=[("a", "i4"), ("b", "f8")])
    return array


@st.composite
def tensors(draw: st.DrawFn) -> Any:
    """Tensors of every dtype and layout that can be made on a CPU."""
    dtype, shape = draw(st.sampled_from(TORCH_DTYPES)), draw(st.one_of(SHAPES, LIKELY_SHAPES))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        source = draw(hnp.arrays(np.float64, shape, elements=st.one_of(ODD_FLOATS, st.floats(-300, 300))))
        if dtype.is_floating_point or dtype.is_complex:
            tensor = torch.tensor(source).to(dtype)
        else:
            tensor = torch.tensor(np.nan_to_num(source).clip(0, 300)).to(dtype)
        try:
            return _laid_out(tensor, draw(st.sampled_from(LAYOUTS)))
        except Exception:  # not every dtype and shape has every layout
            return tensor


def _laid_out(tensor: torch.Tensor, how: str) -> Any:
    makers = {
        "plain": lambda: tensor,
        "sparse": tensor.to_sparse,
        "csr": lambda: tensor.to_sparse_csr(),
        "meta": lambda: tensor.to("meta"),
        "grad": lambda: tensor.requires_grad_() * 1,
        "conj": lambda: tensor.conj().imag if tensor.is_complex() else tensor,
        "quantized": lambda: torch.quantize_per_tensor(torch.nan_to_num(tensor.float(), 0, 1, 0), 0.5, 3, torch.qint8),
        "expanded": lambda: tensor.unsqueeze(0).expand(3, *tensor.shape),
        "part": lambda: torch.cat([tensor.reshape(-1), torch.zeros(5000, dtype=tensor.dtype)])[: tensor.numel()].view(
            tensor.shape
        ),
        "subclass": lambda: tensor.as_subclass(Named),
        "parameter": lambda: torch.nn.Parameter(tensor),
    }
    return makers[how]()


SCALARS = st.one_of(
    ODD_FLOATS,
    st.integers(-(2**70), 2**70),
    st.sampled_from([10**400, None, "1.5", b"1", 1j, True, Decimal("0.5"), Decimal("1e400"), Fraction(1, 3), object()]),
    st.sampled_from([np.float16(2), np.int8(-1), np.uint64(2**64 - 1), np.bool_(True), np.complex64(1j), np.str_("x")]),
    st.sampled_from([np.longdouble(0.5), np.datetime64("2020-01-01"), np.timedelta64(1, "s"), np.ma.masked]),
)

ITEMS = st.recursive(
    st.one_of(numpy_arrays(), tensors(), SCALARS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.sampled_from(["a", "b", "\ud800"]), inner, max_size=2),
    ),
    max_leaves=6,
)
"""Anything that a kind made of numbers may be given, possible or not."""


@st.composite
def real_arrays(draw: st.DrawFn, *shapes: tuple[int, ...]) -> Any:
    """Arrays and tensors of real numbers in shapes that a kind takes, with possible and odd contents."""
    dtype, shape = np.dtype(draw(st.sampled_from(REAL_DTYPES))), draw(st.sampled_from(shapes))
    if dtype.kind == "f":
        contents = st.sampled_from(
            [st.floats(0, 1), st.floats(-1, 1), st.floats(0, 255), st.floats(-300, 300), ODD_FLOATS]
        )
        with np.errstate(all="ignore"):
            array = draw(hnp.arrays(np.float64, shape, elements=draw(contents))).astype(dtype)
    else:
        array = draw(hnp.arrays(dtype, shape))
    native = dtype.isnative and dtype != np.longdouble
    return torch.from_numpy(array.copy()) if native and draw(st.booleans()) else array


REAL_DTYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "g", ">i2", ">f4"]


def equally(*strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One of these, each as often as the others: `st.one_of` counts each branch within them."""
    return st.sampled_from(strategies).flatmap(lambda each: each)


def mostly(likely: Any) -> st.SearchStrategy[Any]:
    """A value that is allowed, or now and then anything."""
    return equally(st.just(likely), st.just(likely), st.just(likely), SCALARS)


@st.composite
def labels_and_scores(draw: st.DrawFn) -> Any:
    """Labels and scores of three examples, most of them possible."""
    likely = draw(st.booleans())
    labels = st.sampled_from([0, 1, True, 1.0]) if likely else st.sampled_from([0, 1, 2, float("nan")])
    scores = st.floats(0, 1) if likely else st.one_of(st.floats(0, 1), ODD_FLOATS)
    return tuple(draw(st.lists(each, min_size=3, max_size=3)) for each in (labels, scores))
