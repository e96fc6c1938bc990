"""Traces one forward of a module as a graph of the functions it calls.

In: a module; with an example its forward is run here, without one the next forward of the training is listened to.
Out: a `content.Graph` in the order of the calls, each node in the scope of the modules around it. Results are known
by identity, and held no longer than the forward runs. What a compiled or scripted part does inside is one node of
that module.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

from ranklog.model.content import Graph, GraphNode
from ranklog.model.errors import InvalidItemError

MAX_NODES = 20_000
_SKIPPED = frozenset(
    {"__get__", "__set__", "size", "dim", "is_floating_point", "is_complex", "requires_grad_", "__len__"}
)


def trace_now(module: Any, name: str, example: Any) -> Graph:
    """The graph of one forward with an example, in evaluation mode and without gradients.

    Raises:
        InvalidItemError: the module cannot be run with the example.
    """
    import torch

    from ranklog.capture.encode_torch import evaluating

    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    inputs = example if isinstance(example, (tuple, list)) else (example,)
    graphs: list[Graph] = []
    stop = listen(module, graphs.append)
    try:
        with torch.no_grad(), evaluating(module):
            module(*(part.to(device) if isinstance(part, torch.Tensor) else part for part in inputs))
    except Exception as error:
        raise InvalidItemError(f"graph {name!r}: the module cannot be run with input_example: {error}") from error
    finally:
        stop()
    return graphs[0]


def listen(module: Any, done: Callable[[Graph], None]) -> Callable[[], None]:
    """Trace the next forward; ``done`` is called with its graph, in the thread that runs it.

    Returns:
        A function that ends the listening, without effect when it has ended.
    """
    return _Listener(module, done).stop


class _Listener:
    """Hooks on the modules say where a call belongs, a function mode says what is called."""

    def __init__(self, module: Any, done: Callable[[Graph], None]) -> None:
        self._done = done
        self._tracer: _Tracer | None = None
        self._mode: Any = None
        self._hooks = [
            module.register_forward_pre_hook(self._begin, with_kwargs=True, prepend=True),
            module.register_forward_hook(self._end, always_call=True),
        ]
        for name, part in module.named_modules():
            if name:
                self._hooks.append(part.register_forward_pre_hook(self._enter(name)))
                self._hooks.append(part.register_forward_hook(self._leave, always_call=True))

    def stop(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        if self._mode is not None:
            self._mode.__exit__(None, None, None)
            self._mode = None

    def _begin(self, module: Any, args: Any, kwargs: Any) -> None:
        if self._tracer is not None:
            return
        self._tracer = _Tracer()
        for index, tensor in enumerate(_tensors((args, kwargs))):
            self._tracer.add("input", "input" if index == 0 else f"input_{index}", (), tensor)
        for name, parameter in module.named_parameters():
            self._tracer.note_parameter(name.replace(".", "/"), parameter)
        self._mode = _mode(self._tracer)
        self._mode.__enter__()

    def _end(self, module: Any, args: Any, result: Any) -> None:
        tracer, self._tracer = self._tracer, None
        self.stop()
        if tracer is None or result is None:
            return  # the forward raised: that is the user's to see
        for index, tensor in enumerate(_tensors(result)):
            tracer.add("output", "output" if index == 0 else f"output_{index}", (tensor,), None)
        self._done(Graph(tracer.nodes))

    def _enter(self, name: str) -> Callable[[Any, Any], None]:
        scope = name.replace(".", "/")

        def enter(module: Any, args: Any) -> None:
            if self._tracer is not None:
                self._tracer.scopes.append(scope)

        return enter

    def _leave(self, module: Any, args: Any, result: Any) -> None:
        if self._tracer is not None and self._tracer.scopes:
            self._tracer.scopes.pop()


class _Tracer:
    """Collects nodes."""

    def __init__(self) -> None:
        self.nodes: list[GraphNode] = []
        self.scopes: list[str] = []
        self._names: dict[str, int] = {}
        self._made: dict[int, tuple[weakref.ref[Any], str]] = {}
        self._parameters: dict[int, tuple[Any, str]] = {}

    def note_parameter(self, name: str, parameter: Any) -> None:
        self._parameters[id(parameter)] = (parameter, name)

    def add(self, op: str, name: str, takes: Any, gives: Any) -> None:
        """Add a node; ``takes`` and ``gives`` are whatever holds tensors."""
        if len(self.nodes) >= MAX_NODES:
            return
        inputs = list(dict.fromkeys(known for tensor in _tensors(takes) if (known := self._source(tensor))))
        results = list(_tensors(gives))
        shown = results[0] if len(results) == 1 else None
        node = GraphNode(
            name=self._unique(name),
            op=op,
            inputs=inputs,
            shape=None if shown is None else [int(size) for size in shown.shape],
            dtype=None if shown is None else str(shown.dtype).removeprefix("torch."),
        )
        self.nodes.append(node)
        for tensor in results:
            self._made[id(tensor)] = (weakref.ref(tensor), node.name)

    def call(self, function: str, takes: Any, gives: Any) -> None:
        scope = self.scopes[-1] if self.scopes else ""
        self.add(function, f"{scope}/{function}" if scope else function, takes, gives)

    def _source(self, tensor: Any) -> str | None:
        made = self._made.get(id(tensor))
        if made is not None and made[0]() is tensor:
            return made[1]
        parameter = self._parameters.pop(id(tensor), None)
        if parameter is None or parameter[0] is not tensor:
            return None
        self.add("parameter", parameter[1], (), tensor)
        return self.nodes[-1].name

    def _unique(self, name: str) -> str:
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        return f"{name}_{count}" if count else name


def _mode(tracer: _Tracer) -> Any:
    from torch.overrides import TorchFunctionMode

    class Mode(TorchFunctionMode):  # type: ignore[misc]
        """Tells the tracer of the outermost functions of torch; what these call inside is theirs."""

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            name = getattr(func, "__name__", "function")
            if name not in _SKIPPED and next(_tensors(result), None) is not None:
                tracer.call(name, (args, kwargs), result)
            return result

    return Mode()


def _tensors(value: Any) -> Iterator[Any]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _tensors(each)
