"""One rank of a torch job that checks the promises of its strategy and prints a line for each.

With the argument ``by-node`` the ranks are combined node by node, however few they are.
"""

import os
import sys
import threading

import torch
import torch.distributed as dist

from ranklog.abc import World
from ranklog.model.place import Place
from ranklog.testing.conformance import check_strategy
from ranklog.world.strategies import resolve_strategy
from ranklog.world.torch.strategy import TorchStrategy, connect_torch
from ranklog.world.torch.worlds import HierarchicalWorld, TorchWorld


class ByNode:
    name = "by-node"

    def place(self) -> Place:
        return TorchStrategy().place()

    def ready(self) -> bool:
        return dist.is_initialized()

    def connect(self, *, channel: str, timeout_s: float, stop: threading.Event | None = None) -> World:
        world = connect_torch(self.place(), channel=channel, timeout_s=timeout_s, stop=stop, hierarchy_from=2)
        assert isinstance(world, HierarchicalWorld)
        return world


def beside() -> None:
    mine = torch.full((100,), float(dist.get_rank()))
    dist.all_reduce(mine)
    assert mine[0] == dist.get_world_size() * (dist.get_world_size() - 1) / 2


def main() -> None:
    named = resolve_strategy("torch")
    assert not named.ready()
    assert named.place().launcher == "torchrun"
    dist.init_process_group("gloo")
    place = named.place()
    assert (place.rank, place.world_size) == (dist.get_rank(), dist.get_world_size())
    if "by-node" in sys.argv:
        assert place.node_rank == int(os.environ["GROUP_RANK"])
        strategies = [ByNode()]
    else:
        world = named.connect(channel="flat", timeout_s=120)
        assert isinstance(world, TorchWorld)
        world.barrier(timeout_s=120)  # a rank that drops its end earlier breaks the connection of a slower one
        strategies = [named]
    for strategy in strategies:
        for name in check_strategy(strategy, together=dist.barrier, beside=beside):
            print(f"{name}: ok", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
