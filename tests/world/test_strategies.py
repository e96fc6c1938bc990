"""A strategy by name finds this process's place and opens a world; other names are an error that lists these."""

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from ranklog.model.errors import InvalidArgumentError, WorldError
from ranklog.world.fake import FakeWorld
from ranklog.world.strategies import resolve_strategy

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}


Group = Callable[[int, int], None]


@pytest.fixture
def group_of() -> Iterator[Group]:
    """Initialise torch's default group with a rank and a world size of our choice."""
    dist = pytest.importorskip("torch.distributed")
    from torch.testing._internal.distributed.fake_pg import FakeStore

    def initialise(rank: int, world_size: int) -> None:
        dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world_size)

    yield initialise
    if dist.is_initialized():
        dist.destroy_process_group()


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
    assert strategy.name == "auto"
    assert str(strategy.place()) == "rank 1/2 (torchrun)"
    assert not strategy.ready()
    with pytest.raises(WorldError, match="init_process_group"):
        strategy.connect(channel="a", timeout_s=1)


@pytest.mark.usefixtures("torchrun")
def test_single_ignores_the_launcher() -> None:
    assert resolve_strategy("single").place().world_size == 1


@pytest.mark.usefixtures("torchrun")
def test_a_rank_that_the_launcher_contradicts_is_refused_at_once() -> None:
    assert resolve_strategy("auto", rank=1).place().rank == 1
    for name in ("auto", "torch"):
        with pytest.raises(InvalidArgumentError, match=r"rank=0 .* rank 1/2 \(torchrun\): leave rank out"):
            resolve_strategy(name, rank=0)


@pytest.mark.usefixtures("torchrun")
def test_the_given_rank_counts_for_a_process_by_itself() -> None:
    place = resolve_strategy("single", rank=3).place()
    assert (place.rank, place.is_main) == (3, False)
    assert place.rank < place.world_size


def test_without_group_and_launcher_the_given_rank_counts() -> None:
    for name in ("auto", "torch"):
        assert resolve_strategy(name, rank=1).place().rank == 1


@pytest.mark.parametrize("size", [1, 4])
def test_a_rank_that_the_group_contradicts_is_refused_at_once(group_of: Group, size: int) -> None:
    early = resolve_strategy("torch", rank=5)
    group_of(size - 1, size)
    assert resolve_strategy("auto", rank=size - 1).place().rank == size - 1
    for name in ("auto", "torch"):
        with pytest.raises(InvalidArgumentError, match=rf"rank=5 .* rank {size - 1}/{size} .*the rank of the group"):
            resolve_strategy(name, rank=5)
    with pytest.raises(WorldError, match="rank=5"):  # the group came after the rank was given
        early.connect(channel="a", timeout_s=1)


def test_a_process_with_a_group_that_is_forced_single_is_single(
    group_of: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    group_of(1, 2)
    assert resolve_strategy("auto").name == "torch"
    monkeypatch.setenv("RANKLOG_STRATEGY", "single")
    strategy = resolve_strategy("auto")
    assert (strategy.name, str(strategy.place())) == ("single", "rank 0/1 (single)")
    assert strategy.connect(channel="a", timeout_s=1).place.world_size == 1


def test_a_strategy_of_the_user_is_returned_unchanged() -> None:
    own = FakeWorld(2).strategy(1)
    assert resolve_strategy(own) is own


def test_unknown_names_and_ranks_are_refused_with_what_is_allowed() -> None:
    for unknown in ("gloo", object()):
        with pytest.raises(InvalidArgumentError, match="auto, single, torch, deepspeed, horovod, mpi, ray"):
            resolve_strategy(unknown)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="rank=-1"):
        resolve_strategy("auto", rank=-1)


def test_finding_the_strategy_imports_no_torch() -> None:
    code = (
        "import sys; from ranklog.world.strategies import resolve_strategy;"
        "resolve_strategy('torch').ready(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
