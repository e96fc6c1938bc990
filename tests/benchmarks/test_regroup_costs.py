"""The time limits for a new generation leave twice the time that the simulation says a world of this size needs."""

import sys
from pathlib import Path

import msgspec
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))  # where `benchmarks` is, whatever the working directory

from benchmarks.message_costs import OUT as MEASURED
from benchmarks.message_costs import MessageCosts
from benchmarks.regroup_costs import NODE, RANKS
from benchmarks.round_costs import opening_costs
from benchmarks.simulate.layouts import hierarchy
from benchmarks.simulate.regrouping import regrouping
from ranklog.world.torch.meeting import answer_s


@pytest.mark.parametrize("ranks", RANKS)
def test_a_listed_rank_has_twice_the_time_that_the_answers_of_a_world_of_this_size_take(ranks: int) -> None:
    costs = opening_costs(msgspec.json.decode(MEASURED.read_bytes(), type=MessageCosts))
    needed = regrouping(ranks, hierarchy(ranks, NODE, 16), costs, memory_s=0.0, gather_s=0.0)
    assert answer_s(ranks) >= 2 * needed.meeting_s
