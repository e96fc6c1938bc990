"""A long run costs at its end what it cost at its beginning; the long one is `benchmarks.soak.growth`."""

from pathlib import Path

import pytest

from benchmarks.soak.growth import grow


@pytest.mark.slow
def test_a_long_run_grows_neither_in_memory_nor_in_descriptors_nor_in_files(tmp_path: Path) -> None:
    found = grow(200_000, tmp_path)
    assert found.records == 200_000 + 4, "the steps, the attempt, its rank and job, and the end"
    assert found.journal_mib < 150 * found.steps / 1_000_000
    assert found.other_files <= 3
    assert len({part.descriptors for part in found.parts}) == 1
    # Half the run later: what a record leaves behind would show as 100,000 times its size.
    assert found.parts[-1].resident_mib - found.parts[4].resident_mib < 5
