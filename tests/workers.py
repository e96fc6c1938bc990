"""How pytest-xdist deals the tests out to its workers, so that all are busy until the end.

xdist's own ``loadgroup`` does nothing with pytest 9.1 and newer, where it cannot change the id of a test.
"""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Their tests share one Slurm cluster and the container images: one worker runs them, and begins with them.
SHARED = ("tests/cluster/", "tests/containers/")
# Their tests start many processes: each goes to the next free worker, before the short tests of the other folders.
LONG = ("tests/jobs/", "tests/world/", "tests/faults/", "tests/soak/", "tests/reduce/")
# Files in those folders whose tests share a training or a run: one worker runs each file.
WHOLE = ("tests/jobs/test_runtimes.py", "tests/soak/test_odd_content.py")


def position(node_id: str) -> int:
    """Return where a test is in the order, a smaller number first."""
    if node_id.startswith(SHARED):
        return 0
    return 1 if node_id.startswith(LONG) else 2


class Scheduling(LoadScopeScheduling):  # type: ignore[misc, unused-ignore]
    """Deal out single tests, files and one group, in the order in which they were collected."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(SHARED):
            return "shared"
        if nodeid.startswith(LONG) and not nodeid.startswith(WHOLE):
            return nodeid
        return nodeid.partition("::")[0]
