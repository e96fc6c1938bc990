"""Odd but possible values, shared by the tests of odd content."""

import argparse
import enum
import functools
import json
from typing import Any, NamedTuple

import msgspec
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from ranklog.items.encode import encode

HALF_AN_EMOJI = json.loads('"ok \\ud83d"')


class Color(enum.Enum):
    RED = 1


class Mode(str, enum.Enum):
    FAST = "fast"


class Level(enum.IntEnum):
    HIGH = 3


class Word(str):
    __slots__ = ()


class Number(float):
    pass


class Count(int):
    pass


class Point(NamedTuple):
    x: int
    y: int


def recursive_list() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


def recursive_dict() -> dict[str, Any]:
    inner: dict[str, Any] = {}
    inner["self"] = {"below": inner}
    return inner


def nested(levels: int, leaf: Any = 1) -> Any:
    for _ in range(levels):
        leaf = [leaf]
    return leaf


def body(item: Any, kind: str) -> Any:
    (content,) = encode(item, "x", kind, {}).contents
    assert isinstance(content.source, bytes)
    content.source.decode()
    return msgspec.json.decode(content.source)


def cell(value: Any) -> Any:
    """What a table has where a cell was ``value``."""
    return body((["c"], [[value]]), "table")["data"][0][0]


def numpy_scalars() -> st.SearchStrategy[Any]:
    numbers = st.sampled_from([0, 1, -1, 127])
    kinds = st.sampled_from(
        [np.int8, np.uint64, np.float16, np.float32, np.float64, np.longdouble, np.complex64, np.bool_]
    )
    return st.builds(lambda kind, number: kind(abs(number)), kinds, numbers)


ANY_TEXT = st.text(st.characters(), max_size=8)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(2**62, 2**70),
    st.floats(),
    st.complex_numbers(),
    ANY_TEXT,
    ANY_TEXT.map(Word),
    st.binary(max_size=4),
    st.decimals(),
    st.dates(),
    st.timedeltas(),
    st.uuids(),
    numpy_scalars(),
    st.sampled_from([print, int, object(), Color.RED, Mode.FAST, Level.HIGH, Number(1.5)]),
    st.builds(lambda: 10**5000),
    st.builds(recursive_list),
    st.just(np.arange(3)),
    st.just(np.zeros((2, 0))),
)
KEYS = st.one_of(ANY_TEXT, st.integers(), st.booleans(), st.none(), st.floats(), st.tuples(ANY_TEXT, st.integers(0, 3)))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(KEYS, inner, max_size=4),
        st.builds(argparse.Namespace, a=inner, b=inner),
        st.builds(Point, inner, inner),
        st.builds(functools.partial, st.just(int), inner),
    ),
    max_leaves=12,
)
SLOW = settings(suppress_health_check=[HealthCheck.too_slow], max_examples=300)
