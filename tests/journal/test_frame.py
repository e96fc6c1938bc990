"""Frames return the records that went in; any other bytes are damaged or incomplete, never an exception."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranklog.journal.frame import (
    HEADER_BYTES,
    MAGIC,
    MAX_PAYLOAD_BYTES,
    Frame,
    FrameDamage,
    Incomplete,
    decode_frame,
    encode_frame,
    find_frame,
)
from ranklog.model.record import Coverage, End, Event, File, Item, Metrics, Params, Record

times = st.integers(0, 2**63 - 1)
texts = st.text(max_size=20)
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | texts
coverages = st.builds(Coverage, st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
metrics = st.builds(
    Metrics,
    st.integers(-(2**63), 2**63 - 1),
    times,
    st.integers(-1, 255),
    st.dictionaries(texts, st.floats(allow_nan=False), max_size=4),
    st.none() | st.sampled_from(["mean", "sum"]),
    st.none() | coverages,
    st.booleans(),
)
files = st.builds(File, texts, st.integers(0, 2**40), texts, st.none() | st.binary(max_size=40))
records: st.SearchStrategy[Record] = st.one_of(
    metrics,
    st.builds(Params, times, st.integers(-1, 255), st.dictionaries(texts, scalars, max_size=4)),
    st.builds(
        Item,
        texts,
        texts,
        st.integers(0, 2**40),
        times,
        st.integers(-1, 255),
        st.integers(0, 9),
        texts,
        st.lists(files, max_size=2).map(tuple),
        st.dictionaries(texts, scalars, max_size=2),
    ),
    st.builds(Event, st.sampled_from(["info", "warning"]), texts, texts, times, st.none() | st.integers(0, 9)),
    st.builds(End, st.sampled_from(["FINISHED", "FAILED", "KILLED"]), times, texts),
)


@given(st.lists(records, max_size=8), st.integers(0, 2**64 - 1), st.binary(max_size=30))
def test_records_come_out_of_a_frame_as_they_went_in_whatever_surrounds_it(batch, ordinal, around):
    data = encode_frame(batch, ordinal)
    assert decode_frame(around + data + around, len(around)) == Frame(ordinal, batch, len(data))


def test_nan_and_infinities_survive():
    frame = decode_frame(encode_frame([Metrics(0, 0, -1, {"a": math.nan, "b": math.inf, "c": -math.inf})], 0))
    assert isinstance(frame, Frame)
    values = frame.records[0].values  # type: ignore[union-attr]
    assert math.isnan(values["a"]) and values["b"] == math.inf and values["c"] == -math.inf


@given(st.lists(records, min_size=1, max_size=3), st.data())
def test_a_frame_that_is_cut_is_incomplete_and_says_how_much_is_missing_at_least(batch, data):
    frame = encode_frame(batch, 7)
    cut = data.draw(st.integers(0, len(frame) - 1))
    result = decode_frame(frame[:cut])
    assert isinstance(result, Incomplete)
    assert 0 < result.missing <= len(frame) - cut


@given(st.lists(records, min_size=1, max_size=3), st.data())
def test_a_flipped_bit_is_never_taken_for_a_frame(batch, data):
    frame = bytearray(encode_frame(batch, 7))
    place = data.draw(st.integers(0, len(frame) - 1))
    frame[place] ^= 1 << data.draw(st.integers(0, 7))
    assert isinstance(decode_frame(bytes(frame)), (FrameDamage, Incomplete))


@given(st.binary(max_size=200), st.integers(0, 10))
@settings(max_examples=300)
def test_random_bytes_are_never_a_frame_and_never_raise(data, offset):
    assert not isinstance(decode_frame(data, offset), Frame)
    assert not isinstance(decode_frame(MAGIC + data), Frame)


def test_a_length_above_the_limit_is_damage_and_allocates_nothing():
    header = bytearray(encode_frame([], 0)[:HEADER_BYTES])
    header[4:8] = (MAX_PAYLOAD_BYTES + 1).to_bytes(4, "little")
    result = decode_frame(bytes(header))
    assert isinstance(result, FrameDamage) and "above the limit" in result.reason


def test_a_batch_that_is_too_large_for_a_frame_is_refused_by_the_encoder():
    file = File("x", 0, "", b"\0" * (MAX_PAYLOAD_BYTES + 1))
    with pytest.raises(ValueError, match="at most"):
        encode_frame([Item("artifact", "x", 0, 0, -1, 0, "", (file,))], 0)


@given(st.binary(max_size=50))
def test_a_whole_frame_is_found_behind_other_bytes(before):
    frame = encode_frame([End("FINISHED", 0)], 3)
    assert find_frame(before + frame, 0) == len(before)
    assert find_frame(before + frame[:-1], 0) is None
