"""When ranks should be combined group by group: the time of one round against the world size, simulated.

In: the message costs that `benchmarks.message_costs` measured. Out, printed and as text and JSON: round time,
processor time, connections and opening of each layout of groups, what changes when the assumptions do, how near the
model is to what was measured, and the rule that follows.

python -m benchmarks.round_costs
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import msgspec

from benchmarks.message_costs import OUT as MEASURED
from benchmarks.message_costs import MessageCosts, line
from benchmarks.simulate.costs import QUIET, Costs, Delays
from benchmarks.simulate.layouts import Levels, flat, hierarchy
from benchmarks.simulate.opening import OpeningCosts, connections, opening_s
from benchmarks.simulate.ranks import Simulation

OUT = Path(__file__).resolve().parent / "results" / "round_costs"
ROUND = (8, 2, 4 * 50 * 10, 2 * 50 * 10)
"""Values of a round's all_reduces: header, hash, sums and extremes of 50 metrics over 10 steps."""

SIZES = tuple(2**i for i in range(1, 15))
SENSITIVE_SIZES = tuple(2**i for i in range(3, 10))
NODES = (4, 8)
BLOCKS = (8, 16, 32, 64)
SEED = 16384
ALIKE = 1.1
"""Blocks whose times differ by less count as alike: then fewer levels are better."""

WORTH = 0.75
"""Time against the flat group's, in the median case, that is worth more groups."""

REPORT_BYTES = 2048
"""Of one rank on the gathered path: 50 names and values of one step."""


class Setting(msgspec.Struct, frozen=True):
    """What is assumed of machine, network and program.

    Attributes:
        name: In the tables.
        network_us: One way of a small TCP message between nodes.
        speed: How much faster messages and calls are handled than on the machine that was measured.
        delays: Chance.
        first_ask_s: As in `Costs`.
        last_ask_s: As in `Costs`.
    """

    name: str
    network_us: float = 30.0
    speed: float = 1.0
    delays: Delays = Delays(message_s=10e-6, late_share=1e-3, late_s=1e-3, lock_share=0.02, lock_s=5e-3)
    first_ask_s: float = 1e-4
    last_ask_s: float = 1e-2


BASE = Setting("as assumed")
SETTINGS = (
    BASE,
    Setting("network 15 µs", 15.0),
    Setting("network 50 µs", 50.0),
    Setting("network 100 µs", 100.0),
    Setting("processors 3 times as fast", speed=3.0),
    Setting("nothing is ever late", delays=QUIET),
    Setting("1 % of messages 2 ms late", delays=Delays(20e-6, 1e-2, 2e-3, 0.02, 5e-3)),
    Setting("lock never waited for", delays=Delays(10e-6, 1e-3, 1e-3)),
    Setting("lock always waited for, 5 ms", delays=Delays(10e-6, 1e-3, 1e-3, 1.0, 5e-3)),
)
VARIANTS = (
    Setting("asked at most 2 ms apart", last_ask_s=2e-3),
    Setting("the same, processors 3 times as fast", speed=3.0, last_ask_s=2e-3),
    Setting("result told at once", first_ask_s=0.0),
)
"""Other programs, not other machines: shown, but the rule is for the program as it is."""



class RoundCost(msgspec.Struct, frozen=True):
    """One round of one layout.

    Attributes:
        setting: Name of the setting.
        ranks: World size.
        node: Ranks of a node.
        layout: ``flat``, ``two levels``, or ``blocks of 16`` and so on.
        levels: Levels of groups.
        round_ms: Median time until the last rank is done.
        slowest_ms: The slowest of the simulated rounds.
        cpu_ms: Processor time of the rank that needs most.
        connections: Of the rank that has most.
        opening_s: Time to open all groups.
    """

    setting: str
    ranks: int
    node: int
    layout: str
    levels: int
    round_ms: float
    slowest_ms: float
    cpu_ms: float
    connections: int
    opening_s: float


