"""Results of the simulation as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from benchmarks.simulate.rule import RoundCost, Rule
from benchmarks.simulate.settings import BASE, BLOCKS, NODES, REPORT_BYTES, ROUND, SETTINGS, SIZES, VARIANTS


class GatherCost(msgspec.Struct, frozen=True):
    """One all_gather of `REPORT_BYTES` per rank, with nodes of 8.

    Attributes:
        ranks: World size.
        flat_ms: Time in one group.
        blocks_ms: Time in the layout of the rule.
        star_ms: Time through rank 0, which receives from each rank and sends everything to each.
        received_mib: Data received by every rank.
    """

    ranks: int
    flat_ms: float
    blocks_ms: float
    star_ms: float
    received_mib: float


class Check(msgspec.Struct, frozen=True):
    """Model and measurement of one all_reduce on one machine, without polling.

    Attributes:
        ranks: World size.
        values: Length of the vector.
        measured_us: Median.
        simulated_us: Without random delays, and with one core per rank.
        cores_us: Measured processor time of all ranks, divided by the number of cores.
    """

    ranks: int
    values: int
    measured_us: float
    simulated_us: float
    cores_us: float


class Report(msgspec.Struct, frozen=True):
    """All results."""

    rounds: list[RoundCost]
    gathers: list[GatherCost]
    checks: list[Check]
    rule: Rule


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    cells = [[_cell(each) for each in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(head), ["---"] * len(head), *cells])


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def text_of(report: Report) -> str:
    """Return the report as Markdown tables."""
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
        "The most loaded rank, nodes of 8\n\n"
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
        f"Influence of the assumptions, nodes of 8, ms: flat → {chosen}\n\n"
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
                for setting in (*SETTINGS, *VARIANTS)
            ),
        )
    )
    parts.append(
        f"all_gather of {REPORT_BYTES} bytes per rank, nodes of 8, ms\n\n"
        + _table(
            ["ranks", "flat", chosen, "star through rank 0", "MiB received per rank"],
            ([g.ranks, g.flat_ms, g.blocks_ms, g.star_ms, g.received_mib] for g in report.gathers),
        )
    )
    parts.append(
        "Model and measurement: one all_reduce over loopback, µs\n\n"
        + _table(
            ["ranks", "values", "measured", "simulated", "processor time by cores"],
            ([c.ranks, c.values, c.measured_us, c.simulated_us, c.cores_us] for c in report.checks),
        )
    )
    own = [rounds[BASE.name, rule.from_ranks, 8, name] for name in ("flat", chosen)]
    parts.append(
        f"Rule: from {rule.from_ranks} ranks on several nodes on, reduction in groups, with blocks of {rule.block}.\n"
        f"* At this size: round {own[0].round_ms:.0f} → {own[1].round_ms:.0f} ms, processor time {own[0].cpu_ms:.0f} →"
        f" {own[1].cpu_ms:.0f} ms, connections {own[0].connections} → {own[1].connections}.\n"
        "* Size, time against the flat group's over all settings and nodes, median (three of four below, worst): "
        + ", ".join(f"{g.median:.2f} ({g.upper_quartile:.2f}, {g.worst:.2f}) at {n}" for n, g in rule.gain.items())
        + f".\n* Block, time against the best block's, mean over all cases of more than {min(BLOCKS)} nodes: "
        + ", ".join(f"{loss:.2f} with {block}" for block, loss in rule.loss.items())
        + "."
    )
    return "\n\n".join(parts) + "\n"
