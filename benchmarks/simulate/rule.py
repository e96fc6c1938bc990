"""Which groups to use, pure: simulated rounds in, the rule out."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec

from benchmarks.simulate.settings import BLOCKS, NODES, SENSITIVE_SIZES, SETTINGS, VARIANTS

ALIKE = 1.1
"""Blocks whose times differ by less count as alike: then fewer levels are better."""

WORTH = 0.75
"""Time against the flat group's, in the median case, that is worth more groups."""


class RoundCost(msgspec.Struct, frozen=True):
    """One round of one layout.

    Attributes:
        setting: Name of the setting.
        ranks: World size.
        node: Ranks of a node.
        layout: ``flat``, ``two levels``, or ``blocks of 16`` and so on.
        levels: Levels of groups.
        round_ms: Mean time until the last rank is done.
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


def rule_of(rounds: Sequence[RoundCost]) -> Rule:
    """The largest block that is as good as the best, and the size from which on it is worth it and rarely slower."""
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
    """The size after the last at which something is slower."""
    return 2 * max(slower, default=min(SENSITIVE_SIZES) // 2)
