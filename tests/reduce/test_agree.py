"""Keys become ready under fixed rules when ranks hold different ones."""

import itertools
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from ranklog.reduce.agree import Memory, Ready, Report, RowReport, agree

Stream = list[tuple[str, int]]


def report(stream: Stream, *, start: int = 0, age_s: float = 0.0, **facts: object) -> Report:
    """A rank's closed rows: name and step of each, oldest first; ``start`` is the first row's group."""
    rows = [RowReport([name], step, "mean", -1, 0, start + i, age_s) for i, (name, step) in enumerate(stream)]
    defaults: dict[str, object] = {"max_closed_step": max((s for _, s in stream), default=None)}
    return Report(rows, **(defaults | facts))  # type: ignore[arg-type]


def decide(*reports: Report, memory: Memory | None = None) -> tuple[dict[tuple[str, int], Ready], Memory]:
    ready, after = agree(reports, memory or Memory.fresh(len(reports)))
    return {(name, r.step): r for r in ready for name in r.names}, after


def test_a_key_that_all_hold_is_ready() -> None:
    ready, _ = decide(report([("a", 0)]), report([("a", 0), ("a", 1)]))
    assert set(ready) == {("a", 0)}
    assert ready["a", 0].answered == {0, 1}


def test_a_lagging_rank_never_makes_a_partial_epoch_value() -> None:
    ahead = [("train", 1999), ("train", 2000), ("val", 3), ("train", 2001)]
    for done in range(len(ahead)):
        ready, _ = decide(report(ahead), report(ahead[:done]))
        assert set(ready) == set(ahead[:done]), f"the other rank has closed {done} rows"


def test_a_rank_that_went_past_a_key_has_answered() -> None:
    ready, _ = decide(report([("a", 0), ("only", 0), ("a", 1)]), report([("a", 0), ("a", 1)]))
    assert set(ready) == {("a", 0), ("only", 0), ("a", 1)}
    assert ready["only", 0].answered == {0, 1}
    assert ready["only", 0].holders == ((0, 1),)


def test_a_rank_that_is_not_past_a_key_is_waited_for() -> None:
    ready, memory = decide(report([("a", 0), ("only", 0)]), report([("a", 0)]))
    assert set(ready) == {("a", 0)}
    ready, _ = decide(report([("only", 0), ("a", 1)], start=1), report([("a", 1)], start=1), memory=memory)
    assert set(ready) == {("only", 0), ("a", 1)}


def test_what_was_passed_once_stays_passed() -> None:
    """Rank 1 passes ``x`` with ``b``, which is reduced at once; rank 2 comes later."""
    streams = [[("x", 0), ("b", 0)], [("b", 0)], [("b", 0)]]
    memory = Memory.fresh(3)
    ready, memory = decide(report(streams[0]), report(streams[1]), report(streams[2]), memory=memory)
    assert set(ready) == {("x", 0), ("b", 0)}


def test_a_closing_rank_has_answered() -> None:
    ready, _ = decide(report([("a", 0)]), report([], closing=True))
    assert set(ready) == {("a", 0)}
    ready, _ = decide(report([("a", 7)]), report([("b", 5)], closing=True, complete=False))
    assert set(ready) == {("b", 5)}


def test_stages_with_separate_metrics_do_not_wait_for_each_other() -> None:
    ready, memory = decide(report([("a", 0), ("a", 1)]), report([("b", 0)]))
    assert set(ready) == {("a", 0), ("b", 0)}
    ready, _ = decide(report([("a", 1), ("a", 2)], start=1), report([("b", 1)], start=1), memory=memory)
    assert set(ready) == {("a", 1), ("b", 1)}


def test_stages_with_more_rows_than_a_report_takes_do_not_wait_for_each_other() -> None:
    ready, _ = decide(
        report([("a", 0), ("a", 1)], complete=False, max_closed_step=9),
        report([("b", 0), ("b", 1), ("b", 2)], complete=False, max_closed_step=9),
    )
    assert set(ready) == {("a", 0), ("a", 1), ("b", 0), ("b", 1)}, "what comes after a report is not told yet"
    assert all(r.answered == {0, 1} for r in ready.values())


def test_ranks_that_once_shared_a_key_are_no_strangers_even_after_fused_rounds() -> None:
    memory = Memory.fresh(2).after_fused()
    ready, _ = decide(report([("a", 1)]), report([("b", 5)]), memory=memory)
    assert not ready


