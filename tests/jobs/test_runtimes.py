"""The same script gives the same record on every runtime, each with real processes."""

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from runtimes import start

from ranklog.journal.layout import find_runs
from ranklog.model.record import Coverage, Metrics, Params, Record
from ranklog.testing import captured, series

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
TRAIN = ROOT / "examples" / "runtimes" / "train.py"
HOW_TO = ROOT / "docs" / "how-to" / "strategies.md"
LAUNCHER = {"deepspeed": "torch", "deepspeed-zero1": "torch"}
RUNTIMES = ("single", "torch", "deepspeed", "deepspeed-zero1", "horovod", "mpi", "ray")


def records_of(folder: Path) -> list[Record]:
    (run_dir,) = find_runs(folder)
    return captured(run_dir)


@pytest.fixture(scope="session")
def losses(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[int, float]]:
    """Trains on a runtime, once, and gives the reduced loss by step."""
    known: dict[str, dict[int, float]] = {}

    def train(runtime: str) -> dict[int, float]:
        if runtime not in known:
            folder = tmp_path_factory.mktemp(runtime)
            arguments = (runtime, "--log-to", "journal", "--savedir", str(folder / "logs"))
            done = start(LAUNCHER.get(runtime, runtime), 2, TRAIN, *arguments, cwd=folder)
            assert done.code == 0, done.output
            found = records_of(folder / "logs")
            size = 1 if runtime == "single" else 2
            reduced = [r for r in found if isinstance(r, Metrics) and r.op is not None]
            assert {r.coverage for r in reduced} == {Coverage(size, size, size)}
            if size == 2:
                assert set(series(found, "loss_spread/max_rank").values()) == {0.0, 1.0}
            known[runtime] = series(found, "train/loss")
        return known[runtime]

    return train


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_runtime_logs_the_same_loss(runtime: str, losses: Callable[[str], dict[int, float]]) -> None:
    found, expected = losses(runtime), losses("torch")
    assert list(found) == list(range(30))
    assert found == pytest.approx(expected, rel=1e-6)
    assert found[29] < found[0] - 0.2, "it trains"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_table_of_the_how_to_shows_that_loss(runtime: str, losses: Callable[[str], dict[int, float]]) -> None:
    row = re.search(rf"^\| `{runtime}` \|.*\| ([0-9.]+) \| ([0-9.]+) \|$", HOW_TO.read_text(), re.MULTILINE)
    assert row is not None
    found = losses(runtime)
    assert [float(row[1]), float(row[2])] == pytest.approx([found[0], found[29]], rel=1e-6)


SCRIPTS = {
    "torch_ddp.py": "torch",
    "deepspeed_zero.py": "torch",
    "horovod_sgd.py": "horovod",
    "mpi_ranks.py": "mpi",
    "ray_train.py": "ray",
    "given_by_an_object.py": "torch",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_scripts_of_the_how_to_reduce_over_both_ranks(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANKLOG_BACKENDS", "journal")
    done = start(SCRIPTS[name], 2, ROOT / "examples" / "strategies" / name, cwd=tmp_path)
    assert done.code == 0, done.output
    found = records_of(tmp_path / "mllogs")
    reduced = [r for r in found if isinstance(r, Metrics) and "loss" in r.values]
    assert [r.step for r in reduced] == list(range(20))
    assert {r.coverage for r in reduced} == {Coverage(2, 2, 2)}


def test_trials_of_ray_tune_write_a_run_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKLOG_BACKENDS", "journal")
    done = start("ray", 1, ROOT / "examples" / "strategies" / "ray_tune.py", cwd=tmp_path)
    assert done.code == 0, done.output
    runs = [captured(run_dir) for run_dir in find_runs(tmp_path / "mllogs")]
    assert len(runs) == 2
    for found in runs:
        (rate,) = [r.values["lr"] for r in found if isinstance(r, Params)]
        assert isinstance(rate, float)
        assert series(found, "loss") == pytest.approx({step: rate / (step + 1) for step in range(20)})


class Block(msgspec.Struct):
    """A block of code in the how-to that says which file it is."""

    file: str
    code: str


def blocks() -> list[Block]:
    pattern = re.compile(r"<!-- (examples/\S+) -->\n```python\n(.*?)```", re.DOTALL)
    return [Block(m[1], m[2]) for m in pattern.finditer(HOW_TO.read_text())]


def test_the_how_to_shows_the_files_that_are_run() -> None:
    shown = blocks()
    assert {Path(block.file).name for block in shown} == {*SCRIPTS, "ray_tune.py"}
    for block in shown:
        assert block.code == (ROOT / block.file).read_text(), block.file
