"""Random files are read without a crash and without much memory; 100,000 are in `benchmarks.soak.random_files`."""

from pathlib import Path

from benchmarks.soak.random_files import read_random


def test_two_thousand_random_files_raise_nothing_and_take_little_memory(tmp_path: Path) -> None:
    found = read_random(2000, seed=3, folder=tmp_path)
    assert found.raised == {}
    assert found.records > 1000, "what is whole is read"
    assert found.damaged > 1000
    assert found.memory_mib < 64
