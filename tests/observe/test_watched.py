"""What ranklog measures, watches and traces by itself, as it is journaled."""

import time
from pathlib import Path

import msgspec
import pytest
import torch
from cluster import wait_until
from torch import nn

from ranklog import JournalLogger, LoggersCollection, MLFlowLogger, TensorBoardLogger
from ranklog.journal import layout, store
from ranklog.model import content
from ranklog.model.errors import InvalidArgumentError, InvalidItemError, RanklogWarning
from ranklog.model.record import Event, Item, MetricInfo, Metrics
from ranklog.observe.gradients import as_histogram, counts_of
from ranklog.observe.graph import Listener, trace_now
from ranklog.testing import captured, series


@pytest.fixture
def logger(tmp_path: Path) -> JournalLogger:
    logger = JournalLogger(tmp_path / "logs", log_freq="batch")
    logger.create_logger_context()
    yield logger
    logger.destroy_logger_context()


def histograms(logger: JournalLogger, name: str) -> dict[int, content.Histogram]:
    assert logger.flush(60)
    return {
        record.step: msgspec.json.decode(store.read_file(Path(logger.run_dir), record.files[0]), type=content.Histogram)
        for record in captured(logger)
        if isinstance(record, Item) and record.name == name
    }


def train(model: nn.Module, steps: int, optimizer: torch.optim.Optimizer | None = None) -> None:
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(3, 2)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("values", [[1.0, 2.0, 4.0], [5.0], [float("nan"), 1.0, float("inf"), 3.0], [float("nan")]])
def test_counts_made_on_the_device_are_those_of_the_finite_values(values: list[float]) -> None:
    histogram = as_histogram(counts_of(torch.tensor(values), 4).tolist(), len(values))
    assert histogram.nonfinite == len(values) - histogram.count
    finite = [value for value in values if abs(value) < float("inf")]
    assert histogram.count == sum(histogram.counts) == len(finite)
    assert histogram.sum == pytest.approx(sum(finite))
    assert histogram.sum_squares == pytest.approx(sum(value**2 for value in finite))
    if finite:
        assert (histogram.min, histogram.max) == (min(finite), max(finite))


