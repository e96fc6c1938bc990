"""One suite for all worlds: the promises of collectives, for every implementation."""

import itertools
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from cluster import wait_until
from fork_server import server as fork_server
from hypothesis import given
from hypothesis import strategies as st
from launch import Ranks, job_environment

from ranklog.abc import Strategy, World
from ranklog.model.errors import WorldError
from ranklog.model.place import Place
from ranklog.testing.conformance import CHECKS, check_strategy
from ranklog.world.fake import FakeWorld
from ranklog.world.single import SeveredWorld, SingleStrategy, SingleWorld
from ranklog.world.torch.gloo import GlooGroup
from ranklog.world.torch.hierarchy import layout
from ranklog.world.torch.meeting import Meeting
from ranklog.world.torch.roll import Roll
from ranklog.world.torch.strategy import connect_over
from ranklog.world.torch.worlds import GenerationOfRanks, TorchWorld

JOB = Path(__file__).with_name("torch_job.py")


def on_threads(worlds: list[World], check: Callable[[World], None]) -> None:
    errors: list[BaseException] = []

    def one(world: World) -> None:
        try:
            check(world)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(world,)) for world in worlds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    if errors:
        raise errors[0]


@pytest.mark.parametrize("name", CHECKS)
def test_a_single_world_keeps_the_promises(name: str) -> None:
    CHECKS[name](SingleWorld())


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_fake_world_keeps_the_promises(name: str, size: int) -> None:
    on_threads(list(FakeWorld(size).ranks()), CHECKS[name])


@pytest.mark.slow
@pytest.mark.parametrize(("size", "per_node", "mode"), [(2, 2, "flat"), (4, 2, "by-node"), (5, 3, "by-node")])
def test_torch_keeps_the_promises(size: int, per_node: int, mode: str, tmp_path: Path) -> None:
    ranks = Ranks(size, JOB, mode, cwd=tmp_path, per_node=per_node)
    for done in ranks.finish(range(size)).values():
        assert done.code == 0, done.output
        for name in [*CHECKS, "absent ranks", "time limit", "close"]:
            assert f"{name}: ok" in done.output


@given(st.lists(st.integers(0, 20), min_size=1, max_size=60), st.integers(2, 8))
def test_levels_join_every_rank_to_one_top(nodes: list[int], block: int) -> None:
    levels = [layout(rank, nodes, block) for rank in range(len(nodes))]
    depth = len(levels[0])
    for rank, own in enumerate(levels):
        assert {nodes[member] for member in own[0].members} == {nodes[rank]}, "the first level is the node"
        for lower, upper in itertools.pairwise(own):
            assert lower.members[0] == rank, "only the first member goes on"
            assert len(upper.members) <= block
        assert len(own) == depth or own[-1].members[0] != rank or depth == 1
    for number in range(depth):
        groups = {own[number].members for own in levels if len(own) > number}
        members = [member for group in groups for member in group]
        assert len(members) == len(set(members)), "nobody is in two groups of a level"
    tops = {own[-1].members for own in levels if len(own) == depth}
    assert len(tops) == 1


class HungGroup:
    """A gloo group that does not keep its time limit."""

    def allreduce(self, tensors: object, options: object) -> "HungGroup":
        return self

    def is_completed(self) -> bool:
        return False


@pytest.fixture
def open_rank(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], GenerationOfRanks]:
    """Opens one rank of a world over a store that lasts, as a new process would."""
    dist = pytest.importorskip("torch.distributed")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)

    def rank(number: int, size: int) -> GenerationOfRanks:
        place = Place(rank=number, world_size=size)
        other = dist.TCPStore("127.0.0.1", store.port, is_master=False, wait_for_workers=False)
        return connect_over(lambda: other, place, channel="c", timeout_s=120)

    return rank


def sums(worlds: Sequence[World]) -> list[float]:
    """The sum over one from each rank, as each rank sees it."""
    with ThreadPoolExecutor(len(worlds)) as threads:
        reduced = threads.map(lambda world: world.all_reduce(np.ones(1), op="sum", timeout_s=120), worlds)
        return [float(values[0]) for values in reduced]


def test_ranks_meet_in_each_of_forty_rounds_over_one_store_that_keeps_the_keys_of_all(
    open_rank: Callable[[int, int], GenerationOfRanks],
) -> None:
    for round_ in range(40):
        size = 2 + round_ % 3
        with ThreadPoolExecutor(size) as threads:
            worlds = list(threads.map(open_rank, range(size), [size] * size))
        assert sums(worlds) == [size] * size
        for world in worlds:
            world.close()


