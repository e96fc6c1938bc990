"""The simulation of rounds agrees with closed forms, with single events in a queue, and with ranklog's own groups."""

import heapq
import math
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))  # where `benchmarks` is, whatever the working directory

from benchmarks.message_costs import sent_messages
from benchmarks.simulate.costs import QUIET, Costs, Delays
from benchmarks.simulate.layouts import flat, hierarchy
from benchmarks.simulate.opening import connections
from benchmarks.simulate.ranks import Simulation
from benchmarks.simulate.rule import RoundCost, rule_of
from benchmarks.simulate.settings import BASE, BLOCKS, NODES, SENSITIVE_SIZES, SETTINGS, VARIANTS
from ranklog.world.torch.hierarchy import layout

SEND, RECEIVE, WIRE, FAR = 3.0, 5.0, 11.0, 40.0
EQUAL = Costs(send_s=SEND, receive_s=RECEIVE, wire_node_s=WIRE, wire_net_s=WIRE)
ASKING = msgspec.structs.replace(EQUAL, first_ask_s=8.0, ask_factor=2.0, last_ask_s=16.0, wake_s=1.0)
FAR_NODES = Costs(send_s=SEND, receive_s=RECEIVE, wire_node_s=WIRE, wire_net_s=FAR)


def world(size: int, costs: Costs = EQUAL, *, node: int = 4, delays: Delays = QUIET, seed: int = 0) -> Simulation:
    return Simulation(size, node=node, costs=costs, delays=delays, seed=seed)


@pytest.mark.parametrize("size", [2, 3, 8, 32, 100])
def test_one_value_goes_round_a_ring_twice_message_after_message(size: int) -> None:
    ring = world(size)
    ring.all_reduce(flat(size), values=1)
    assert ring.clocks.max() == 2 * (size - 1) * (SEND + WIRE + RECEIVE)


@pytest.mark.parametrize("size", [2, 4, 8, 128])
def test_a_broadcast_takes_as_many_messages_after_each_other_as_the_tree_is_deep(size: int) -> None:
    tree = world(size)
    tree._broadcast([np.arange(size)], 8)
    assert tree.clocks.max() == math.log2(size) * (SEND + WIRE + RECEIVE)


@pytest.mark.parametrize("size", [3, 9, 100])
def test_a_broadcast_over_an_incomplete_tree_reaches_all_and_is_no_deeper(size: int) -> None:
    tree = world(size)
    tree._broadcast([np.arange(size)], 8)
    assert np.all(tree.clocks[1:] >= SEND + WIRE + RECEIVE)
    assert tree.clocks.max() <= math.ceil(math.log2(size)) * (SEND + WIRE + RECEIVE)


def test_two_levels_take_the_ring_of_the_node_that_of_the_leaders_and_the_broadcast() -> None:
    nodes = world(8, FAR_NODES, node=2)
    nodes.all_reduce(hierarchy(8, 2, None), values=1)
    near, far = SEND + WIRE + RECEIVE, SEND + FAR + RECEIVE
    # A leader is done with its pair when it has received once and sent on; then 6 messages after each other, then one.
    assert nodes.clocks.max() == near + SEND + 6 * far + near


def one_by_one(size: int, values: int, costs: Costs, node: int) -> list[float]:
    """gloo's ring all_reduce, event by event: every rank's program in order, messages in a queue."""
    parts, part = 2 * size, math.ceil(values / (2 * size))
    programs: list[list[tuple[str, int, int]]] = [[] for _ in range(size)]
    for rank, program in enumerate(programs):
        for phase, ahead in ((0, 1), (1, 0)):
            rounds = parts - 2
            for i in range(rounds + 2):
                if i >= 2 and ((rank + ahead + 1) * 2 + i - 2) % parts * part < values:
                    program.append(("receive", phase, i - 2))
                if i < rounds and ((rank + ahead) * 2 + i) % parts * part < values:
                    program.append(("send", phase, i))
    clocks, at = [0.0] * size, [0] * size
    arrived: dict[tuple[int, int, int], float] = {}
    queue = [(0.0, rank) for rank in range(size)]
    while queue:
        _, rank = heapq.heappop(queue)
        while at[rank] < len(programs[rank]):
            what, phase, i = programs[rank][at[rank]]
            if what == "send":
                clocks[rank] += costs.send_s
                peer = (rank - 1) % size
                near = rank // node == peer // node
                wire = (costs.wire_node_s if near else costs.wire_net_s) + 8 * part * costs.byte_node_s
                arrived[peer, phase, i] = clocks[rank] + wire
                heapq.heappush(queue, (arrived[peer, phase, i], peer))
            elif (rank, phase, i) in arrived:
                clocks[rank] = max(clocks[rank], arrived[rank, phase, i]) + costs.receive_s
            else:
                break
            at[rank] += 1
    assert at == [len(program) for program in programs]
    return clocks