def test_counts_lie_in_the_bins_where_numpy_puts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    monkeypatch.setattr("ranklog.observe.gradients._AT_ONCE", 100)
    values = torch.randn(1003, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    histogram = as_histogram(counts_of(values, 10).tolist(), len(values))
    expected, edges = np.histogram(values.numpy(), bins=10)
    assert histogram.counts == expected.tolist() and histogram.edges == pytest.approx(edges.tolist())


@pytest.mark.parametrize(
    "values",
    [
        torch.tensor([-3.4e38, 0.0, 3.4e38]),
        torch.tensor([-1.7e308, 0.0, 1.7e308], dtype=torch.float64),
        torch.tensor([1e200, -1e200], dtype=torch.float64),
        torch.tensor([1.0, 1.0 + 2e-16], dtype=torch.float64),
        torch.tensor([5e-324, 1e-323], dtype=torch.float64),
        torch.full((3,), 1e17),
    ],
)
def test_counts_of_extreme_values_are_complete_and_every_number_of_them_is_finite(values: torch.Tensor) -> None:
    histogram = as_histogram(counts_of(values, 8).tolist(), len(values))
    assert sum(histogram.counts) == histogram.count == len(values)
    assert all(abs(number) < float("inf") for number in (*histogram.edges, histogram.min, histogram.max))
    assert histogram.edges == sorted(histogram.edges)
    # What the journal gives back, since JSON has no infinity.
    assert msgspec.json.decode(msgspec.json.encode(histogram), type=content.Histogram) == histogram
    if values[1] == 0:
        assert [histogram.counts[0], histogram.counts[4], histogram.counts[7]] == [1, 1, 1]


def test_sparse_and_complex_gradients_are_watched_whole(logger: JournalLogger) -> None:
    model = nn.Embedding(5, 2, sparse=True)
    model.register_parameter("wave", nn.Parameter(torch.tensor([1 + 2j, 3 - 4j])))
    logger.log(model, "net", kind="watch", log="gradients", log_freq=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.tensor([1, 1])).sum().backward()
    model.wave.grad = torch.tensor([3 + 0j, 0 + 4j]).conj()
    optimizer.step()
    sparse = histograms(logger, "gradients/net.weight")[0]
    assert (sparse.count, sparse.sum, sparse.max) == (10, 4.0, 2.0)
    wave = histograms(logger, "gradients/net.wave")[0]
    assert (wave.count, wave.min, wave.max, wave.sum_squares) == (4, -4.0, 3.0, 25.0)
    assert series(captured(logger), "grad_norm/net") == {0: pytest.approx((25 + 8) ** 0.5)}


def test_gradients_and_parameters_of_a_watched_module_come_at_every_nth_step_of_its_optimizer(
    logger: JournalLogger,
) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    logger.log(model, "net", kind="watch", log="all", log_freq=2)
    before = model[0].weight.detach().clone()
    train(model, 5)
    weights = histograms(logger, "parameters/net.0.weight")
    assert sorted(weights) == [0, 2, 4]
    assert weights[0].sum == pytest.approx(float(before.double().sum()), rel=1e-6)
    gradients = histograms(logger, "gradients/net.0.weight")
    assert sorted(gradients) == [0, 2, 4] and gradients[0].count == 6
    norms = series(captured(logger), "grad_norm/net")
    squares = gradients[2].sum_squares + histograms(logger, "gradients/net.0.bias")[2].sum_squares
    assert norms[2] == pytest.approx(squares**0.5)


def test_the_optimizer_of_another_module_is_not_counted_and_closing_ends_the_watch(tmp_path: Path) -> None:
    logger = JournalLogger(tmp_path / "logs", log_freq=1)
    logger.create_logger_context()
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    logger.log(model, "net", kind="watch")
    train(other, 3)
    train(model, 1)
    assert sorted(histograms(logger, "gradients/net.weight")) == [0]
    run_dir = Path(logger.run_dir)
    logger.destroy_logger_context()
    count = len(captured(run_dir))
    train(model, 3)
    assert len(captured(run_dir)) == count


class AveragesFirst(torch.optim.SGD):
    """A stand-in for Horovod's optimizer, which needs its launcher: the gradients count in the inner step."""

    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad.mul_(2.0)
        self._handles.clear()
        torch.optim.SGD.step(self)


def test_an_optimizer_that_steps_inside_its_step_is_counted_once_with_the_averaged_gradients(
    logger: JournalLogger,
) -> None:
    model = nn.Linear(2, 1)
    optimizer = AveragesFirst(model.parameters(), lr=0.1)
    logger.log(model, "net", kind="watch", log_freq=1)
    model(torch.ones(1, 2)).sum().backward()
    optimizer._handles = {"weight": 1}
    optimizer.step()
    gradients = histograms(logger, "gradients/net.weight")
    assert list(gradients) == [0] and gradients[0].max == 2.0


def test_a_module_without_gradients_at_the_step_is_said(logger: JournalLogger) -> None:
    model = nn.Linear(2, 1)
    logger.log(model, "net", kind="watch")
    with pytest.warns(RanklogWarning, match="log its parameters instead"):
        torch.optim.SGD(model.parameters(), lr=0.1).step()


@pytest.mark.parametrize("options", [{"log": "weights"}, {"log_freq": 0}, {"bins": 0}], ids=str)
def test_a_watch_with_an_option_that_is_not_allowed_is_refused(logger: JournalLogger, options: dict) -> None:
    with pytest.raises(InvalidArgumentError, match=next(iter(options))):
        logger.log(nn.Linear(1, 1), "net", kind="watch", **options)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x + self.inner(x), x]).flatten(1)


