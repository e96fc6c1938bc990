"""The class `Logger`: the logging calls that users make in the training thread.

A logging call never waits for a network, a disk, a device or another rank, except for kinds that read files or save
models. A wrong call raises at once; trouble elsewhere does not raise. Each call stores a snapshot of the item.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import time_ns
from typing import TYPE_CHECKING, Any

from ranklog.items.options import known_options
from ranklog.logger.arguments import below, check_context, check_goal, check_step, pairs
from ranklog.logger.collective import WEIGHT
from ranklog.logger.dispatch import measure_of, room_of
from ranklog.logger.hyperparameters import HyperparameterLogger
from ranklog.model.errors import InvalidArgumentError, InvalidItemError
from ranklog.model.kinds import check_kind
from ranklog.model.record import MetricInfo
from ranklog.model.spec import check_op
from ranklog.model.text import check_name, type_text
from ranklog.pipeline.gate import Gate
from ranklog.values.numbers import number_option
from ranklog.values.snapshot import FEW_VALUES, VALUE_BYTES, VALUES_OF_ROOM, Value, take, take_mapping

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ranklog.model.options import KindOptions
    from ranklog.pipeline.session import Session

USUAL_STEPS = 2**30
"""Steps up to here are one digit of a Python int, and so compared faster."""
RESUMED_WITHOUT_STEP = (
    "metrics without step= count from 0 again in a resumed run, and supersede what was logged before: give step="
)


class Logger(HyperparameterLogger):
    """Logs to one or several backends. Users make one with the classes in `ranklog.loggers`.

    Args:
        config: Settings of the session.
        savedir: Directory for everything that is stored.
    """

    def log(
        self,
        item: Any,
        identifier: str | Sequence[str],
        kind: str = "metric",
        step: int | None = None,
        batch_idx: int | None = None,
        *,
        reduce: str | None = None,
        weight: float | None = None,
        **options: Unpack[KindOptions],
    ) -> None:
        """Log one item, or a sequence of items with a sequence of as many identifiers.

        Args:
            item: The item; see the reference of kinds.
            identifier: Name of the item; for kinds that become files, the path of the file.
            kind: Kind of the item.
            step: Step on the x axis; default: the number of earlier calls for this identifier that the backend took.
            batch_idx: Index of the batch, for ``log_freq``.
            reduce: For metrics: how to reduce the values of all ranks to one; see `log_metrics`.
            weight: Weight of this rank's value in a reduction, for example its number of samples; default: 1.
            **options: Options of the kind, for example ``caption``. Unknown options are ignored with a warning.

        Raises:
            InvalidArgumentError: an argument or option is not allowed, or there are more or fewer items than
                identifiers.
            InvalidItemError: the kind cannot store such an item.
            MissingExtraError: the kind needs a package that is not installed.
            NotStartedError: the logger is not open.
            ReduceTimeoutError: a model is sharded over ranks, and not every rank logged it in time.

        Ranks: all call; ``log_freq`` and ``log_on_workers`` decide which calls are logged. Does not block, except to
            encode the item as the reference of kinds says.
        """
        gate = self._gate
        if gate is None:
            self._not_started("log")
        # Spelled out in both calls: a refused call is so short that one more function would be felt.
        if batch_idx is None:
            mask = gate.every
        elif gate.counted:
            mask = gate.batch(batch_idx)
        else:
            mask = gate.always
        if kind != "metric":
            self._log_item(gate, mask, item, identifier, kind, step, reduce, options)
            return
        if options and self._session is not None and isinstance(identifier, str):
            said = known_options("metric", options)
            self._describe(self._session, check_name(identifier), mask & gate.lead, said)
        if reduce is None and not gate.reduces:
            mask &= gate.write
            if (
                mask
                and weight is None
                and type(item) is float
                and type(step) is int
                and type(identifier) is str
                and identifier in self._names
                and step >= 0
                and step < USUAL_STEPS
                and (session := self._session) is not None
                and len(inbox := session.inbox) < inbox.room
            ):
                # The common call, without another function: its cost is what people measure.
                inbox.append(({identifier: item}, step, time_ns(), mask, None, None))
                return
        if not mask:
            return
        self._log_metric(gate, mask, item, identifier, step, reduce, weight)

    def _log_metric(
        self,
        gate: Gate,
        mask: int,
        item: Any,
        identifier: str | Sequence[str],
        step: int | None,
        reduce: str | None,
        weight: float | None,
    ) -> None:
        if not isinstance(identifier, str):
            for each, name in pairs(item, identifier):
                self._log_metric(gate, mask, each, name, step, reduce, weight)
            return
        identifier = check_name(identifier)
        if isinstance(item, Mapping):
            values = take_mapping(below(identifier, item))
        else:
            values = {identifier: take(item, identifier)}
            self._names.add(identifier)
        self._submit(gate, mask, values, step, reduce, weight)

    def log_metrics(
        self,
        metrics: Mapping[str, Any],
        step: int | None = None,
        batch_idx: int | None = None,
        *,
        reduce: str | None = None,
        weight: float | None = None,
    ) -> None:
        """Log many scalars in one call, which is faster than many calls of `log`.

        Args:
            metrics: Scalars by name.
            step: Step on the x axis; default: the number of earlier calls that the backend took.
            batch_idx: Index of the batch, for ``log_freq``.
            reduce: How to reduce the values of all ranks to one: ``"mean"``, ``"sum"``, ``"min"``, ``"max"``,
                ``"std"``, ``"median"``, ``"p99"`` (to 1 %), ``"stats"`` (name/mean, /std, /min, /max, /min_rank,
                /max_rank, /count), or ``"per_rank"`` (one series per rank, name/rank_003). Default: the ``reduce`` of
                the logger.
            weight: Weight of this rank's values, 0 or above; default: 1.

        Raises:
            InvalidArgumentError: a name, the step, the reduction, the weight or ``batch_idx`` is not allowed.
            InvalidItemError: ``metrics`` is no mapping, or a value is no scalar.
            NotStartedError: the logger is not open.

        Ranks: all call; with ``reduce`` every rank contributes and one record results. Does not block.
        """
        gate = self._gate
        if gate is None:
            self._not_started("log_metrics")
        # Spelled out in both calls: a refused call is so short that one more function would be felt.
        if batch_idx is None:
            mask = gate.every
        elif gate.counted:
            mask = gate.batch(batch_idx)
        else:
            mask = gate.always
        if reduce is None and not gate.reduces:
            mask &= gate.write
        if not mask:
            return
        self._submit(gate, mask, self._snapshot(metrics), step, reduce, weight)

    def _snapshot(self, metrics: Mapping[str, Any]) -> dict[str, Value]:
        if type(metrics) is not dict and not isinstance(metrics, Mapping):
            raise InvalidItemError(f"log_metrics takes a mapping of names to scalars, not {type_text(metrics)}")
        if not metrics.keys() <= self._names or set(map(type, metrics)) != {str}:
            metrics = {check_name(name): value for name, value in metrics.items()}
            self._names.update(metrics)
        if set(map(type, metrics.values())) == {float}:
            return dict(metrics)
        return take_mapping(metrics)

    def _submit(
        self,
        gate: Gate,
        mask: int,
        values: dict[str, Value],
        step: int | None,
        reduce: str | None,
        weight: float | None,
    ) -> None:
        session = self._session
        if session is None or not values:
            return
        if weight is not None:
            weight = number_option(weight, "weight", WEIGHT, low=0.0)
        if step is None:
            for own, to in self._own_steps(session, values, mask).items():
                self._submit(gate, to, values, own, reduce, weight)
            return
        if type(step) is not int or step < 0 or step >= USUAL_STEPS:
            step = check_step(step)
        now, inbox = time_ns(), session.inbox
        if reduce is None and gate.reduces:
            for op, bits in gate.plan:
                to = mask & bits & (gate.write if op is None else -1)
                if to:
                    inbox.put((values, step, now, to, op, weight))
            return
        entry = (values, step, now, mask, None if reduce is None else check_op(reduce), weight)
        if (count := len(values)) <= FEW_VALUES:
            if len(inbox) < inbox.room:
                inbox.append(entry)
                return
        elif len(inbox) < inbox.room - (share := count // VALUES_OF_ROOM):
            inbox.room -= share
            inbox.counted += VALUE_BYTES * count
            inbox.append(entry)
            return
        inbox.put(entry)

    def _own_steps(self, session: Session, names: Iterable[str], mask: int) -> dict[int, int]:
        """Return the steps of a call without a step, each with the backends that count so."""
        if session.resumed:
            session.health.warn("steps", RESUMED_WITHOUT_STEP)
        return self._steps.take(names, mask)

    def _log_item(
        self,
        gate: Gate,
        mask: int,
        item: Any,
        identifier: str | Sequence[str] | None,
        kind: str,
        step: int | None,
        reduce: str | None,
        options: Mapping[str, Any],
    ) -> None:
        found = check_kind(kind)
        if reduce is not None:
            raise InvalidArgumentError(f"reduce={reduce!r} is for kind='metric', not for kind={kind!r}")
        session = self._session
        if not mask or session is None or not (mask & gate.write or found.on_every_rank):
            return
        if identifier is None and found.nameless:
            identifier = kind
        if not isinstance(identifier, str):
            for each, name in pairs(item, identifier):
                self._log_item(gate, mask, each, name, kind, step, None, options)
            return
        from ranklog.abc import Call

        identifier, kind = check_name(identifier), found.name
        room, measure = room_of(found), measure_of(found)
        if found.steps and step is None:
            steps = self._steps.take([f"{kind}:{identifier}"], mask)
        else:
            steps = {check_step(step) if found.steps else 0: mask}
        for own, to in steps.items():
            call = Call(
                item, identifier, kind, own, options, to & gate.write, to, to & gate.lead, session.config.specs,
                session.opened_s, session.samplers, self._meet,
            )  # fmt: skip
            if measure is not None:
                session.inbox.put(({identifier: measure(call)}, own, time_ns(), call.to, None, None))
            elif room is not None and (stop := room(call, session.sink)) is not None:
                session.at_close(stop)
        if found.becomes == "metric":
            self._describe(session, identifier, mask & gate.write, options)

    def _describe(self, session: Session, name: str, to: int, options: Mapping[str, Any]) -> None:
        """Record the goal and the context of a metric, at the first call and when they change."""
        said = check_goal(options.get("goal")), check_context(options.get("context"))
        if to and said != self._said.get(name, (None, None)):
            self._said[name] = said
            session.inbox.put(MetricInfo(time_ns(), to, name, *said))
