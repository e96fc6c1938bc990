"""Reads logged values without communication: the one rule for tensors that are distributed over ranks.

In: values of users, in any thread that reads them. Out: tensors of which this rank has the whole value. Guarantee:
nothing here, and nothing that runs inside `reading` or `no_collectives`, starts or waits for a collective of the
user's process groups. Not all ranks log, so a collective would hang the training or pair with one of the training's
own. Decision 0014.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from ranklog.model.errors import InvalidItemError
from ranklog.values.loaded import loaded

_MARKS = {"ds_status", "_is_flat_param"}
"""Attributes of parameters that ZeRO-3 or FSDP has partitioned."""


def local(value: Any, what: str) -> Any:
    """The value itself; for a replicated DTensor, this rank's copy.

    Args:
        value: Any object; only tensors are looked at.
        what: Its name in an error message, for example ``"metric 'loss'"``.

    Raises:
        InvalidItemError: this rank has only a part of the value, or none, or it is still being communicated.
    """
    torch = loaded("torch")
    if torch is None or not isinstance(value, torch.Tensor):
        return value
    if not is_plain(value):
        value = _of_subclass(torch, value, what)
    if value.is_nested:
        raise InvalidItemError(f"{what} is a nested tensor: log the tensors returned by its .unbind(), one by one")
    if value.is_meta:
        raise InvalidItemError(f"{what} is a tensor on the meta device, which has a shape and no values")
    return value


@contextmanager
def reading_number(value: Any, what: str) -> Iterator[Any]:
    """Give this rank's part of an argument, to be read as a number inside.

    Raises:
        InvalidItemError: as `local` and `no_collectives`.
    """
    if type(value) in (int, float):
        yield value
        return
    with no_collectives(what):
        yield local(value, what)


def text_of(value: Any, what: str) -> str:
    """The text of a value; for a tensor, the text of its numbers.

    Raises:
        InvalidItemError: as `local` and `no_collectives`.
    """
    torch = loaded("torch")
    if torch is None or not isinstance(value, torch.Tensor):
        return str(value)
    # Not the tensor's own text: torch leaves all modes while it makes that.
    with no_collectives(what):
        return str(_plain(local(value, what), what).tolist())


def is_special_tensor(value: Any) -> bool:
    """Whether a value is a tensor that is not plain (`is_plain`), so that its repr may need other ranks."""
    torch = loaded("torch")
    return torch is not None and isinstance(value, torch.Tensor) and not is_plain(value)


def _plain(tensor: Any, what: str) -> Any:
    copy = tensor if is_plain(tensor) else tensor.detach().clone()
    if not is_plain(copy):
        raise InvalidItemError(f"{what} is a {type(tensor).__qualname__}: give a plain torch.Tensor")
    return copy


def is_plain(value: Any) -> bool:
    """Whether a tensor is complete and of torch's own classes, which never communicate."""
    kind = type(value)
    torch = sys.modules["torch"]
    return kind is torch.Tensor or (kind is torch.nn.Parameter and not _MARKS & value.__dict__.keys())


def _is_plain_class(kind: type) -> bool:
    torch = sys.modules["torch"]
    return kind is torch.Tensor or kind is torch.nn.Parameter


def part_of(value: Any, what: str) -> tuple[Any, bool]:
    """This rank's values of a tensor, without communication, and whether they are only a part of it.

    Raises:
        InvalidItemError: it has no values that can be read now.
    """
    if not _is_dtensor(value) or _is_replicated(value):
        return local(value, what), False
    return local(_own_part(value), what), True


def is_spread(value: Any) -> bool:
    """Whether a parameter or buffer is a DTensor, or partitioned by ZeRO-3."""
    return _is_dtensor(value) or hasattr(value, "ds_tensor")


def _is_dtensor(value: Any) -> bool:
    # Recognised by attributes: its module has moved between versions of torch, and may not be imported.
    return hasattr(value, "placements") and hasattr(value, "device_mesh")


def _is_replicated(value: Any) -> bool:
    return all(placement.is_replicate() for placement in value.placements)


def _own_part(value: Any) -> Any:
    # With gradients, this would be an operation of autograd.
    with sys.modules["torch"].no_grad():
        return value.to_local()


