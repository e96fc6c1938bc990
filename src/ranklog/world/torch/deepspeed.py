"""Ranks of DeepSpeed, which communicates through torch.distributed's default group.

``deepspeed.init_distributed`` or ``deepspeed.initialize`` initialises that group, with any backend. ranklog builds a
separate gloo group, as it does for torch. In: the group. Out: a `Place` and a `World`. deepspeed is never imported.
"""

from __future__ import annotations

import threading

import msgspec

from ranklog.abc import World
from ranklog.model.errors import WorldError
from ranklog.model.place import Place
from ranklog.world.torch.strategy import TorchStrategy


class DeepSpeedStrategy(msgspec.Struct, frozen=True):
    """Ranks that ``deepspeed.init_distributed`` has connected."""

    rank: int | None = None
    name: str = "deepspeed"

    def place(self) -> Place:
        """Return the group's place; before the group is initialised, the launcher's.

        Raises:
            InvalidArgumentError: the given rank differs.
        """
        return TorchStrategy(self.rank).place()

    def ready(self) -> bool:
        """Return whether DeepSpeed or the program has initialised torch.distributed."""
        return TorchStrategy(self.rank).ready()

    def connect(self, *, channel: str, timeout_s: float, stop: threading.Event | None = None) -> World:
        """Open separate gloo groups over the default group's store."""
        if not self.ready():
            raise WorldError("DeepSpeed has initialised no process group: call deepspeed.init_distributed first")
        return TorchStrategy(self.rank).connect(channel=channel, timeout_s=timeout_s, stop=stop)