def test_a_graph_has_every_function_in_the_scope_of_its_module_with_its_inputs() -> None:
    nodes = {node.name: node for node in trace_now(Residual(), "g", torch.ones(2, 4)).nodes}
    assert nodes["inner/0/linear"].inputs == ["input", "inner/0/weight", "inner/0/bias"]
    assert nodes["inner/1/relu"].inputs == ["inner/0/linear"]
    assert nodes["add"].inputs == ["input", "inner/1/relu"]
    assert nodes["cat"].inputs == ["add", "input"] and nodes["cat"].shape == [4, 4]
    assert nodes["output"].inputs == ["flatten"]
    names = list(nodes)
    assert all(names.index(source) < names.index(name) for name in names for source in nodes[name].inputs)


def test_without_an_example_the_next_forward_of_the_training_is_traced_and_left_as_it_was(
    logger: JournalLogger,
) -> None:
    model = Residual()
    logger.log(model, "net", kind="graph")
    assert logger.flush(60) and not [r for r in captured(logger) if isinstance(r, Item)]
    model.train()
    result = model(torch.ones(2, 4))
    model(torch.ones(2, 4))
    assert result.requires_grad and model.training
    assert logger.flush(60)
    (item,) = [record for record in captured(logger) if isinstance(record, Item)]
    assert item.media == content.GRAPH
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_forward_that_raises_leaves_nothing_behind_and_its_own_error_is_seen() -> None:
    model = Residual()
    graphs: list[content.Graph] = []
    Listener(model, graphs.append)
    with pytest.raises(RuntimeError, match="shapes"):
        model(torch.ones(2, 3))
    assert graphs == [] and not any(module._forward_hooks for module in model.modules())
    assert model(torch.ones(2, 4)).shape == (4, 4)
    with pytest.raises(InvalidItemError, match="graph 'g': the module cannot be run with input_example"):
        trace_now(model, "g", torch.ones(2, 3))


def test_operations_of_a_batch_and_of_an_epoch_are_counted(logger: JournalLogger) -> None:
    model = nn.Linear(4, 3, bias=False)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(10, 4), torch.ones(10)), batch_size=5)
    logger.log((model, torch.ones(5, 4)), "flops", kind="flops_pb", step=0)
    logger.log((model, data), "flops_epoch", kind="flops_pe", step=0)
    assert logger.flush(60)
    assert series(captured(logger), "flops") == {0: 2 * 5 * 4 * 3}
    assert series(captured(logger), "flops_epoch") == {0: 2 * 2 * 5 * 4 * 3}
    with pytest.raises(InvalidItemError, match="cannot be run with the batch"):
        logger.log((model, torch.ones(5, 3)), "flops", kind="flops_pb")


def test_load_and_time_are_measured_without_an_item_or_a_name(logger: JournalLogger) -> None:
    logger.log(None, None, kind="system", step=3)
    logger.log(None, None, kind="execution_time", step=3)
    assert logger.flush(60)
    records = captured(logger)
    (memory,) = series(records, "system/system_memory_usage_percentage").items()
    assert memory[0] == 3 and 0 < memory[1] <= 100
    assert series(records, "execution_time")[3] > 0