def test_ranks_that_could_not_build_a_group_try_again_below_other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    dist = pytest.importorskip("torch.distributed")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setattr("ranklog.world.torch.strategy.MESH_TIMEOUT_S", 1.0)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)

    other = dist.TCPStore("127.0.0.1", store.port, is_master=False, wait_for_workers=False)
    keys = dist.PrefixStore("ranklog/again", other)
    rolls = []
    with ThreadPoolExecutor(1) as threads:
        threads.submit(Meeting(keys, Place(rank=1, world_size=2), "ends").meet, 60, None)
        for _ in range(2):
            with pytest.raises(WorldError):
                connect_over(lambda: store, Place(rank=0, world_size=2), channel="again", timeout_s=3)
            rolls.append(keys.get("token"))
    assert rolls[0] != rolls[1]


def assert_rank_1_joins_again(
    threads: ThreadPoolExecutor, first: Sequence[GenerationOfRanks], second: Sequence[GenerationOfRanks]
) -> None:
    """Ranks 0 and 2 are together without rank 1, which comes later."""
    assert {(world.generation, world.members) for world in second} == {(1, (0, 2))}
    assert sums(second) == [2, 2]
    assert not second[0].rank_waits_to_join()

    late = threads.submit(first[1].regroup, timeout_s=120)
    wait_until(second[0].rank_waits_to_join)
    third = [*threads.map(lambda world: world.regroup(timeout_s=120), second), late.result(120)]
    assert {(world.generation, world.members) for world in third} == {(2, (0, 1, 2))}
    assert sums(third) == [3, 3, 3]
    for world in third:
        world.close()


def test_ranks_that_answer_go_on_without_one_and_take_it_in_again_when_it_comes(
    open_rank: Callable[[int, int], GenerationOfRanks],
) -> None:
    with ThreadPoolExecutor(3) as threads:
        first = list(threads.map(open_rank, range(3), [3] * 3))
        assert {world.members for world in first} == {(0, 1, 2)}

        second = list(threads.map(lambda world: world.regroup(timeout_s=1), [first[0], first[2]]))
        assert_rank_1_joins_again(threads, first, second)


