"""Samples a node's load and energy in the background: kinds ``system`` and ``carbon``.

In: requests to measure once, or every so many seconds. Out: metrics, made by background jobs: drivers may be slow.
The local rank 0 of each node measures it, whatever ``log_on_workers`` says. On several nodes the names contain the
host, as in ``system/node7/cpu_utilization_percentage``. Periodic samples use the age of the run in seconds as their
step, so that a resumed run continues the axis.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Protocol

from ranklog.abc import Call, Sink
from ranklog.items.options import known_options, typed_option, typed_options
from ranklog.journal.layout import read_facts
from ranklog.journal.liveness import this_host
from ranklog.model import options
from ranklog.model.errors import InvalidArgumentError, MissingExtraError, RanklogError
from ranklog.model.kinds import KINDS
from ranklog.model.record import Metrics
from ranklog.model.spec import BackendSpec
from ranklog.observe.energy import CarbonSampler
from ranklog.observe.node import SystemSampler

MLFLOW_EVERY_S = 10.0
"""MLflow's own default interval."""


class Meter(Protocol):
    """Measures one node."""

    def sample(self) -> dict[str, float]:
        """Current numbers by name."""

    def close(self) -> None:
        """Stop everything that measures in the background."""


METERS: dict[str, tuple[str, Callable[[int], Meter]]] = {
    "system": ("psutil", SystemSampler),
    "carbon": ("codecarbon", CarbonSampler),
}
"""Per kind, the package that it needs and the class that measures."""


def take(call: Call, sink: Sink) -> None:
    """Measure this node once, or periodically from now on, if this rank is the one that measures it.

    Raises:
        InvalidArgumentError: ``every`` is not a number of seconds.
        MissingExtraError: the package of this kind is missing.
    """
    given = typed_options(KINDS[call.kind], known_options(call.kind, call.options))
    call.sampler.measure(call.kind, step=call.step, to=call.to_all, every_s=given["every"])


class _Schedule:
    """When one kind is sampled next, for which backends, and the last step."""

    def __init__(self, to: int, every_s: float) -> None:
        self.to = to
        self.every_s = every_s
        self.next_s = time.monotonic()
        self.step = -1
        self.busy = False


class NodeSamplers:
    """The samplers of one session; each is created on first use, in the background thread.

    Args:
        sink: Takes the jobs and the samples.
        opened_s: Monotonic time at which the session opened.
    """

    def __init__(self, sink: Sink, opened_s: float) -> None:
        self._sink = sink
        self._opened_s = opened_s
        self._made: dict[str, Meter] = {}
        self._schedules: dict[str, _Schedule] = {}

    def measure(self, kind: str, *, step: int, to: int, every_s: float | None) -> None:
        """Measure once, or every so many seconds until `stop`; a later call replaces the interval.

        Raises:
            MissingExtraError: the package of this kind is missing.
        """
        if self._sink.place.local_rank != 0:
            return
        package, _ = METERS[kind]
        if find_spec(package) is None:
            raise MissingExtraError(f'kind={kind!r} needs {package}: pip install "ranklog[{kind}]"')
        if every_s is not None:
            before = self._schedules.get(kind)
            if before is None or (before.to, before.every_s) != (to, every_s):
                self._schedules[kind] = _Schedule(to, every_s)
            return
        time_ns = time.time_ns()
        self._sink.background(kind, lambda: [self._sample(kind, step=step, time_ns=time_ns, to=to)])

    def start_due(self) -> None:
        """Queue the samples that are due. For one thread, which calls this often."""
        now_s = time.monotonic()
        for kind, schedule in list(self._schedules.items()):
            # A sample that still waits, for example behind the copy of a large file, is not queued twice.
            if now_s < schedule.next_s or schedule.busy:
                continue
            schedule.next_s += schedule.every_s
            if schedule.next_s <= now_s:
                schedule.next_s = now_s + schedule.every_s
            schedule.busy = True
            self._sink.background(kind, partial(self._next, kind, schedule))

    def stop(self) -> None:
        """Stop periodic sampling."""
        self._schedules.clear()

    def close(self) -> None:
        """Stop the measurements that run in the background."""
        for meter in self._made.values():
            meter.close()
        self._made.clear()

    def _next(self, kind: str, schedule: _Schedule) -> Iterable[Metrics]:
        try:
            time_ns = time.time_ns()
            schedule.step = max(self._age_s(time_ns), schedule.step + 1)
            yield self._sample(kind, step=schedule.step, time_ns=time_ns, to=schedule.to)
        finally:
            schedule.busy = False

    def _age_s(self, now_ns: int) -> int:
        """Seconds since the run was created, or since this attempt opened if the run directory is out of reach."""
        try:
            return (now_ns - read_facts(self._sink.run_dir(0.0)).created_ns) // 1_000_000_000
        except RanklogError:
            return int(time.monotonic() - self._opened_s)

    def _sample(self, kind: str, *, step: int, time_ns: int, to: int) -> Metrics:
        if kind not in self._made:
            _, make = METERS[kind]
            self._made[kind] = make(self._sink.place.local_world_size)
        prefix = f"{kind}/{this_host()}/" if self._sink.place.node_count > 1 else f"{kind}/"
        values = self._made[kind].sample()
        return Metrics(step, time_ns, to, {prefix + name: value for name, value in values.items()})


def follow_mlflow(samplers: NodeSamplers, sink: Sink, specs: Sequence[BackendSpec], environ: Mapping[str, str]) -> None:
    """Sample the node's load for MLflow where MLflow's own variables ask for it; trouble is a warning."""
    to = sum(1 << bit for bit, spec in enumerate(specs) if spec.backend == "mlflow")
    if not to or environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "").strip().lower() not in ("true", "1"):
        return
    given = environ.get("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "").strip()
    try:
        every: object = float(given or MLFLOW_EVERY_S)
    except ValueError:
        every = given
    try:
        samplers.measure("system", step=0, to=to, every_s=typed_option(options.EVERY, every))
    except (InvalidArgumentError, MissingExtraError) as error:
        sink.report("system", f"MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING is set, but {error}")