@pytest.mark.parametrize("values", [1, 2, 5, 12, 24, 240])
@pytest.mark.parametrize("size", [2, 5, 12])
def test_all_messages_of_an_iteration_at_once_give_what_single_events_give(size: int, values: int) -> None:
    costs = Costs(send_s=SEND, receive_s=RECEIVE, wire_node_s=WIRE, wire_net_s=FAR, byte_node_s=0.25, byte_net_s=0.25)
    at_once = world(size, costs)
    at_once.all_reduce(flat(size), values)
    assert at_once.clocks.tolist() == one_by_one(size, values, costs, node=4)


@pytest.mark.parametrize(("size", "values"), [(2, 1), (4, 8), (8, 8), (8, 2000), (64, 50)])
def test_messages_are_those_that_are_not_empty(size: int, values: int) -> None:
    ring = world(size)
    ring.all_reduce(flat(size), values)
    assert ring.messages == pytest.approx(2 * sent_messages(size, values))


def test_a_thread_that_asks_learns_of_the_end_at_its_next_question() -> None:
    pair = world(2, ASKING)
    pair.all_reduce(flat(2), values=1)  # over after 2 * 19 = 38; asked at 9, 26, 43
    assert pair.clocks.max() == 43.0


def test_chance_delays_and_is_the_same_for_the_same_seed() -> None:
    late = Delays(message_s=1.0, late_share=0.1, late_s=50.0, lock_share=0.5, lock_s=7.0)
    times = []
    for seed in (1, 1, 2):
        some = world(16, delays=late, seed=seed)
        some.all_reduce(hierarchy(16, 4, 2), values=10)
        times.append(some.clocks.max())
    calm = world(16)
    calm.all_reduce(hierarchy(16, 4, 2), values=10)
    assert times[0] == times[1] != times[2]
    assert min(times) > calm.clocks.max()


@pytest.mark.parametrize(("size", "node", "block"), [(64, 8, 16), (100, 4, 16), (70, 2, 4), (8, 8, 16)])
def test_the_groups_are_those_that_ranklog_makes(size: int, node: int, block: int) -> None:
    levels = hierarchy(size, node, block)
    nodes = [rank // node for rank in range(size)]
    for rank in range(size):
        own = [tuple(group.tolist()) for groups in levels for group in groups if rank in group]
        assert own == [level.members for level in layout(rank, nodes, block)]


def test_connections_are_those_of_all_groups_of_the_first_rank() -> None:
    assert connections(flat(1024)) == 1023
    assert connections(hierarchy(1024, 8, 16)) == 7 + 15 + 7


def test_the_rule_takes_the_size_from_which_groups_win_and_the_largest_block_that_is_as_good_as_the_best() -> None:
    def time_ms(ranks: int, name: str) -> float:
        blocks = 90.0 if ranks < 64 else 10.0
        return {"flat": 50.0, "blocks of 32": 2 * blocks, "blocks of 64": 3 * blocks}.get(name, blocks)

    names = ["flat", "two levels", *(f"blocks of {block}" for block in BLOCKS)]
    rule = rule_of(
        [
            RoundCost(setting.name, ranks, node, name, 1, time_ms(ranks, name), 0.0, 0.0, 0, 0.0)
            for setting in (*SETTINGS, *VARIANTS)
            for ranks in SENSITIVE_SIZES
            for node in NODES
            for name in names
        ]
    )
    assert (rule.block, rule.from_ranks, rule.faster_from[BASE.name]) == (16, 64, 64)
    assert rule.gain[128].median == pytest.approx(0.2)