def test_a_rank_that_came_and_then_fell_silent_is_left_out_until_it_comes_again(
    open_rank: Callable[[int, int], GenerationOfRanks], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ranklog.world.torch.meeting.ANSWER_S", 0.2)
    with ThreadPoolExecutor(3) as threads:
        first = list(threads.map(open_rank, range(3), [3] * 3))
        stop = threading.Event()
        stop.set()
        with pytest.raises(WorldError):
            first[1].regroup(timeout_s=60, stop=stop)  # it is there, and does not wait for the answer
        second = list(threads.map(lambda world: world.regroup(timeout_s=60), [first[0], first[2]]))
        assert_rank_1_joins_again(threads, first, second)


def test_rank_0_alone_opens_no_generation(open_rank: Callable[[int, int], GenerationOfRanks]) -> None:
    with ThreadPoolExecutor(2) as threads:
        first = list(threads.map(open_rank, range(2), [2] * 2))
    with pytest.raises(WorldError, match="no other rank came"):
        first[0].regroup(timeout_s=0.1)


def test_a_torch_group_that_does_not_keep_its_time_limit_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr("ranklog.world.torch.gloo._OVERDUE_S", 0.05)
    dist = torch.distributed
    group = GlooGroup(dist.HashStore(), [1], 1, 5.0)
    group._group = HungGroup()
    meeting = Meeting(dist.HashStore(), Place(rank=1, world_size=2), "nonce")
    world = TorchWorld(meeting, Roll(0, (0, 1), ("other", "nonce")), 32, group)
    failures: list[WorldError] = []

    def call() -> None:
        try:
            world.barrier(timeout_s=0.05)
        except WorldError as error:
            failures.append(error)

    caller = threading.Thread(target=call, daemon=True)
    caller.start()
    caller.join(120)
    assert not caller.is_alive()
    assert "rank 1:" in str(failures[0])
    assert "no answer" in str(failures[0])


@pytest.mark.slow
def test_a_process_that_ends_while_another_rank_answers_does_not_crash(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    script = str(Path(__file__).with_name("exit_in_a_round_job.py"))
    job = fork_server().start(script, cwd=tmp_path, env=job_environment())
    output = job.communicate()
    assert job.returncode == 0, output


FORK = """
import gc, os, sys, threading
import torch.distributed as dist
from ranklog.world.strategies import resolve_strategy
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
world = resolve_strategy("torch").connect(channel="a", timeout_s=120)
world.barrier(timeout_s=120)
child = os.fork()
if child == 0:
    world.close()
    del world
    gc.collect()
    print("child goes on", flush=True)
    os._exit(0)
_, status = os.waitpid(child, 0)
world.barrier(timeout_s=120)
world.close()
dist.destroy_process_group()
print("parent ends with", status, flush=True)
"""


@pytest.mark.slow
def test_a_forked_child_may_close_its_parents_world_and_ends(tmp_path: Path) -> None:
    pytest.importorskip("torch.distributed")
    script = tmp_path / "fork.py"
    script.write_text(FORK)
    process = fork_server().start(str(script), cwd=tmp_path, env=job_environment())
    try:
        text = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # of the child too
        pytest.fail(f"the child hangs: {process.communicate()}")
    assert text.splitlines()[-2:] == ["child goes on", "parent ends with 0"]


def test_a_rank_that_does_not_come_is_named_after_the_time_limit() -> None:
    world = FakeWorld(3).ranks()[0]
    with pytest.raises(WorldError, match=r"\[1, 2\]"):
        world.barrier(timeout_s=0.05)


def test_a_rank_that_leaves_ends_the_others_wait_at_once() -> None:
    first, second = FakeWorld(2).ranks()
    threading.Timer(0.05, second.close).start()
    with pytest.raises(WorldError, match="rank 1 has left"):
        first.barrier(timeout_s=120)


def test_different_calls_are_an_error_not_a_wrong_sum() -> None:
    def check(world: World) -> None:
        values = np.ones(1 + world.place.rank)
        with pytest.raises(WorldError, match="different calls"):
            world.all_reduce(values, op="sum", timeout_s=5)

    on_threads(list(FakeWorld(2).ranks()), check)


def test_a_fake_strategy_connects_when_all_ranks_have_come() -> None:
    job = FakeWorld(2)
    with pytest.raises(WorldError, match="1 of 2 ranks did not join"):
        job.strategy(0).connect(channel="a", timeout_s=0.05)
    other = threading.Thread(target=lambda: job.strategy(1).connect(channel="a", timeout_s=5))
    other.start()
    assert job.strategy(0).connect(channel="a", timeout_s=5).place == job.places[0]
    other.join(5)


def test_waiting_for_ranks_can_be_given_up() -> None:
    stop = threading.Event()
    threading.Timer(0.05, stop.set).start()
    started_s = time.monotonic()
    with pytest.raises(WorldError):
        FakeWorld(2).strategy(0).connect(channel="a", timeout_s=120, stop=stop)
    assert time.monotonic() - started_s < 10


def test_a_severed_world_says_why() -> None:
    world = SeveredWorld(Place(rank=1, world_size=2), "no process group was initialised")
    assert world.place.world_size == 2
    calls: list[Callable[[], object]] = [
        lambda: world.barrier(timeout_s=1),
        lambda: world.all_gather(b"", timeout_s=1),
        lambda: world.all_reduce(np.ones(1), op="sum", timeout_s=1),
    ]
    for call in calls:
        with pytest.raises(WorldError, match="no process group"):
            call()
    world.close()


def conform(strategies: list[Strategy]) -> list[list[str]]:
    """Check strategies of all ranks of a job in this process, each on a thread that stands for its main thread."""
    meeting = threading.Barrier(len(strategies))
    done: list[list[str]] = []
    errors: list[BaseException] = []

    def one(strategy: Strategy) -> None:
        try:
            done.append(check_strategy(strategy, together=lambda: meeting.wait(60), beside=lambda: None))
        except BaseException as error:
            errors.append(error)
            meeting.abort()

    threads = [threading.Thread(target=one, args=(strategy,), daemon=True) for strategy in strategies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    if errors:
        raise next((error for error in errors if isinstance(error, AssertionError)), errors[0])
    return done


def test_a_strategy_of_a_third_party_can_be_checked() -> None:
    job = FakeWorld(3)
    for done in conform([job.strategy(rank) for rank in range(3)]):
        assert {*CHECKS, "absent ranks", "time limit", "close"} <= set(done)
    assert set(CHECKS) <= set(conform([SingleStrategy()])[0])


class Wrong:
    """A strategy that adds where it should not."""

    name = "wrong"

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy

    def place(self) -> Place:
        return self._strategy.place()

    def ready(self) -> bool:
        return True

    def connect(self, *, channel: str, timeout_s: float, stop: threading.Event | None = None) -> World:
        world = self._strategy.connect(channel=channel, timeout_s=timeout_s, stop=stop)
        all_reduce = world.all_reduce
        world.all_reduce = lambda values, op, timeout_s: all_reduce(values, op=op, timeout_s=timeout_s) + 1e-9  # type: ignore[method-assign, misc]
        return world


def test_a_strategy_that_breaks_a_promise_is_detected() -> None:
    job = FakeWorld(2)
    with pytest.raises(AssertionError):
        conform([Wrong(job.strategy(rank)) for rank in range(2)])
