"""Finds which GPUs of a node belong to the job. Pure.

In: environment variables of CUDA and Slurm. Out: numbers or UUIDs that the GPU driver understands. If several jobs
share a node, each of them sees all GPUs, unless the scheduler hides the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_GPU = re.compile(r"\d+|(GPU|MIG)-\S+")


def visible_gpus(environ: Mapping[str, str], variable: str = "CUDA_VISIBLE_DEVICES") -> list[str] | None:
    """Return the GPUs in a variable, up to the first invalid one, as CUDA does; None if it is not set.

    Example:
        >>> visible_gpus({"CUDA_VISIBLE_DEVICES": "2,3"}), visible_gpus({"CUDA_VISIBLE_DEVICES": "NoDevFiles"})
        (['2', '3'], [])
        >>> visible_gpus({"CUDA_VISIBLE_DEVICES": "1,-1,2"}), visible_gpus({})
        (['1'], None)
    """
    given = environ.get(variable)
    if given is None:
        return None
    found: list[str] = []
    for word in map(str.strip, given.split(",")):
        if not _GPU.fullmatch(word):
            break
        found.append(word)
    return found


def own_gpus(environ: Mapping[str, str], there: int, local_world_size: int) -> list[str]:
    """Return the GPUs of the ranks on this node; all GPUs if that is unknown.

    Args:
        environ: Environment of one rank. ``CUDA_VISIBLE_DEVICES`` may name only the GPUs of this rank.
        there: Number of GPUs that the driver shows.
        local_world_size: Number of ranks on this node.

    Example:
        >>> own_gpus({"CUDA_VISIBLE_DEVICES": "2,3"}, there=8, local_world_size=2)
        ['2', '3']
        >>> own_gpus({"CUDA_VISIBLE_DEVICES": "2", "SLURM_STEP_GPUS": "2,3"}, there=4, local_world_size=2)
        ['2', '3']
        >>> own_gpus({"CUDA_VISIBLE_DEVICES": "2"}, there=4, local_world_size=4)
        ['0', '1', '2', '3']
        >>> own_gpus({"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_STEP_GPUS": "6,7"}, there=2, local_world_size=2)
        ['0', '1']
    """
    step = visible_gpus(environ, "SLURM_STEP_GPUS")
    own = visible_gpus(environ)
    everything = [str(number) for number in range(there)]
    if step and _are_there(step, there):
        return step
    if own is not None and (not own or len(own) >= local_world_size) and _are_there(own, there):
        return own
    return everything


def _are_there(gpus: list[str], there: int) -> bool:
    """Whether the driver knows these GPUs. In a control group, the GPUs of a job are numbered anew."""
    return not any(gpu.startswith("MIG") or (gpu.isdecimal() and int(gpu) >= there) for gpu in gpus)
