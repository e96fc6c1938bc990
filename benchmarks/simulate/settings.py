"""Simulated settings: one round, with assumptions about machine, network and program."""

from __future__ import annotations

import msgspec

from benchmarks.simulate.costs import QUIET, Delays

ROUND = (8, 2, 4 * 50 * 10, 2 * 50 * 10)
"""Values of a round's all_reduces: header, hash, sums and extremes of 50 metrics over 10 steps."""

REPORT_BYTES = 2048
"""Bytes per rank on the gathered path: 50 names and values of one step."""

SIZES = tuple(2**i for i in range(1, 15))
SENSITIVE_SIZES = tuple(2**i for i in range(3, 10))
NODES = (4, 8)
BLOCKS = (8, 16, 32, 64)


class Setting(msgspec.Struct, frozen=True):
    """Assumptions about machine, network and program.

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
"""Settings of other programs. They are shown, but the rule applies to the current program."""
