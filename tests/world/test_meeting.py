"""Ranks meet over a store that keeps the keys of all earlier rounds: the roll lists the ranks that are here now."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from cluster import wait_until
from hypothesis import given, settings
from hypothesis import strategies as st

from ranklog.model.errors import WorldError
from ranklog.model.place import Place
from ranklog.world.torch.meeting import Meeting, new_nonce
from ranklog.world.torch.roll import Roll, decode_roll, draw_up
from ranklog.world.torch.strategy import connect_over


class Store:
    """A torch store in memory, which refuses to wait for a key that is not there."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def set(self, key: str, value: str | bytes) -> None:
        self._values[key] = value.encode() if isinstance(value, str) else value

    def get(self, key: str) -> bytes:
        return self._values[key]

    def multi_get(self, keys: Sequence[str]) -> list[bytes]:
        return [self._values[key] for key in keys]

    def check(self, keys: Sequence[str]) -> bool:
        return all(key in self._values for key in keys)

    def add(self, key: str, amount: int) -> int:
        with self._lock:
            count = int(self._values.get(key, b"0")) + amount
            self._values[key] = str(count).encode()
            return count


nonces = st.dictionaries(st.integers(0, 6), st.sampled_from("abcdefgh"))


@given(nonces, st.integers(1, 6), st.sets(st.sampled_from("abcdefgh")), st.booleans())
def test_a_roll_lists_rank_0_and_only_ranks_that_came_since_the_last_one(
    present: dict[int, str], size: int, spent: set[str], all_needed: bool
) -> None:
    roll = draw_up(3, present, world_size=size, spent=spent, all_needed=all_needed)
    came = {rank for rank, nonce in present.items() if rank < size and nonce not in spent}
    if 0 not in came or (all_needed and len(came) < size):
        assert roll is None
        return
    assert roll is not None
    assert set(roll.ranks) == came
    assert list(roll.ranks) == sorted(roll.ranks)
    assert all(roll.lists(rank, present[rank]) for rank in came)
    assert decode_roll(roll.encode()) == roll


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=2, unique=True), st.integers(0, 3))
def test_rolls_that_differ_in_a_nonce_or_the_generation_have_different_tokens(pair: list[str], number: int) -> None:
    tokens = {Roll(generation, (0, 1), ("x", nonce)).token for nonce in pair for generation in (number, number + 1)}
    assert len(tokens) == 4


rounds = st.lists(
    st.tuples(st.permutations(range(4)), st.integers(1, 4), st.sets(st.integers(0, 3))), min_size=1, max_size=4
)


@settings(max_examples=30, deadline=None)
@given(rounds)
def test_all_ranks_of_a_round_get_the_roll_of_their_own_nonces_in_any_order_and_with_repeated_tries(
    rounds: list[tuple[list[int], int, set[int]]],
) -> None:
    store = Store()
    stopped = threading.Event()
    stopped.set()
    for order, size, tried_before in rounds:
        drawn = {rank: new_nonce() for rank in range(size)}
        meetings = {rank: Meeting(store, Place(rank=rank, world_size=size), drawn[rank]) for rank in range(size)}
        for rank in sorted(tried_before & set(drawn)):
            try:
                roll = meetings[rank].meet(60, stopped)
            except WorldError:
                continue
            assert size == 1, roll  # the others have not come
            meetings[rank] = Meeting(store, Place(rank=rank, world_size=size), drawn[rank])
        with ThreadPoolExecutor(size) as threads:
            pending = {rank: threads.submit(meetings[rank].meet, 60, None) for rank in order if rank < size}
            rolls = [pending[rank].result(60) for rank in range(size)]
        assert rolls == [Roll(0, tuple(drawn), tuple(drawn.values()))] * size


def test_a_process_that_was_ended_in_its_wait_is_not_taken_for_the_one_that_replaces_it() -> None:
    store = Store()
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(WorldError, match="1 of 2 ranks did not join: rank 0"):
        Meeting(store, Place(rank=1, world_size=2), "ended").meet(60, stopped)
    first, second = (Meeting(store, Place(rank=rank, world_size=2), f"new{rank}") for rank in range(2))
    with ThreadPoolExecutor(2) as threads:
        waiting = threads.submit(first.meet, 60, None)
        wait_until(lambda: store.check(["token"]))  # rank 0 lists the process that ended, which cannot answer
        assert second.meet(60, None) == waiting.result(60) == Roll(0, (0, 1), ("new0", "new1"))


def test_a_rank_that_answered_and_missed_the_start_of_the_generation_joins_the_next_one() -> None:
    store = Store()
    stopped = threading.Event()
    stopped.set()
    ranks = [Meeting(store, Place(rank=rank, world_size=3), f"first{rank}") for rank in range(3)]
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda rank: rank.meet(60, None), ranks))
        before = store.get("token")
        for rank in ranks[1:]:
            with pytest.raises(WorldError):
                rank.meet(60, stopped)
        called = threads.submit(ranks[0].meet, 60, None)
        while store.get("token") == before:
            pass
        with pytest.raises(WorldError):
            ranks[1].meet(60, stopped)  # it answers, and is stopped before the others have
        assert ranks[2].meet(60, None) == called.result(60)

        without = list(threads.map(lambda rank: rank.meet(1, None), [ranks[0], ranks[2]]))
        assert {roll.ranks for roll in without} == {(0, 2)}
        late = threads.submit(ranks[1].meet, 20, None)
        rolls = [*threads.map(lambda rank: rank.meet(10, None), [ranks[0], ranks[2]]), late.result(60)]
    assert {(roll.generation, roll.ranks) for roll in rolls} == {(3, (0, 1, 2))}


def test_a_rank_whose_try_to_connect_ended_after_its_answer_joins_the_next_generation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dist = pytest.importorskip("torch.distributed")
    monkeypatch.setattr("ranklog.world.torch.strategy.open_world", lambda meeting, roll, **limits: roll)
    store = dist.HashStore()
    shared = dist.PrefixStore("ranklog/job", store)
    stopped = threading.Event()
    stopped.set()
    ranks = [Meeting(shared, Place(rank=rank, world_size=3), f"first{rank}") for rank in (0, 2)]

    def connect(stop: threading.Event | None) -> object:
        place = Place(rank=1, world_size=3)
        return connect_over(lambda: store, place, channel="job", timeout_s=20, stop=stop)

    with ThreadPoolExecutor(3) as threads:
        called = threads.submit(ranks[0].meet, 60, None)
        for come in (lambda: ranks[1].meet(60, stopped), lambda: connect(stopped)):
            with pytest.raises(WorldError):
                come()
        wait_until(lambda: shared.check(["token"]))
        with pytest.raises(WorldError):
            connect(stopped)  # it answers, and its time is over before the others have
        assert ranks[1].meet(60, None) == called.result(60)

        without = list(threads.map(lambda rank: rank.meet(1, None), ranks))
        assert {roll.ranks for roll in without} == {(0, 2)}
        late = threads.submit(connect, None)
        wait_until(ranks[0].others_wait)
        rolls = [*threads.map(lambda rank: rank.meet(10, None), ranks), late.result(60)]
    assert {(roll.generation, roll.ranks) for roll in rolls} == {(2, (0, 1, 2))}
