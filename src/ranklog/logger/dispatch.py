"""Says where a call of `log` goes that is no metric and no parameter: encoded, measured, saved, watched or traced.

In: a call that the gate let through, with its session. Out: what the module of that way puts into the inbox.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ranklog.abc import Content, Encoded
from ranklog.items.options import known_options
from ranklog.items.result import file_name
from ranklog.items.submit import as_record, ship, submit
from ranklog.model import content
from ranklog.pipeline.gate import Gate
from ranklog.pipeline.session import Session
from ranklog.values.local import no_collectives, reading


class Call(msgspec.Struct, frozen=True):
    """One call of `log`.

    Attributes:
        session: The open run.
        gate: Of the logger.
        item: What is logged.
        name: The identifier.
        kind: A kind that is no metric and no parameter.
        step: The user's step.
        mask: Backends that take the call, whatever the rank.
        options: Of the call.
        meet: Returns when every rank has come.
    """

    session: Session
    gate: Gate
    item: Any
    name: str
    kind: str
    step: int
    mask: int
    options: Mapping[str, Any]
    meet: Callable[[], None]

    @property
    def to(self) -> int:
        """Backends for which this rank logs."""
        return self.mask & self.gate.write

    @property
    def what(self) -> str:
        """The item's name in error messages."""
        return f"{self.kind} {self.name!r}"


def route(call: Call) -> None:
    """Send a call on its way.

    Raises:
        InvalidItemError: the kind cannot store such an item.
        InvalidArgumentError: an option is not allowed.
        MissingExtraError: a package that the kind needs is missing.
        ReduceTimeoutError: a model is sharded over ranks, and not every rank called in time.
    """
    session = call.session
    match call.kind:
        case "model" | "best_model":
            from ranklog.items.models import submit_model

            submit_model(
                session,
                call.item,
                call.name,
                call.kind,
                step=call.step,
                to=call.to,
                to_if_sharded=call.mask,
                options=call.options,
                for_mlflow=any(spec.backend == "mlflow" for spec in session.config.specs),
                meet=call.meet,
            )
        case "system" | "carbon":
            from ranklog.observe.sampler import interval

            every = known_options(call.kind, call.options).get("every")
            every_s = None if every is None else interval(every)
            session.samplers.measure(call.kind, step=call.step, to=call.mask, every_s=every_s)
        case "execution_time":
            known_options(call.kind, call.options)
            value = time.monotonic() - session.opened_s
            session.inbox.append(({call.name: value}, call.step, time.time_ns(), call.to, None, None))
        case "flops_pb" | "flops_pe":
            from ranklog.observe.flops import count_flops

            known_options(call.kind, call.options)
            with no_collectives(call.what):
                value = count_flops(call.kind, call.item, call.name)
            session.inbox.append(({call.name: value}, call.step, time.time_ns(), call.to, None, None))
        case "watch":
            _watch(call)
        case "graph":
            _trace(call)
        case _:
            with reading(call.what):
                submit(session, call.item, call.name, call.kind, step=call.step, to=call.to, options=call.options)


def _watch(call: Call) -> None:
    from ranklog.items.model_formats import bare_module
    from ranklog.observe.gradients import DEFAULT_EVERY, watch

    known = known_options(call.kind, call.options)
    given = {spec.log_freq for bit, spec in enumerate(call.session.config.specs) if call.to >> bit & 1}
    own = min((freq for freq in given if isinstance(freq, int)), default=1 if "batch" in given else DEFAULT_EVERY)
    stop = watch(
        call.session,
        bare_module(call.item, call.name, call.kind),
        call.name,
        first_step=call.step,
        to=call.to,
        every=known.get("log_freq", own),
        what=known.get("log", "gradients"),
        bins=known.get("bins", 64),
    )
    call.session.at_close(stop)


def _trace(call: Call) -> None:
    from ranklog.items.model_formats import bare_module
    from ranklog.items.sharded import refuse_forward
    from ranklog.observe.graph import Listener, trace_now

    session = call.session
    known = known_options(call.kind, call.options)
    module = bare_module(call.item, call.name, call.kind)
    path = file_name(call.name, ".json")

    def keep(graph: content.Graph) -> None:
        encoded = Encoded(content.GRAPH, (Content(path, msgspec.json.encode(graph)),))
        ship(session, as_record(session, call.name, call.kind, call.step, call.to, known, encoded), encoded.contents)

    if (example := known.get("input_example")) is not None:
        refuse_forward(module, call.what, "leave input_example out, and the next forward of the training is traced")
        with no_collectives(call.what):
            keep(trace_now(module, call.name, example))
        return
    listener = Listener(module, keep)
    pid = os.getpid()

    def stop() -> None:
        if listener.stop() and os.getpid() == pid:
            session.report(
                "graph",
                f"graph {call.name!r}: no forward of the module was seen until closing (inside torch.compile there is "
                "none to see): give input_example",
            )

    session.at_close(stop)