def test_energy_is_measured_by_codecarbon_which_writes_nothing(
    logger: JournalLogger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("codecarbon")
    monkeypatch.chdir(tmp_path)
    logger.log(None, None, kind="carbon", step=0)
    logger.log(None, None, kind="carbon", step=1)
    assert logger.flush(60)
    energy, emitted = (series(captured(logger), f"carbon/{name}") for name in ("energy_kwh", "emissions_kg"))
    assert 0 < energy[0] <= energy[1]
    assert emitted[1] == pytest.approx(energy[1] * 0.475)
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


def test_goal_and_context_of_a_metric_are_noted_once_and_when_they_change(logger: JournalLogger) -> None:
    for step in range(3):
        logger.log(0.5, "val/loss", step=step, goal="min", context="validation")
    logger.log(0.5, "val/loss", step=3, goal="min", context="testing")
    logger.log(0.5, "plain", step=3)
    assert logger.flush(60)
    records = captured(logger)
    said = [(r.name, r.goal, r.context) for r in records if isinstance(r, MetricInfo)]
    assert said == [("val/loss", "min", "validation"), ("val/loss", "min", "testing")]
    kinds = [type(r) for r in records if isinstance(r, (MetricInfo, Metrics))]
    assert kinds[0] is MetricInfo, "before the values that it is about"
    with pytest.raises(InvalidArgumentError, match="goal='best'"):
        logger.log(0.5, "x", goal="best")


def test_a_kind_whose_package_is_missing_says_which_extra_to_install(
    logger: JournalLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ranklog.observe.sampler.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "ranklog\[carbon\]"'):
        logger.log(None, None, kind="carbon")
    assert not [record for record in captured(logger) if isinstance(record, Event)]


LOAD = "system/system_memory_usage_percentage"


@pytest.mark.slow
def test_load_is_measured_again_and_again_until_the_run_closes(logger: JournalLogger) -> None:
    called_ns = time.time_ns()
    for _ in range(3):  # in a loop, it is asked for once
        logger.log(None, None, kind="system", every=1)
    wait_until(lambda: len(series(captured(logger), LOAD)) == 3)
    run_dir = Path(logger.run_dir)
    logger.destroy_logger_context()
    records = captured(run_dir)
    times = [r.time_ns for r in records if isinstance(r, Metrics) and LOAD in r.values]
    assert times[2] - called_ns >= 2 * 10**9, "the third comes two seconds after the call at the earliest"
    assert list(series(records, LOAD)) == sorted(series(records, LOAD))
    assert max(series(records, LOAD)) <= 60, "steps are the age of the run in seconds"


def test_the_load_of_a_resumed_run_goes_on_at_the_age_of_the_run(tmp_path: Path) -> None:
    def measured(times: int) -> dict[int, float]:
        logger = JournalLogger(tmp_path, run_id="resumed")
        with logger.start_logging():
            logger.log(None, None, kind="system", every=1)
            wait_until(lambda: len(series(captured(logger), LOAD)) == times)
            return series(captured(logger), LOAD)

    assert max(measured(1)) < 60
    run_dir = tmp_path / "runs" / "resumed"
    facts = layout.read_facts(run_dir)
    (run_dir / layout.FACTS).unlink()
    layout.write_facts(run_dir, msgspec.structs.replace(facts, created_ns=facts.created_ns - 3600 * 10**9))
    assert 3600 <= max(measured(2)) < 3700


@pytest.mark.parametrize("every", [0, -1, 0.5, float("nan"), float("inf"), True, "10"])
def test_an_interval_that_is_none_is_refused_in_the_call(logger: JournalLogger, every: object) -> None:
    with pytest.raises(InvalidArgumentError, match=r"every=.* is not allowed: give seconds, 1 or more"):
        logger.log(None, None, kind="system", every=every)


@pytest.mark.slow
def test_mlflows_own_variables_have_the_load_measured_for_mlflow_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "1")
    later = {"savedir": tmp_path, "forward": "later"}
    logger = LoggersCollection([TensorBoardLogger(**later), MLFlowLogger(**later)])
    with logger.start_logging():
        wait_until(lambda: len(series(captured(logger), LOAD)) == 2)
        assert {r.to for r in captured(logger) if isinstance(r, Metrics)} == {0b10}


def test_what_mlflows_variables_ask_for_and_cannot_be_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "1")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "often")
    logger = MLFlowLogger(savedir=tmp_path, forward="later")
    with pytest.warns(RanklogWarning, match="MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING is set, but every='often'"):
        logger.create_logger_context()
    logger.destroy_logger_context()
