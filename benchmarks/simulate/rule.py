"""Choice of groups from simulated rounds. Pure functions."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec

from benchmarks.simulate.settings import BLOCKS, NODES, SENSITIVE_SIZES, SETTINGS, VARIANTS

ALIKE = 1.1
"""Blocks whose times differ by less count as equal; fewer levels are then better."""

WORTH = 0.75
"""Time against the flat group's, in the median case, that is worth more groups."""


class RoundCost(msgspec.Struct, frozen=True):
    """One round of one layout.

    Attributes:
        setting: Name of the setting.
        ranks: World size.
        node: Ranks of a node.
        layout: ``flat``, ``two levels``, or for example ``blocks of 16``.
        levels: Levels of groups.
        round_ms: Mean time until the last rank is done.
        slowest_ms: The slowest of the simulated rounds.
        cpu_ms: Processor time of the most loaded rank.
        connections: Connections of the most loaded rank.
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


class Gain(msgspec.Struct, frozen=True):
    """Ratios of times, over cases.

    Attributes:
        median: Half of the cases are below.
        upper_quartile: Three of four cases are below.
        worst: The highest.
    """

    median: float
    upper_quartile: float
    worst: float


class Rule(msgspec.Struct, frozen=True):
    """Resulting rule.

    Attributes:
        from_ranks: World size from which on ranks on several nodes are reduced in groups.
        block: Largest group above the node level.
        loss: Time of each block size relative to the best one, mean over settings, nodes and sizes.
        gain: Time for each size relative to the flat group, over settings and nodes.
        faster_from: Size from which on the layout is faster, for each setting and all node sizes.
    """

    from_ranks: int
    block: int
    loss: dict[int, float]
    gain: dict[int, Gain]
    faster_from: dict[str, int]


def rule_of(rounds: Sequence[RoundCost]) -> Rule:
    """Return the largest block that is as good as the best, and the size from which on it is worthwhile."""
    times = {(each.setting, each.ranks, each.node, each.layout): each.round_ms for each in rounds}
    names = {setting.name for setting in SETTINGS}
    lost: dict[int, list[float]] = {block: [] for block in BLOCKS}
    for setting, ranks, node, layout in times:
        if layout == "flat" and ranks > node * min(BLOCKS) and setting in names:
            own = {block: times[setting, ranks, node, f"blocks of {block}"] for block in BLOCKS}
            for block in BLOCKS:
                lost[block].append(own[block] / min(own.values()))
    loss = {block: statistics.mean(some) for block, some in lost.items()}
    block = max(each for each in BLOCKS if loss[each] <= ALIKE * min(loss.values()))
    ratios = {
        ranks: {
            (setting.name, node): times[setting.name, ranks, node, f"blocks of {block}"]
            / times[setting.name, ranks, node, "flat"]
            for setting in (*SETTINGS, *VARIANTS)
            for node in NODES
            if ranks > node
        }
        for ranks in SENSITIVE_SIZES
    }
    gain = {
        ranks: _gain([ratio for (name, _), ratio in some.items() if name in names]) for ranks, some in ratios.items()
    }
    slower: dict[str, list[int]] = {setting.name: [] for setting in (*SETTINGS, *VARIANTS)}
    for ranks, some in ratios.items():
        for (name, _), ratio in some.items():
            if ratio >= 1:
                slower[name].append(ranks)
    return Rule(
        from_ranks=_next_size([n for n, each in gain.items() if each.median > WORTH or each.upper_quartile >= 1]),
        block=block,
        loss=loss,
        gain=gain,
        faster_from={name: _next_size(some) for name, some in slower.items()},
    )


def _gain(ratios: Sequence[float]) -> Gain:
    some = sorted(ratios)
    return Gain(statistics.median(some), some[len(some) * 3 // 4], some[-1])


def _next_size(slower: Sequence[int]) -> int:
    """Return the size after the last one at which a case is slower."""
    return 2 * max(slower, default=min(SENSITIVE_SIZES) // 2)
