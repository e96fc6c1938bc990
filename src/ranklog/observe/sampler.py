"""Kinds whose item ranklog measures itself: they reach backends as metrics.

In: kinds ``flops_pb``, ``flops_pe``, ``execution_time``, ``system`` and ``carbon``. Out: numbers at once, or, for
the last two, a job of the thread beside, since drivers may take long. A node is measured once, by its local rank 0,
whatever ``log_on_workers`` says; on several nodes the names have the host, as in
``system/node7/cpu_utilization_percentage``. With ``every=`` these two are measured again and again until the run
closes; their step is then the age of the run in seconds, which goes on where a run is resumed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from ranklog.journal.layout import read_facts
from ranklog.journal.liveness import this_host
from ranklog.model.errors import InvalidArgumentError, InvalidItemError, MissingExtraError, RanklogError
from ranklog.model.record import Metrics
from ranklog.observe.energy import CarbonSampler
from ranklog.observe.node import SystemSampler
from ranklog.values.loaded import loaded
from ranklog.values.local import local
from ranklog.values.numbers import number_option
from ranklog.values.refusing import wrong_item

if TYPE_CHECKING:
    from ranklog.pipeline.session import Session


MLFLOW_EVERY_S = 10.0
"""As MLflow has it."""


class Sampler(Protocol):
    """Measures something of this node."""

    def sample(self) -> dict[str, float]:
        """Names to numbers."""


class _Repeat:
    """What is measured again and again: for which backends, how often, when next, and the last step."""

    def __init__(self, to: int, every_s: float) -> None:
        self.to = to
        self.every_s = every_s
        self.next_s = time.monotonic()
        self.step = -1


class NodeSamplers:
    """The samplers of one session, made when they are first asked for, by the thread that uses them.

    Args:
        local_world_size: Ranks on this node.
    """

    def __init__(self, local_world_size: int = 1) -> None:
        self._local_world_size = local_world_size
        self._made: dict[str, Sampler] = {}
        self._repeats: dict[str, _Repeat] = {}

    @staticmethod
    def check(kind: str) -> None:
        """Raise `MissingExtraError` where the package of a kind is missing."""
        package = {"system": "psutil", "carbon": "codecarbon"}[kind]
        if find_spec(package) is None:
            raise MissingExtraError(f'kind={kind!r} needs {package}: pip install "ranklog[{kind}]"')

    def sample(self, kind: str) -> dict[str, float]:
        """What the sampler of a kind says now; making it may take seconds."""
        if kind not in self._made:
            made = SystemSampler if kind == "system" else CarbonSampler
            self._made[kind] = made(self._local_world_size)
        return self._made[kind].sample()

    def repeat(self, kind: str, every_s: float, to: int) -> None:
        """Measure a kind again and again from now on; a later call that asks otherwise counts instead."""
        before = self._repeats.get(kind)
        if before is None or (before.to, before.every_s) != (to, every_s):
            self._repeats[kind] = _Repeat(to, every_s)

    def rest(self) -> None:
        """Measure nothing more by itself."""
        self._repeats.clear()

    def due(self, session: Session) -> None:
        """Have measured what is due. For one thread, which calls often."""
        now_s = time.monotonic()
        for kind, repeat in list(self._repeats.items()):
            # One that is not done yet, as behind the copy of a large file, is not asked for twice.
            if now_s >= repeat.next_s and not session.aside.is_busy(kind):
                repeat.next_s += repeat.every_s
                if repeat.next_s <= now_s:
                    repeat.next_s = now_s + repeat.every_s
                _put(session, kind, repeat)

    def close(self) -> None:
        """Stop what measures in the background."""
        carbon = self._made.pop("carbon", None)
        if isinstance(carbon, CarbonSampler):
            carbon.close()


def measure_node(session: Session, kind: str, *, step: int, to: int, every: object = None) -> None:
    """Have this node measured, where this rank is the one that does: once, or every so many seconds.

    Raises:
        InvalidArgumentError: ``every`` is no number of seconds.
        MissingExtraError: a package is missing.
    """
    every_s = None if every is None else _check_every(every)
    if session.place.local_rank != 0:
        return
    session.samplers.check(kind)
    if every_s is not None:
        session.samplers.repeat(kind, every_s, to)
        return
    time_ns = time.time_ns()
    session.aside.put(kind, lambda: [_sample(session, kind, step=step, time_ns=time_ns, to=to)])


def follow_mlflow(session: Session, environ: Mapping[str, str]) -> None:
    """Measure the load for MLflow where its own variables ask for that; trouble is a warning."""
    to = sum(1 << bit for bit, spec in enumerate(session.config.specs) if spec.backend == "mlflow")
    if not to or environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "").strip().lower() not in ("true", "1"):
        return
    given = environ.get("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "").strip()
    try:
        every: object = float(given or MLFLOW_EVERY_S)
    except ValueError:
        every = given
    try:
        measure_node(session, "system", step=0, to=to, every=every)
    except (InvalidArgumentError, MissingExtraError) as error:
        session.health.warn("system", f"MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING is set, but {error}")


def _check_every(given: object) -> float:
    return number_option(given, "every", "seconds, 1 or more", low=1.0)


def _put(session: Session, kind: str, repeat: _Repeat) -> None:
    def sample() -> Iterable[Metrics]:
        time_ns = time.time_ns()
        repeat.step = max(_age_s(session, time_ns), repeat.step + 1)
        yield _sample(session, kind, step=repeat.step, time_ns=time_ns, to=repeat.to)

    session.aside.put(kind, sample)


def _age_s(session: Session, now_ns: int) -> int:
    """Seconds since the run was created; on a node that does not see its directory, since this attempt opened."""
    try:
        return (now_ns - read_facts(session.run_dir(0.0)).created_ns) // 1_000_000_000
    except RanklogError:
        return int(time.monotonic() - session.started_s)


def _sample(session: Session, kind: str, *, step: int, time_ns: int, to: int) -> Metrics:
    prefix = f"{kind}/{this_host()}/" if session.place.node_count > 1 else f"{kind}/"
    values = session.samplers.sample(kind)
    return Metrics(step, time_ns, to, {prefix + name: value for name, value in values.items()})


def measure_call(session: Session, kind: str, item: Any, name: str) -> float:
    """A number that is known in the call.

    Raises:
        InvalidItemError: it is not what the kind takes.
    """
    if kind == "execution_time":
        return time.monotonic() - session.started_s
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise wrong_item(item, name, kind)
    model, data = item
    if kind == "flops_pb":
        return _flops(model, data, name, kind)
    if not hasattr(data, "__iter__") or not hasattr(data, "__len__"):
        raise wrong_item(data, name, kind, " that has no length or cannot be iterated")
    try:
        first, count = next(iter(data), None), len(data)
    except Exception as error:  # a loader may be anything, also an array without dimensions
        raise InvalidItemError(f"{kind} {name!r}: the loader gives no batch: {error}") from error
    return 0.0 if first is None else _flops(model, first, name, kind) * count


def _flops(model: Any, batch: Any, name: str, kind: str) -> float:
    """Operations of one forward, as torch's own counter gives them."""
    torch = loaded("torch")
    if torch is None or not isinstance(model, torch.nn.Module):
        raise wrong_item(model, name, kind)
    from torch.utils.flop_counter import FlopCounterMode

    from ranklog.items.model_formats import bare_module, evaluating
    from ranklog.items.sharded import refuse_forward

    model = bare_module(model, name, kind)
    refuse_forward(model, f"{kind} {name!r}", "count those of the module before it is sharded")
    if isinstance(batch, Sequence) and not isinstance(batch, str) and len(batch) > 0:
        batch = batch[0]  # a loader gives inputs and targets
    batch = local(batch, f"the batch of {kind} {name!r}")
    device = next((parameter.device for parameter in model.parameters()), None)
    if isinstance(batch, torch.Tensor) and device is not None:
        batch = batch.to(device)
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), evaluating(model), counter:
            model(**batch) if isinstance(batch, dict) else model(batch)
    except Exception as error:
        raise InvalidItemError(f"{kind} {name!r}: the model cannot be run with the batch: {error}") from error
    return float(counter.get_total_flops())