class GatherCost(msgspec.Struct, frozen=True):
    """One all_gather of `REPORT_BYTES` of each rank, nodes of 8.

    Attributes:
        ranks: World size.
        flat_ms: In one group.
        blocks_ms: In the layout of the rule.
        star_ms: Through rank 0, which hears from each rank and tells each everything.
        received_mib: What every rank receives.
    """

    ranks: int
    flat_ms: float
    blocks_ms: float
    star_ms: float
    received_mib: float


class Check(msgspec.Struct, frozen=True):
    """The model beside what was measured: one all_reduce of processes on one machine, its result told at once.

    Attributes:
        ranks: World size.
        values: Length of the vector.
        measured_us: Median.
        simulated_us: With nothing late, and a core for each rank.
        cores_us: What the measured processor time of all ranks takes on the cores that there were.
    """

    ranks: int
    values: int
    measured_us: float
    simulated_us: float
    cores_us: float


class Gain(msgspec.Struct, frozen=True):
    """Ratios of times, over cases.

    Attributes:
        median: Half of the cases are below.
        upper_quartile: Three of four are below.
        worst: The highest.
    """

    median: float
    upper_quartile: float
    worst: float


class Rule(msgspec.Struct, frozen=True):
    """What follows.

    Attributes:
        from_ranks: World size from which on ranks on several nodes are combined group by group.
        block: Members of a group above the node at most.
        loss: For each block, its time against the best block's: mean over settings, nodes and sizes.
        gain: For each size, time against the flat group's over settings and nodes.
        faster_from: For each setting, from which size on the layout is faster, whatever the node.
    """

    from_ranks: int
    block: int
    loss: dict[int, float]
    gain: dict[int, Gain]
    faster_from: dict[str, int]


class Report(msgspec.Struct, frozen=True):
    """Everything."""

    rounds: list[RoundCost]
    gathers: list[GatherCost]
    checks: list[Check]
    rule: Rule


def costs_of(measured: MessageCosts, setting: Setting) -> Costs:
    """Within a node as measured; between nodes the network's one way stands in for the loopback's."""
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
    """Rounds of every layout for settings and world sizes, in as many processes as there are cores."""
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
    # Chance matters less where many ranks have their share.
    for _ in range(15 if ranks <= 128 else 5 if ranks <= 512 else 1):
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
        round_ms=round(statistics.median(times), 3),
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
        # All goes through rank 0's processor and link, one message after the other.
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


def rule_of(rounds: Sequence[RoundCost]) -> Rule:
    """The largest block that is as good as the best, and the size from which on it is worth it and rarely slower."""
    times = {(each.setting, each.ranks, each.node, each.layout): each.round_ms for each in rounds}
    lost: dict[int, list[float]] = {block: [] for block in BLOCKS}
    for setting, ranks, node, layout in times:
        if layout == "flat" and ranks > node * min(BLOCKS):
            own = {block: times[setting, ranks, node, f"blocks of {block}"] for block in BLOCKS}
            for block in BLOCKS:
                lost[block].append(own[block] / min(own.values()))
    loss = {block: statistics.mean(some) for block, some in lost.items()}
    block = max(each for each in BLOCKS if loss[each] <= ALIKE * min(loss.values()))
    cases = {
        ranks: {
            (setting.name, node): times[setting.name, ranks, node, f"blocks of {block}"]
            / times[setting.name, ranks, node, "flat"]
            for setting in SETTINGS
            for node in NODES
            if ranks > node
        }
        for ranks in SENSITIVE_SIZES
    }
    gain = {ranks: Gain(*_quartiles(some.values())) for ranks, some in cases.items()}
    slower = {
        setting.name: [
            n for n, some in cases.items() for (name, _), ratio in some.items() if name == setting.name and ratio >= 1
        ]
        for setting in SETTINGS
    }
    return Rule(
        from_ranks=_next_size([n for n, each in gain.items() if each.median > WORTH or each.upper_quartile >= 1]),
        block=block,
        loss=loss,
        gain=gain,
        faster_from={name: _next_size(some) for name, some in slower.items()},
    )


