"""Traces one forward of a module as a graph of the functions that it calls.

In: a module. With an example its forward is run here; without one the next forward of the training is traced. Out: a
`content.Graph` in the order of the calls, each node in the scope of the modules around it. Results are recognised by
identity, and held only while the forward runs. Compiled modules run uncompiled in that one forward. A scripted part is
one node.

Nothing is put on the module: hooks that are common to all modules find it, so that it can be copied, pickled, scripted
and compiled at any time.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import msgspec

from ranklog.abc import Call, Content, Encoded, Sink
from ranklog.items.encode import record_of
from ranklog.items.file_names import file_name
from ranklog.items.files import ship
from ranklog.items.model_formats import bare_module, evaluating
from ranklog.items.options import known_options
from ranklog.items.sharded import refuse_forward
from ranklog.model import content
from ranklog.model.content import Graph
from ranklog.model.errors import InvalidItemError
from ranklog.observe.graph_nodes import Tracer, tensors_in
from ranklog.values.local import local, no_collectives

_SKIPPED = frozenset(
    {"__get__", "__set__", "size", "dim", "is_floating_point", "is_complex", "requires_grad_", "__len__"}
)
_TORCH_WARNS = r"Using `torch\.compile\(module\)` when there are global hooks"


def take(call: Call, sink: Sink) -> Callable[[], None] | None:
    """Trace a forward with ``input_example``, or else the next forward of the training; returns how to stop waiting.

    Raises:
        InvalidItemError: it is not a module, or cannot be run with the example.
    """
    known = known_options(call.kind, call.options)
    module = bare_module(call.item, call.name, call.kind)
    path = file_name(call.name, ".json")

    def keep(graph: Graph) -> None:
        encoded = Encoded(content.GRAPH, (Content(path, msgspec.json.encode(graph)),))
        ship(sink, record_of(call, known, encoded, sink.place.rank, call.to), encoded.contents)

    if (example := known.get("input_example")) is not None:
        refuse_forward(module, call.what, "leave input_example out, and the next forward of the training is traced")
        with no_collectives(call.what):
            keep(trace_now(module, call.name, example))
        return None
    listener = Listener(module, keep)
    pid = os.getpid()

    def stop() -> None:
        if listener.stop() and os.getpid() == pid:
            sink.report(
                "graph",
                f"{call.what}: no forward of the module was seen until logging ended (inside torch.compile none can "
                "be seen): give input_example",
            )

    return stop


def trace_now(module: Any, name: str, example: Any) -> Graph:
    """The graph of one forward with an example, in evaluation mode and without gradients.

    Raises:
        InvalidItemError: the module cannot be run with the example.
    """
    import torch

    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    given = example if isinstance(example, (tuple, list)) else (example,)
    inputs = [local(part, f"input_example of graph {name!r}") for part in given]
    graphs: list[Graph] = []
    listener = Listener(module, graphs.append)
    try:
        with torch.no_grad(), evaluating(module), _uncompiled():
            module(*(part.to(device) if isinstance(part, torch.Tensor) else part for part in inputs))
    except Exception as error:
        raise InvalidItemError(f"graph {name!r}: the module cannot be run with input_example: {error}") from error
    finally:
        listener.stop()
    if not graphs:
        raise InvalidItemError(f"graph {name!r}: the module's forward returns nothing")
    return graphs[0]


class Listener:
    """Traces the next forward of a module, in the thread that runs it.

    Hooks that are common to all modules give the scope of a call, a function mode gives its function. The module is
    referenced weakly, so that it can be freed if it is not called again.

    Args:
        module: Which.
        done: Called with the graph, in the thread of the forward.
    """

    def __init__(self, module: Any, done: Callable[[Graph], None]) -> None:
        from torch.nn.modules import module as common

        self._module = weakref.ref(module)
        self._done: Callable[[Graph], None] | None = done
        self._tracer: Tracer | None = None
        self._thread = 0
        self._names: dict[int, str] = {}
        self._forward = ExitStack()
        self._around: Any = None
        self._uncompiled = ExitStack()
        self._listening = ExitStack()
        self._listening.callback(common.register_module_forward_pre_hook(self._enter).remove)
        after = common.register_module_forward_hook(self._leave, with_kwargs=True, always_call=True)
        self._listening.callback(after.remove)
        # torch's own `remove` forgets this entry, and every compiled module would warn about hooks from then on.
        self._listening.callback(getattr(common, "_global_forward_hooks_with_kwargs", {}).pop, after.id, None)
        self._listening.enter_context(_without_a_warning_of_torch())

    def stop(self) -> bool:
        """Stop waiting; returns whether no forward came. A forward that runs now is not affected."""
        waited = self._done is not None
        self._done = None
        self._close_if_done()
        return waited

    def _close_if_done(self) -> None:
        if self._done is None and self._tracer is None and self._around is None:
            self._listening.close()

    def _enter(self, module: Any, args: Any) -> None:
        import torch

        # While a forward is compiled, its hooks are compiled with it.
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return
        if self._tracer is None and self._done is not None:
            self._await(module, args)
        elif self._tracer is not None and self._thread == threading.get_ident():
            scopes = self._tracer.scopes
            scopes.append(self._names.get(id(module), scopes[-1]))

    def _await(self, module: Any, args: Any) -> None:
        awaited = self._module()
        if awaited is None:
            self._listening.close()
        elif _is(module, awaited):
            self._begin(module, args)
        elif self._around is None and any(part is awaited for part in _compiled_by(module)):
            self._around = module
            self._uncompiled.enter_context(_uncompiled())

    def _begin(self, module: Any, args: Any) -> None:
        self._thread = threading.get_ident()
        self._names = {id(part): name.replace(".", "/") for name, part in module.named_modules()}
        self._tracer = Tracer()
        for name, parameter in module.named_parameters():
            self._tracer.note_parameter(name.replace(".", "/"), parameter)
        self._tracer.take(args)
        self._tracer.scopes.append("")
        self._forward.enter_context(_uncompiled())
        self._forward.enter_context(_mode(self._tracer))

    def _leave(self, module: Any, args: Any, *rest: Any) -> None:
        """End of any module's forward; ``rest`` ends with the result, after the keyword arguments unless it raised."""
        import torch

        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return
        if module is self._around:
            self._around = None
            self._uncompiled.close()
            self._close_if_done()
        elif self._tracer is not None and self._thread == threading.get_ident():
            self._tracer.scopes.pop()
            if not self._tracer.scopes:
                self._end(self._tracer, rest[0] if len(rest) > 1 else {}, rest[-1])

    def _end(self, tracer: Tracer, kwargs: Any, result: Any) -> None:
        done, self._done, self._tracer = self._done, None, None
        self._forward.close()
        self._close_if_done()
        if done is None or result is None:
            return  # closed meanwhile, or the forward raised, which the user sees
        for index, tensor in enumerate(tensors_in(result)):
            tracer.add("output", "output" if index == 0 else f"output_{index}", (tensor,), None)
        tracer.take(kwargs)
        done(Graph(tracer.graph()))


