"""Simulated time of one round by world size, to decide when to reduce ranks in groups.

Reads the message costs measured by `benchmarks.message_costs`. Prints, and writes as text and JSON, for each layout of
groups the round time, processor time, connections and opening time. Also shows the influence of the assumptions, the
agreement of the model with the measurements, and the resulting rule.

python -m benchmarks.round_costs
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import msgspec

from benchmarks.message_costs import OUT as MEASURED
from benchmarks.message_costs import MessageCosts, line
from benchmarks.simulate.costs import Costs
from benchmarks.simulate.layouts import Levels, flat, hierarchy
from benchmarks.simulate.opening import OpeningCosts, connections, opening_s
from benchmarks.simulate.ranks import Simulation
from benchmarks.simulate.report import Check, GatherCost, Report, text_of
from benchmarks.simulate.rule import RoundCost, rule_of
from benchmarks.simulate.settings import (
    BASE,
    BLOCKS,
    NODES,
    REPORT_BYTES,
    ROUND,
    SENSITIVE_SIZES,
    SETTINGS,
    SIZES,
    VARIANTS,
    Setting,
)

OUT = Path(__file__).resolve().parent / "results" / "round_costs"

SEED = 16384


def costs_of(measured: MessageCosts, setting: Setting) -> Costs:
    """Return measured costs within a node, and the assumed one-way time of the network between nodes."""
    loopback = next(each for each in measured.ping_pong if not each.busy and each.size_bytes <= 64)
    wake = next(each for each in measured.wake if each.main_thread == "waits")
    hop_s = measured.hop_us * 1e-6 / setting.speed
    cpu_s = min(measured.cpu_us * 1e-6 / setting.speed, hop_s)
    return Costs(
        send_s=cpu_s / 2,
        receive_s=cpu_s / 2,
        wire_node_s=hop_s - cpu_s,
        wire_net_s=max(0.0, hop_s - cpu_s + (setting.network_us - loopback.median_us) * 1e-6),
        byte_node_s=measured.byte_ns * 1e-9,
        byte_net_s=0.8e-9,  # 10 Gbit/s
        call_s=measured.call_us * 1e-6 / setting.speed,
        wake_s=wake.median_us * 1e-6,
        first_ask_s=setting.first_ask_s,
        last_ask_s=setting.last_ask_s,
    )


def opening_costs(measured: MessageCosts) -> OpeningCosts:
    eager = [each for each in measured.opening if not each.lazy]
    connect_ms, _ = line([(each.ranks, each.ms) for each in eager])
    return OpeningCosts(get_s=measured.store_get_us * 1e-6, byte_s=0.8e-9, connect_s=max(0.0, connect_ms) * 1e-3)


def layouts(ranks: int, node: int) -> dict[str, Levels]:
    named = {"flat": flat(ranks), "two levels": hierarchy(ranks, node, None)}
    return named | {f"blocks of {block}": hierarchy(ranks, node, block) for block in BLOCKS}


def simulate(measured: MessageCosts, cases: Sequence[tuple[Setting, int]]) -> list[RoundCost]:
    """Simulate rounds of every layout for all settings and world sizes, with one process per core."""
    largest_first = sorted(cases, key=lambda case: -case[1])
    with ProcessPoolExecutor() as pool:
        found = pool.map(partial(_case, measured), largest_first)
        return sorted(itertools.chain.from_iterable(found), key=lambda each: each.ranks)


def _case(measured: MessageCosts, case: tuple[Setting, int]) -> list[RoundCost]:
    setting, ranks = case
    found = []
    for node in NODES:
        known: dict[tuple[int, ...], RoundCost] = {}
        for name, levels in layouts(ranks, node).items():
            shape = tuple(len(groups) for groups in levels)
            if shape not in known:
                known[shape] = _round_cost(measured, setting, ranks, node, levels)
            found.append(msgspec.structs.replace(known[shape], layout=name))
    return found


def _round_cost(measured: MessageCosts, setting: Setting, ranks: int, node: int, levels: Levels) -> RoundCost:
    world = Simulation(ranks, node=node, costs=costs_of(measured, setting), delays=setting.delays, seed=SEED)
    times = []
    # Randomness averages out with many ranks.
    for _ in range(40 if ranks <= 64 else 10 if ranks <= 512 else 1):
        world.clocks[:] = 0.0
        for values in ROUND:
            world.all_reduce(levels, values)
        times.append(float(world.clocks.max()) * 1e3)
    cpu_us = (world.messages / 2 * measured.cpu_us + world.calls * measured.cpu_call_us) / setting.speed
    return RoundCost(
        setting=setting.name,
        ranks=ranks,
        node=node,
        layout="",
        levels=len(levels),
        round_ms=round(statistics.mean(times), 3),
        slowest_ms=round(max(times), 3),
        cpu_ms=round(float(cpu_us.max()) / len(times) / 1e3, 3),
        connections=connections(levels),
        opening_s=round(opening_s(levels, opening_costs(measured)), 3),
    )


def gathers(measured: MessageCosts, block: int) -> list[GatherCost]:
    found = []
    costs = costs_of(measured, BASE)
    for ranks in (64, 256, 1024, 4096):
        flat_ms, blocks_ms = (_gather_ms(ranks, levels, costs) for levels in (flat(ranks), hierarchy(ranks, 8, block)))
        # All messages pass rank 0's processor and link, one after the other.
        star_s = (ranks - 1) * (costs.receive_s + costs.send_s + (1 + ranks) * REPORT_BYTES * costs.byte_net_s)
        found.append(GatherCost(ranks, flat_ms, blocks_ms, star_s * 1e3, ranks * REPORT_BYTES / 2**20))
    return found


def _gather_ms(ranks: int, levels: Levels, costs: Costs) -> float:
    world = Simulation(ranks, node=8, costs=costs, delays=BASE.delays, seed=SEED)
    world.all_gather(levels, REPORT_BYTES)
    return float(world.clocks.max()) * 1e3


def checks(measured: MessageCosts) -> list[Check]:
    costs = costs_of(measured, Setting("", first_ask_s=0.0))
    found = []
    for each in measured.all_reduce:
        world = Simulation(each.ranks, node=each.ranks, costs=costs)
        world.all_reduce(flat(each.ranks), each.values)
        cores_us = each.ranks * each.cpu_us / min(measured.cores, each.ranks)
        found.append(Check(each.ranks, each.values, each.median_us, float(world.clocks.max()) * 1e6, cores_us))
    return found


def main() -> None:
    measured = msgspec.json.decode(MEASURED.read_bytes(), type=MessageCosts)
    cases = [(BASE, n) for n in SIZES] + [
        (setting, n) for setting in (*SETTINGS[1:], *VARIANTS) for n in SENSITIVE_SIZES
    ]
    rounds = simulate(measured, cases)
    rule = rule_of(rounds)
    report = Report(rounds, gathers(measured, rule.block), checks(measured), rule)
    text = text_of(report)
    OUT.with_suffix(".md").write_text(text, encoding="utf-8")
    OUT.with_suffix(".json").write_bytes(msgspec.json.encode(report) + b"\n")
    print(text)


if __name__ == "__main__":
    main()