def _quartiles(ratios: Iterable[float]) -> tuple[float, float, float]:
    some = sorted(ratios)
    return statistics.median(some), some[len(some) * 3 // 4], some[-1]


def _next_size(slower: Sequence[int]) -> int:
    """The size after the last at which something is slower."""
    return 2 * max(slower, default=min(SENSITIVE_SIZES) // 2)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    cells = [[_cell(each) for each in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(head), ["---"] * len(head), *cells])


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def text_of(report: Report) -> str:
    """The report as Markdown tables."""
    rounds = {(each.setting, each.ranks, each.node, each.layout): each for each in report.rounds}
    names = ["flat", "two levels", *(f"blocks of {block}" for block in BLOCKS)]
    rule, chosen = report.rule, f"blocks of {report.rule.block}"
    parts = [
        f"A round of all_reduces of {', '.join(map(str, ROUND))} values, {BASE.name}, nodes of {node}, ms\n\n"
        + _table(
            ["ranks", *names], ([n, *(rounds[BASE.name, n, node, each].round_ms for each in names)] for n in SIZES)
        )
        for node in reversed(NODES)
    ]
    costs = ["flat", "two levels", chosen]
    head = [f"{what}: {name}" for what in ("processor ms", "connections", "opening s") for name in costs]
    parts.append(
        "The rank that has most to do, nodes of 8\n\n"
        + _table(
            ["ranks", *head],
            (
                [n, *(c.cpu_ms for c in found), *(c.connections for c in found), *(c.opening_s for c in found)]
                for n in SIZES
                for found in [[rounds[BASE.name, n, 8, name] for name in costs]]
            ),
        )
    )
    shown = (32, 64, 128, 512)
    parts.append(
        f"What the assumptions matter, nodes of 8, ms: flat → {chosen}\n\n"
        + _table(
            ["setting", *(f"{n} ranks" for n in shown), "faster from, nodes of 4 and 8"],
            (
                [
                    setting.name,
                    *(
                        " → ".join(_cell(rounds[setting.name, n, 8, name].round_ms) for name in ("flat", chosen))
                        for n in shown
                    ),
                    rule.faster_from[setting.name],
                ]
                for setting in SETTINGS
            ),
        )
    )
    parts.append(
        f"all_gather of {REPORT_BYTES} bytes of each rank, nodes of 8, ms\n\n"
        + _table(
            ["ranks", "flat", chosen, "star through rank 0", "MiB each rank receives"],
            ([g.ranks, g.flat_ms, g.blocks_ms, g.star_ms, g.received_mib] for g in report.gathers),
        )
    )
    parts.append(
        "The model beside the measurement: one all_reduce over loopback, µs\n\n"
        + _table(
            ["ranks", "values", "measured", "simulated", "processor time by cores"],
            ([c.ranks, c.values, c.measured_us, c.simulated_us, c.cores_us] for c in report.checks),
        )
    )
    parts.append(
        f"Rule: from {rule.from_ranks} ranks on several nodes on, group by group, in blocks of {rule.block}.\n"
        "* Size, time against the flat group's over all settings and nodes, median (three of four below, worst): "
        + ", ".join(f"{g.median:.2f} ({g.upper_quartile:.2f}, {g.worst:.2f}) at {n}" for n, g in rule.gain.items())
        + f".\n* Block, time against the best block's, mean over all cases of more than {min(BLOCKS)} nodes: "
        + ", ".join(f"{loss:.2f} with {block}" for block, loss in rule.loss.items())
        + "."
    )
    return "\n\n".join(parts) + "\n"


def main() -> None:
    measured = msgspec.json.decode(MEASURED.read_bytes(), type=MessageCosts)
    cases = [(BASE, n) for n in SIZES] + [(setting, n) for setting in (*SETTINGS[1:], *VARIANTS) for n in SENSITIVE_SIZES]
    rounds = simulate(measured, cases)
    rule = rule_of(rounds)
    report = Report(rounds, gathers(measured, rule.block), checks(measured), rule)
    text = text_of(report)
    OUT.with_suffix(".md").write_text(text, encoding="utf-8")
    OUT.with_suffix(".json").write_bytes(msgspec.json.encode(report) + b"\n")
    print(text)


if __name__ == "__main__":
    main()