def _is(module: Any, awaited: Any) -> bool:
    # A replica of DataParallel is another object that shares its hooks with the module.
    return module is awaited or module._forward_hooks is awaited._forward_hooks


def _compiled_by(module: Any) -> Iterator[Any]:
    """The modules inside a result of `torch.compile`; none for other modules."""
    inner = getattr(module, "_orig_mod", None)
    return iter(()) if inner is None else iter(inner.modules())


@contextmanager
def _uncompiled() -> Iterator[None]:
    """Run compiled code uncompiled, and compile nothing, inside; from torch 2.6 on."""
    import torch

    if "torch._dynamo" not in sys.modules or not hasattr(torch.compiler, "set_stance"):
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def _without_a_warning_of_torch() -> Iterator[None]:
    """Hide torch's warning that compiled modules and global hooks do not mix; these hooks are made for it."""
    warnings.filterwarnings("ignore", message=_TORCH_WARNS)
    ours = warnings.filters[0]
    try:
        yield
    finally:
        with suppress(ValueError):  # other code has replaced the filters
            warnings.filters.remove(ours)  # type: ignore[attr-defined]


def _mode(tracer: Tracer) -> Any:
    from torch.overrides import TorchFunctionMode

    class Mode(TorchFunctionMode):  # type: ignore[misc]
        """Passes the outermost calls of torch functions to the tracer."""

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            name = getattr(func, "__name__", "function")
            if name not in _SKIPPED and next(tensors_in(result), None) is not None:
                tracer.call(name, (args, kwargs), result)
            return result

    return Mode()
