"""A strategy by name finds this process's place and opens a world, or says what is allowed."""

import subprocess
import sys

import pytest

from ranklog.model.errors import InvalidArgumentError, WorldError
from ranklog.world.fake import FakeWorld
from ranklog.world.strategies import resolve_strategy

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)


def test_a_process_by_itself_is_single() -> None:
    strategy = resolve_strategy()
    assert (strategy.name, strategy.ready()) == ("single", True)
    assert (strategy.place().rank, strategy.place().world_size) == (0, 1)
    assert strategy.connect(channel="a", timeout_s=1).all_gather(b"x", timeout_s=1) == [b"x"]


@pytest.mark.usefixtures("torchrun")
def test_a_launched_process_waits_for_its_torch_group() -> None:
    strategy = resolve_strategy("auto")
    assert strategy.name == "torch"
    assert str(strategy.place()) == "rank 1/2 (torchrun)"
    assert not strategy.ready()
    with pytest.raises(WorldError, match="init_process_group"):
        strategy.connect(channel="a", timeout_s=1)


@pytest.mark.usefixtures("torchrun")
def test_single_ignores_the_launcher() -> None:
    assert resolve_strategy("single").place().world_size == 1


@pytest.mark.usefixtures("torchrun")
def test_a_given_rank_wins_over_what_is_found() -> None:
    assert resolve_strategy("auto", rank=0).place().rank == 0
    place = resolve_strategy("single", rank=3).place()
    assert (place.rank, place.is_main) == (3, False)
    assert place.rank < place.world_size


def test_a_strategy_of_ones_own_is_taken_as_it_is() -> None:
    own = FakeWorld(2).strategy(1)
    assert resolve_strategy(own) is own


def test_unknown_names_and_ranks_are_refused_with_what_is_allowed() -> None:
    with pytest.raises(InvalidArgumentError, match="auto, single, torch"):
        resolve_strategy("horovod")
    with pytest.raises(InvalidArgumentError, match="rank=-1"):
        resolve_strategy("auto", rank=-1)


def test_finding_the_strategy_imports_no_torch() -> None:
    code = (
        "import sys; from ranklog.world.strategies import resolve_strategy;"
        "resolve_strategy('torch').ready(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