def _of_subclass(torch: Any, value: Any, what: str) -> Any:
    if _is_dtensor(value):
        if value.device_mesh.get_coordinate() is None:
            raise InvalidItemError(f"{what} is a DTensor on ranks other than this one: log it on one of these")
        if not _is_replicated(value):
            raise InvalidItemError(
                f"{what} is a DTensor of which each rank has a part ({', '.join(map(str, value.placements))}): log "
                "the result of its .full_tensor(), which every rank must call"
            )
        return local(_own_part(value), what)
    if hasattr(value, "trigger_wait"):  # AsyncCollectiveTensor
        if value.completed:
            return value.elem
        raise _still_running(what)
    if hasattr(value, "local_shards"):  # ShardedTensor
        raise InvalidItemError(
            f"{what} is a ShardedTensor, of which each rank has a part: log the result of its .gather(), which "
            "every rank must call"
        )
    if getattr(value, "_is_flat_param", False):
        raise InvalidItemError(
            f"{what} is a flat parameter of FSDP, of which each rank has a part: log the module's parameters inside "
            "FullyShardedDataParallel.summon_full_params(), which every rank must enter"
        )
    if hasattr(value, "ds_status") and value.ds_status.name != "AVAILABLE":
        raise InvalidItemError(
            f"{what} is a parameter that ZeRO-3 has spread over ranks: log it inside "
            "deepspeed.zero.GatheredParameters, which every rank must enter"
        )
    if hasattr(value, "fake_mode"):
        raise InvalidItemError(f"{what} is a FakeTensor, which has a shape and no values")
    return value


def has_others() -> bool:
    """Whether this process trains with torch.distributed together with other ranks."""
    distributed = getattr(loaded("torch"), "distributed", None)
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return False
    return bool(distributed.get_world_size() > 1)


def _still_running(what: str) -> InvalidItemError:
    cure = "log the result of its .wait(), or .full_tensor() of a DTensor"
    return InvalidItemError(f"{what} is the result of a collective that may still run: {cure}")


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Apply `local` to every tensor that is read inside, also in lists, cells of tables and datasets.

    Raises:
        InvalidItemError: as `local` and `no_collectives`, also where code inside swallowed the error.
    """
    if loaded("torch") is None:
        yield
        return
    with no_collectives(what), _refusing(_modes()[0](what)):
        yield


@contextmanager
def no_collectives(what: str) -> Iterator[None]:
    """Refuse collectives of torch.distributed in this thread that code inside starts or awaits, for example a forward.

    Raises:
        InvalidItemError: code inside tried, also where it swallowed the error.
    """
    if not has_others():
        yield
        return
    with _refusing(_modes()[1](what)):
        yield


@contextmanager
def _refusing(mode: Any) -> Iterator[None]:
    """Enter a mode, and raise its refusal at the end even if the code inside swallowed it."""
    try:
        with mode:
            yield
    except Exception as error:
        if mode.refused is None or error is mode.refused:
            raise
        raise mode.refused from error
    if mode.refused is not None:
        raise mode.refused


@cache
def _modes() -> tuple[Any, Any]:
    """The two classes that observe torch; made at first use, because their bases are torch's."""
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    class Reading(TorchFunctionMode):  # type: ignore[misc]
        """Gives torch's functions the local values of what they are called with."""

        def __init__(self, what: str) -> None:
            super().__init__()
            self.what = what
            self.refused: InvalidItemError | None = None

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            try:
                args, kwargs = _each_local((args, kwargs or {}), self.what)
            except InvalidItemError as error:
                self.refused = self.refused or error
                raise
            return func(*args, **kwargs)

    class NoCollectives(TorchDispatchMode):  # type: ignore[misc]
        """Refuses the operators of process groups before they reach one."""

        supports_higher_order_operators = True

        def __init__(self, what: str) -> None:
            super().__init__()
            self.what = what
            self.refused: InvalidItemError | None = None

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if "c10d" in func.namespace:
                why = f"needs the other ranks ({func}), but not all of them log: log this rank's own data"
                found = InvalidItemError(f"{self.what} {why}")
                self.refused = self.refused or (_still_running(self.what) if "wait" in str(func) else found)
                raise self.refused
            if not all(map(_is_plain_class, types)):
                return NotImplemented  # subclasses first: a DTensor's operation comes back here as its own operators
            return func(*args, **(kwargs or {}))

    return Reading, NoCollectives


def _each_local(value: Any, what: str) -> Any:
    if type(value) in (list, tuple):
        return type(value)(_each_local(each, what) for each in value)
    if type(value) is dict:
        return {key: _each_local(each, what) for key, each in value.items()}
    return local(value, what)
