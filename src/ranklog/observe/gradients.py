"""Turns gradients and parameters of a module into histograms, at every n-th step of its optimizer.

In: a module, once. Out: items of kind ``histogram`` named ``gradients/<identifier>.<parameter>`` and
``parameters/<identifier>.<parameter>``, and the metric ``grad_norm/<identifier>``. They are taken as an optimizer's
step begins, when gradients are averaged over ranks, unscaled and clipped. Other steps cost one comparison each.
Values are counted on the device of each tensor and copied without waiting; the background thread reads the counts.
Of a tensor that is sharded over ranks this rank's part is shown, marked by the meta ``part``, and there is no norm.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any
from weakref import ref

import msgspec

from ranklog.abc import Call, Content, PendingItem, Sink
from ranklog.items.file_names import file_name
from ranklog.items.histograms import finite_or_none
from ranklog.items.model_formats import bare_module
from ranklog.items.options import known_options, typed_options
from ranklog.model import content
from ranklog.model.kinds import KINDS
from ranklog.model.record import Item, Metrics
from ranklog.model.spec import Scalar
from ranklog.values.local import no_collectives, part_of

DEFAULT_EVERY = 1000
"""Matches the default of `wandb.watch`."""
_SHOWS = {"gradients": ("gradients",), "parameters": ("parameters",), "all": ("gradients", "parameters")}
_FACTS = 5
_SQUARES = 3
_AT_ONCE = 1 << 24
"""Elements whose bins are computed together; their indices take 128 MiB."""


def take(call: Call, sink: Sink) -> Callable[[], None]:
    """Watch a module from now on; returns the function that ends it.

    Raises:
        InvalidItemError: it is not a module.
        InvalidArgumentError: an option is not allowed.
    """
    given = typed_options(KINDS[call.kind], known_options(call.kind, call.options))
    module = bare_module(call.item, call.name, call.kind)
    file_name(call.name)
    return Watcher(
        sink,
        module,
        call.name,
        first_step=call.step,
        to=call.to,
        every=given["log_freq"] or _every_by_default(call),
        shows=_SHOWS[given["log"]],
        bins=given["bins"],
    ).stop


def _every_by_default(call: Call) -> int:
    """The smallest ``log_freq`` of the backends that take the call; every step for ``"batch"``."""
    given = {spec.log_freq for bit, spec in enumerate(call.specs) if call.to >> bit & 1}
    return min((freq for freq in given if isinstance(freq, int)), default=1 if "batch" in given else DEFAULT_EVERY)


class Watcher:
    """Watches one module until `stop`.

    Args:
        sink: Takes the records.
        module: The module.
        name: The identifier.
        first_step: Step of the optimizer's next step.
        to: Backends, as a bit mask.
        every: Number of optimizer steps between two samples.
        shows: ``"gradients"``, ``"parameters"`` or both.
        bins: Bins of each histogram.
    """

    def __init__(
        self,
        sink: Sink,
        module: Any,
        name: str,
        *,
        first_step: int,
        to: int,
        every: int,
        shows: tuple[str, ...],
        bins: int,
    ) -> None:
        from torch.optim.optimizer import register_optimizer_step_pre_hook

        self._sink = sink
        self._module = module
        self._name = name
        self._step = first_step
        self._to = to
        self._every = every
        self._shows = shows
        self._bins = bins
        self._mine: dict[int, tuple[ref[Any], bool]] = {}
        self._hook = register_optimizer_step_pre_hook(self._before_step)

    def stop(self) -> None:
        """Stop watching."""
        self._hook.remove()

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        # Horovod's optimizer steps twice: the second step, inside the first, has the averaged gradients.
        if getattr(optimizer, "_handles", None) or not self._is_mine(optimizer):
            return
        step, self._step = self._step, self._step + 1
        if step % self._every == 0:
            try:
                with no_collectives(f"watch {self._name!r}"):
                    self._take(step)
            except Exception as error:  # watching must not end the training
                self._sink.report("watch", f"watch {self._name!r} at step {step}: {error!r}")

    def _is_mine(self, optimizer: Any) -> bool:
        known = self._mine.get(id(optimizer))
        if known is not None and known[0]() is optimizer:
            return known[1]
        ours = {id(parameter) for parameter in self._module.parameters()}
        groups = getattr(optimizer, "param_groups", ())
        mine = any(id(parameter) in ours for group in groups for parameter in group["params"])
        self._mine[id(optimizer)] = ref(optimizer), mine
        return mine

    def _take(self, step: int) -> None:
        time_ns = time.time_ns()
        taken: list[tuple[str, str, bool, int, Any]] = []
        for name, parameter in self._module.named_parameters():
            for kind in self._shows:
                tensor = parameter.grad if kind == "gradients" else parameter
                if tensor is None:
                    continue
                here, part = part_of(tensor, name)
                here = _real_and_dense(here)
                if here.numel():  # a rank may have no part of a small tensor
                    taken.append((kind, name, part, here.numel(), counts_of(here, self._bins)))
        if "gradients" in self._shows and not any(kind == "gradients" for kind, *_ in taken):
            self._sink.report(
                "watch",
                f"watch {self._name!r}: no parameter has a gradient when its optimizer steps (DeepSpeed keeps them "
                "internally): log its parameters instead",
            )
        read = _read_later([counts for *_, counts in taken])
        self._sink.background(
            f"watch {self._name!r}", lambda: self._records(step, time_ns, [entry[:4] for entry in taken], read())
        )

    def _records(
        self, step: int, time_ns: int, named: list[tuple[str, str, bool, int]], rows: list[list[float]]
    ) -> Iterable[PendingItem | Metrics]:
        rank = self._sink.place.rank
        squares: float | None = 0.0
        for (kind, parameter, part, size), row in zip(named, rows, strict=True):
            histogram = as_histogram(row, size)
            if kind == "gradients" and squares is not None:
                # The histogram leaves out non-finite values; a norm without them would hide that training broke.
                more = row[_SQUARES] if not histogram.nonfinite else math.nan
                squares = None if part else squares + more  # a part has no norm
            name = f"{kind}/{self._name}.{parameter}"
            meta: dict[str, Scalar] = {"part": f"rank {rank}"} if part else {}
            record = Item("histogram", name, step, time_ns, self._to, rank, content.HISTOGRAM, (), meta)
            yield PendingItem(record, (Content(file_name(name, ".json"), msgspec.json.encode(histogram)),))
        if squares is not None and "gradients" in self._shows:
            yield Metrics(step, time_ns, self._to, {f"grad_norm/{self._name}": math.sqrt(squares)})


def _real_and_dense(tensor: Any) -> Any:
    """Values that can be counted: a dense tensor, with real and imaginary parts for complex numbers."""
    import torch

    tensor = tensor.detach()
    dense = tensor if tensor.layout is torch.strided else tensor.to_dense()
    return torch.view_as_real(dense.resolve_conj()) if dense.is_complex() else dense


def counts_of(tensor: Any, bins: int) -> Any:
    """Smallest, largest, sum, sum of squares and number of the finite values, then their counts; on the device.

    Returns:
        A float64 tensor of ``5 + bins`` elements, computed without waiting for the device.
    """
    import torch

    values = tensor.detach().reshape(-1)
    values = values if values.dtype in (torch.float32, torch.float64) else values.float()
    finite = torch.isfinite(values)
    low = torch.where(finite, values, torch.inf).min()
    high = torch.where(finite, values, -torch.inf).max()
    plain = torch.where(finite, values, 0.0)
    # Halved, because the distance from the smallest to the largest float is beyond float.
    width = high / 2 - low / 2
    width = torch.where(width > 0, width, torch.ones_like(width))
    counts = torch.zeros(bins, dtype=torch.float64, device=values.device)
    for start in range(0, values.numel(), _AT_ONCE):
        some, good = values[start : start + _AT_ONCE], finite[start : start + _AT_ONCE]
        scaled = torch.where(good, (some / 2 - low / 2) / width * bins, torch.zeros_like(some))
        counts.scatter_add_(0, scaled.long().clamp_(0, bins - 1), good.double())
    facts = [low.double(), high.double(), plain.double().sum(), plain.double().square().sum(), finite.double().sum()]
    return torch.cat([torch.stack(facts), counts])


def as_histogram(row: list[float], size: int) -> content.Histogram:
    """The histogram of a row of `counts_of` for ``size`` values; equal values get bins of width 1."""
    low, high, total, squares, count = row[:_FACTS]
    counts = row[_FACTS:]
    if not count:
        low = high = 0.0
    last = high if high > low else low + 1.0
    places = [index / len(counts) for index in range(len(counts) + 1)]
    edges = [min(max(low * (1.0 - place) + last * place, low), last) for place in places]
    return content.Histogram(
        edges=sorted(edges),
        counts=counts,
        min=low,
        max=high,
        sum=finite_or_none(total),
        sum_squares=finite_or_none(squares),
        count=count,
        nonfinite=size - int(count),
    )


def _read_later(rows: list[Any]) -> Callable[[], list[list[float]]]:
    """Start to copy rows to the host, together per device; the returned function waits and returns them."""
    import torch

    of_device: dict[Any, list[int]] = {}
    for index, row in enumerate(rows):
        of_device.setdefault(row.device, []).append(index)
    copies: list[tuple[list[int], Any, Any]] = []
    for device, indices in of_device.items():
        stacked = torch.stack([rows[index] for index in indices])
        if device.type != "cuda":
            copies.append((indices, stacked.cpu(), None))
            continue
        host = torch.empty(stacked.shape, dtype=stacked.dtype, pin_memory=True)
        host.copy_(stacked, non_blocking=True)
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(device))
        copies.append((indices, host, event))

    def read() -> list[list[float]]:
        found: dict[int, list[float]] = {}
        for indices, host, event in copies:
            if event is not None:
                event.synchronize()
            found |= zip(indices, host.tolist(), strict=True)
        return [found[index] for index in range(len(rows))]

    return read
