"""The place of one process in its job: its rank, its node, and its launcher.

Pure data, made by `ranklog.world.place.detect` from environment variables, or by a strategy from its process group.
"""

from __future__ import annotations

import msgspec


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where this process stands in its job.

    Attributes:
        rank: Global rank, ``0 <= rank < world_size``.
        world_size: Number of processes that log together.
        local_rank: Rank on this node.
        local_world_size: Number of ranks on this node.
        node_rank: Index of this node, from 0.
        node_count: Number of nodes.
        launcher: Source of the place: ``"torchrun"``, ``"slurm"``, …, or ``"single"``.
        job_id: The scheduler's job id, if there is one.
        attempt: How often the job was requeued or restarted before; 0 for the first start.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    node_rank: int = 0
    node_count: int = 1
    launcher: str = "single"
    job_id: str | None = None
    attempt: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes: global rank 0."""
        return self.rank == 0

    def __str__(self) -> str:
        return f"rank {self.rank}/{self.world_size} ({self.launcher})"
