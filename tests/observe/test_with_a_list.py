"""Observers need a sink only: what they give it, in a list."""

from pathlib import Path

import pytest
import torch
from list_sink import ListSink, call_of

from ranklog.abc import PendingItem
from ranklog.model.place import Place
from ranklog.model.record import Metrics
from ranklog.model.spec import BackendSpec
from ranklog.observe.gradients import take
from ranklog.observe.sampler import NodeSamplers, follow_mlflow


def names(sink: ListSink) -> list[str]:
    return [
        taken.item.name if isinstance(taken, PendingItem) else next(iter(taken.values))
        for taken in sink.taken
        if isinstance(taken, (PendingItem, Metrics))
    ]


def test_a_watched_module_gives_histograms_in_the_background_until_it_is_stopped(tmp_path: Path) -> None:
    sink, module = ListSink(tmp_path), torch.nn.Linear(2, 1)
    stop = take(call_of(module, "net", "watch", log_freq=1, bins=4), sink)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert names(sink) == [], "the training thread makes none"
    sink.run_jobs()
    assert names(sink) == ["gradients/net.weight", "gradients/net.bias", "grad_norm/net"]
    stop()
    optimizer.step()
    assert not sink.jobs


def test_only_the_first_rank_of_a_node_samples_it(tmp_path: Path) -> None:
    first, second = ListSink(tmp_path), ListSink(tmp_path, Place(rank=1, world_size=2, local_rank=1))
    for sink in (first, second):
        NodeSamplers(sink, 0.0).measure("system", step=3, to=1, every_s=None)
        sink.run_jobs()
    (metrics,) = first.taken
    assert isinstance(metrics, Metrics) and metrics.step == 3
    assert not second.taken


def test_a_sample_that_still_waits_is_not_queued_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = ListSink(tmp_path)
    samplers = NodeSamplers(sink, 0.0)
    samplers.measure("system", step=0, to=1, every_s=1.0)
    for _ in range(3):
        monkeypatch.setattr("time.monotonic", lambda: float("1e12"))
        samplers.start_due()
    assert [key for key, _ in sink.jobs] == ["system"]
    sink.run_jobs()
    samplers.start_due()
    samplers.stop()
    samplers.start_due()
    assert len(sink.taken) == 1


def test_mlflow_variables_that_cannot_be_followed_are_reported(tmp_path: Path) -> None:
    sink = ListSink(tmp_path)
    environ = {"MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true", "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "soon"}
    follow_mlflow(NodeSamplers(sink, 0.0), sink, [BackendSpec(backend="mlflow")], environ)
    ((code, text),) = sink.reports
    assert code == "system" and "every='soon'" in text