def test_a_rank_that_never_had_a_value_is_answered_after_a_short_grace() -> None:
    silent = report([], ever_added=False)
    ready, _ = decide(report([("a", 0)], age_s=0.5), silent)
    assert not ready
    ready, _ = decide(report([("a", 0)], age_s=2.5), silent)
    assert ready["a", 0].answered == {0, 1}


def test_a_rank_that_falls_silent_is_missing_after_the_time_limit_and_then_idle_until_it_is_back() -> None:
    memory = Memory.fresh(2).after_fused()
    ready, memory = decide(report([("a", 1)], age_s=29.0), report([]), memory=memory)
    assert not ready
    ready, memory = decide(report([("a", 1)], age_s=31.0), report([]), memory=memory)
    assert ready["a", 1].answered == {0}
    assert memory.idle.tolist() == [False, True]
    ready, memory = decide(report([("a", 2)], age_s=3.0), report([]), memory=memory)
    assert ready["a", 2].answered == {0}
    ready, memory = decide(report([("a", 3)], age_s=3.0), report([("a", 1)]), memory=memory)
    assert set(ready) == {("a", 1)}
    assert ready["a", 1].late
    assert memory.idle.tolist() == [False, False]


def test_two_occurrences_of_a_key_stay_apart() -> None:
    ready, _ = agree([report([("e", 1), ("a", 0), ("e", 1)]), report([("e", 1), ("a", 0)])], Memory.fresh(2))
    assert [(r.names, r.holders) for r in ready] == [(["e"], ((0, 0), (1, 0))), (["a"], ((0, 1), (1, 1)))]


def test_late_values_of_two_ranks_are_both_taken() -> None:
    memory = Memory.fresh(3)
    memory = Memory(memory.shared, memory.passed, memory.idle, {("a", "mean", -1, 0): frozenset({0})})
    ready, memory = decide(report([]), report([("a", 0)]), report([]), memory=memory)
    assert ready["a", 0].late
    ready, memory = decide(report([]), report([]), report([("a", 0)]), memory=memory)
    assert ready["a", 0].late
    assert not memory.partial


def interleave(
    size: int, cuts: list[int], program: Stream
) -> tuple[list[tuple[str, int]], dict[tuple[str, int], list[frozenset[int]]]]:
    """Feed one program to all ranks at different speeds; returns the keys and who contributed to each."""
    heads = [0] * size
    base = [0] * size
    pending: list[list[tuple[int, tuple[str, int]]]] = [[] for _ in range(size)]
    got: dict[tuple[str, int], list[frozenset[int]]] = {}
    memory = Memory.fresh(size)
    for cut in [*cuts, *([len(program)] * size)]:
        rank = base[0] % size
        base[0] += 1
        reach = max(heads[rank], min(cut, len(program)))
        pending[rank] += [(i, program[i]) for i in range(heads[rank], reach)]
        heads[rank] = reach
        reports = []
        for r in range(size):
            rows = [RowReport([key[0]], key[1], "mean", -1, 0, group, 0.0) for group, key in pending[r]]
            steps = [program[i][1] for i in range(heads[r])]
            reports.append(Report(rows, max_closed_step=max(steps, default=None), ever_added=heads[r] > 0))
        ready, memory = agree(reports, memory)
        for item in ready:
            for name in item.names:
                got.setdefault((name, item.step), []).append(frozenset(r for r, _ in item.holders))
            for r, index in item.holders:
                pending[r][index] = (-1, ("", 0))
        pending = [[entry for entry in rows if entry[0] >= 0] for rows in pending]
    return program, got


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 4), st.lists(st.integers(0, 12), max_size=16), st.lists(st.booleans(), min_size=4, max_size=12))
def test_ranks_of_one_program_at_any_speed_reduce_every_key_whole(
    size: int, cuts: list[int], epochs: list[bool]
) -> None:
    steps, numbers = itertools.count(1000), itertools.count()
    program = [("val", next(numbers)) if is_epoch else ("train", next(steps)) for is_epoch in epochs]
    program, got = interleave(size, cuts, program)
    everyone = frozenset(range(size))
    assert got == {key: [everyone] for key in program}


def test_a_world_that_has_only_reduced_equal_rows_needs_a_byte_per_pair_of_ranks_at_most() -> None:
    size = 2048
    tracemalloc.start()
    try:
        Memory.fresh(size).after_fused()
        assert tracemalloc.get_traced_memory()[1] < 1.2 * size**2
    finally:
        tracemalloc.stop()
