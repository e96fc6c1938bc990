"""Simulated time until ranks form a new generation, by world size.

Uses the message costs measured by `benchmarks.message_costs`, the layout of the rule in `results/round_costs.json`, and
the time that this machine takes to encode and decode the agreements about keys. That grows with the square of the
world size, so it is measured at `MEASURED_RANKS` and scaled. Prints a table and writes it to `results/`.

python -m benchmarks.regroup_costs
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from benchmarks.message_costs import OUT as MEASURED
from benchmarks.message_costs import MessageCosts
from benchmarks.round_costs import OUT as ROUND_COSTS
from benchmarks.round_costs import SEED, costs_of, opening_costs
from benchmarks.simulate.layouts import Levels, hierarchy
from benchmarks.simulate.ranks import Simulation
from benchmarks.simulate.regrouping import Regrouping, regrouping
from benchmarks.simulate.report import Report
from benchmarks.simulate.settings import BASE
from ranklog.reduce.agree import Memory
from ranklog.reduce.generation import decode_memory, encode_memory

OUT = Path(__file__).resolve().parent / "results" / "regroup_costs.md"
RANKS = (8, 64, 256, 1024, 4096, 16384)
NODE = 8
MEASURED_RANKS = 1024
HANDSHAKE_BYTES = 120
"""Handshake of one rank: versions, run, host."""
CONSUMED_BYTES = 24
"""What rank 0 says about one rank."""


def memory_s() -> float:
    """Seconds to encode and decode the agreements of `MEASURED_RANKS` ranks; the best of five."""
    memory = Memory.fresh(MEASURED_RANKS).after_fused()
    times = []
    for _ in range(5):
        start_s = time.perf_counter()
        decode_memory(encode_memory(memory), MEASURED_RANKS)
        times.append(time.perf_counter() - start_s)
    return min(times)


def gather_s(measured: MessageCosts, ranks: int, levels: Levels) -> float:
    """Seconds of one all_gather of handshakes, with rank 0's share spread over all ranks."""
    world = Simulation(ranks, node=NODE, costs=costs_of(measured, BASE), delays=BASE.delays, seed=SEED)
    world.all_gather(levels, HANDSHAKE_BYTES + CONSUMED_BYTES)
    return float(world.clocks.max())


def table(rows: list[Regrouping]) -> str:
    """Return the rows as Markdown."""
    head = ["ranks", "requests", "rolls", "groups", "memory", "handshakes", "together"]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    for row in rows:
        times = (row.store_s, row.rolls_s, row.groups_s, row.memory_s, row.gather_s, row.total_s)
        lines.append(f"| {row.ranks:,} | " + " | ".join(f"{each:.2f}" for each in times) + " |")
    return "\n".join(lines)


def main() -> None:
    """Simulate all sizes."""
    measured = msgspec.json.decode(MEASURED.read_bytes(), type=MessageCosts)
    report = msgspec.json.decode(ROUND_COSTS.with_suffix(".json").read_bytes(), type=Report)
    one_s = memory_s()
    rows = []
    for ranks in RANKS:
        levels = hierarchy(ranks, NODE, report.rule.block)
        own_s = one_s * (ranks / MEASURED_RANKS) ** 2
        gathered_s = gather_s(measured, ranks, levels)
        rows.append(regrouping(ranks, levels, opening_costs(measured), memory_s=own_s, gather_s=gathered_s))
    text = (
        f"Seconds from the moment when all ranks have called until the first round, nodes of {NODE}, blocks of"
        f" {report.rule.block}. Rank 0 waits up to 5 s and 1 ms per rank more for ranks that do not come."
        f"\n\n{table(rows)}\n"
    )
    OUT.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
