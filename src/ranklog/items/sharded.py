"""Recognises models that are sharded over ranks, and gathers their weights on rank 0.

In: a module under FSDP (either version), tensor parallelism (DTensor) or DeepSpeed's ZeRO-3. Out: its full state dict
on the CPU of rank 0, nothing on other ranks. Every rank must call. Before anything is gathered with the training's own
communicator, ranklog's own checks with a time limit that all ranks have called, so that a call on one rank only is an
error and not a hang.
"""

from __future__ import annotations

from typing import Any

from ranklog.model.errors import InvalidItemError
from ranklog.values.loaded import loaded
from ranklog.values.local import has_others, is_spread


def is_sharded(model: Any) -> bool:
    """Whether this rank has only part of the parameters or buffers."""
    fsdp = loaded("torch.distributed.fsdp")
    wrapper = getattr(fsdp, "FullyShardedDataParallel", None)
    if wrapper is not None and any(isinstance(module, wrapper) for module in model.modules()):
        return True
    return any(is_spread(value) for values in (model.parameters(), model.buffers()) for value in values)


def refuse_forward(model: Any, what: str, cure: str) -> None:
    """Refuse to run a forward that needs all ranks.

    Raises:
        InvalidItemError: the module is sharded over ranks.
    """
    if has_others() and is_sharded(model):
        raise InvalidItemError(f"{what}: the module is sharded over ranks, and its forward needs all of them: {cure}")


def full_state(model: Any, name: str, *, writes: bool) -> dict[str, Any] | None:
    """The whole state dict on the CPU of the rank that writes; None on other ranks.

    Ranks: all must call; waits for all and for the devices.

    Raises:
        InvalidItemError: this version of torch cannot gather it.
    """
    if any(hasattr(parameter, "ds_tensor") for parameter in model.parameters()):
        return _from_zero(model, writes)
    try:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
    except ImportError as error:
        raise InvalidItemError(f"model {name!r} is sharded, and this torch cannot gather it: {error}") from error
    state: dict[str, Any] = get_model_state_dict(
        model, options=StateDictOptions(full_state_dict=True, cpu_offload=True)
    )
    return state if writes else None


def _from_zero(model: Any, writes: bool) -> dict[str, Any] | None:
    """Gather module by module, so that no device holds more than one module's parameters at once."""
    from deepspeed import zero

    state: dict[str, Any] = {}
    for prefix, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        with zero.GatheredParameters(list(own.values())):
            if writes:
                dot = f"{prefix}." if prefix else ""
                state.update({f"{dot}{name}": value.detach().cpu().clone() for name, value in own.items()})
    if not writes:
        return None
    state.update({name: buffer.detach().cpu().clone() for name, buffer in model.named_buffers()})
    return state
