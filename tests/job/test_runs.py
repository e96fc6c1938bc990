"""A run directory has one writer at a time. A run whose writer is gone can be resumed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ranklog.job.runs import claim_run
from ranklog.journal.liveness import this_host
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.place import Place
from ranklog.model.record import Attempt, End


@pytest.fixture
def claim(tmp_path):
    """Claims the run of `start_attempt`."""

    def call() -> Attempt:
        return claim_run(tmp_path / "run-a", experiment="digits", resume="allow", place=Place(), specs=())

    return call


@pytest.fixture
def other():
    """Another process that lives."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait(120)


def test_a_run_that_another_process_writes_is_refused_with_host_pid_and_cure(start_attempt, claim, other):
    start_attempt(pid=other.pid)
    expected = (
        rf"process {other.pid} on {this_host()} already writes run 'run-a'.*use another run_id, or end that process"
    )
    with pytest.raises(InvalidArgumentError, match=expected):
        claim()


def test_a_run_with_an_end_can_be_resumed_while_its_process_lives(start_attempt, claim, other):
    start_attempt(pid=other.pid).append([End("FINISHED", 0)])
    assert claim().attempt == 1


def test_a_run_without_an_end_can_be_resumed_when_its_process_is_gone(start_attempt, claim, other):
    start_attempt(pid=other.pid)
    other.kill()
    other.wait(120)
    start_attempt(attempt=1, pid=other.pid)
    assert claim().attempt == 2


def test_a_run_of_this_process_or_of_another_host_can_be_resumed(start_attempt, claim, other):
    start_attempt(pid=os.getpid())
    assert claim().attempt == 1
    start_attempt(attempt=1, pid=other.pid, host="another-host")
    assert claim().attempt == 2


def test_claiming_reads_no_more_than_the_heads_of_the_segments(start_attempt, claim, monkeypatch):
    writer = start_attempt(segment_bytes=1)
    writer.append([End("FINISHED", 0)])
    monkeypatch.setattr("ranklog.journal.reader.JournalReader.poll", lambda self: pytest.fail("reads the journal"))
    assert claim().attempt == 1
