"""Items of every kind with odd but possible content, in every backend.

python -m benchmarks.soak.odd_content [--minutes 10] [--seed 1]

Each call of `log` must either raise one of the errors that its docstring lists, or its record must be in the journal
after `flush`. Then the journal is delivered to each backend. Every record must be shown, or set aside with a reason.
The last record, a normal metric, must arrive. The trial creates runs for the given number of minutes.
"""

from __future__ import annotations

import argparse
import collections
import io
import json
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, Phase, given, seed, settings

from benchmarks.soak.documented import documented_errors
from benchmarks.soak.odd_items import ITEMS, OddCall, calls
from ranklog import JournalLogger
from ranklog.delivery.pump import Pump
from ranklog.delivery.step import Finish
from ranklog.journal.layout import segments
from ranklog.journal.reader import JournalReader
from ranklog.journal.targets import extra_target
from ranklog.logger.logger import Logger
from ranklog.model.errors import RanklogError
from ranklog.model.kinds import KINDS
from ranklog.model.losses import LOSSES
from ranklog.model.record import Event, Item, Metrics, Params
from ranklog.model.spec import BackendSpec, Scalar

RESULTS = Path(__file__).with_name("results")
SENTINEL = "what follows"
OPTIONS: dict[str, dict[str, Scalar]] = {
    "console": {},
    "csv": {},
    "mlflow": {"experiment_name": "odd"},
    "tensorboard": {"framework": "pytorch"},
    "wandb": {"project_name": "odd", "offline_mode": True},
    "trackio": {"project_name": "odd"},
    "prov": {},
}


class ViolationError(AssertionError):
    """Violation of a property."""


class OddRun:
    """One run with odd items.

    Args:
        folder: Folder of the run.

    Attributes:
        logger: The open logger; backends receive the journal later.
        inputs: Number of calls so far.
        refused: Calls that raised one of ranklog's errors, by its name.
    """

    def __init__(self, folder: Path) -> None:
        self.logger: Logger = JournalLogger(folder / "logs", log_freq="batch", strategy="single")
        self.logger.create_logger_context()
        self.logger.flush()
        self._reader = JournalReader(self.logger.run_dir)
        list(self._reader.poll())
        self._lost = 0
        self.inputs = 0
        self.refused: collections.Counter[str] = collections.Counter()

    def call(self, odd: OddCall) -> None:
        """Make one call.

        Raises:
            ViolationError: an error that is not ranklog's or is not documented, or a lost record.
        """
        self.inputs += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self._make(odd)
            except RanklogError as error:
                name = type(error).__name__
                method = "log" if odd.kind in KINDS else odd.kind
                if name not in documented_errors(getattr(type(self.logger), method)):
                    raise ViolationError(f"{method} raised {name}, which its docstring does not list") from error
                self.refused[name] += 1
                self._check([])
                return
            except Exception as error:
                raise ViolationError(f"{odd.kind}: {type(error).__name__} out of the call: {error}") from error
            self._check([odd])

    def _make(self, odd: OddCall) -> None:
        if odd.kind in KINDS:
            self.logger.log(odd.item, odd.name, kind=odd.kind, **odd.options)
        elif odd.kind == "serialize":
            self.logger.serialize(odd.item, odd.name)
        else:
            getattr(self.logger, odd.kind)(odd.item, **odd.options)

    def _check(self, taken: Sequence[OddCall]) -> None:
        """Check that the journal has all accepted items after a flush, and that nothing was lost."""
        if not self.logger.flush(60):
            raise ViolationError("flush() did not make it")
        records = [entry.record for entry in self._reader.poll()]
        losses = [record.text for record in records if isinstance(record, Event) and record.code in LOSSES]
        lost, self._lost = self.lost - self._lost, self.lost
        if lost or losses:
            raise ViolationError(f"{lost} records were lost: {losses}")
        for odd in taken:
            if _is_empty(odd):
                continue
            if not any(isinstance(record, (Metrics, Params, Item)) for record in records):
                raise ViolationError(f"{odd.kind}: nothing is in the journal")

    @property
    def lost(self) -> int:
        """Return the records that ranklog reports as lost."""
        session = self.logger._session
        return 0 if session is None else session._drain.lost

    def finish(self) -> Path:
        """Log the sentinel, close, and return the run directory."""
        self.logger.log(0.5, SENTINEL, step=7)
        run_dir = self.logger.run_dir
        self.logger.destroy_logger_context()
        return run_dir


def _is_empty(odd: OddCall) -> bool:
    """Return whether a call may leave no record, because it only waits for something or is empty."""
    unseen = odd.kind in ("watch", "system", "carbon", "serialize", "reduce_now")
    waits = odd.kind == "graph" and odd.options.get("input_example") is None
    small = odd.kind in ("metric", "param", "log_metrics", "save_hyperparameters") and not _size(odd.item)
    return unseen or waits or small


def _size(item: Any) -> int:
    try:
        return len(item)
    except TypeError:
        return 1


def fill(
    run: OddRun, kind: str, *, examples: int, first_seed: int, report: Callable[[str], None] | None = None
) -> None:
    """Make calls of one kind, generated by hypothesis.

    Args:
        run: Target of the calls.
        kind: Kind of the items.
        examples: Maximum number of calls.
        first_seed: Seed; equal seeds generate equal calls.
        report: Receives each violation; None raises the first one, minimised.
    """

    @seed(first_seed)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate] if report else [Phase.generate, Phase.shrink],
    )
    @given(calls(kind))
    def one(odd: OddCall) -> None:
        try:
            run.call(odd)
        except ViolationError as violation:
            if report is None:
                raise
            report(f"{violation}\n{odd!r:.400}\n{''.join(traceback.format_exception(violation))[-3000:]}")

    one()


class Delivered(msgspec.Struct, frozen=True):
    """Result of a run in one backend.

    Attributes:
        records: Records read.
        set_aside: Reasons, each with the number of records that have it.
        error: Reason that delivery stopped; None if all records arrived.
    """

    records: int
    set_aside: dict[str, int]
    error: str | None


def deliver(run_dir: Path, backend: str, savedir: Path, options: Mapping[str, Scalar]) -> Delivered:
    """Deliver a run to one backend, as ``ranklog sync`` does."""
    spec = BackendSpec(backend=backend, options={"savedir": str(savedir), **options})
    pump = Pump(run_dir, console=io.StringIO(), targets=[extra_target(spec)])
    try:
        for _ in pump.run(Finish(None)):
            pass
        cursor = pump.feeds[0].cursor
    finally:
        pump.close()
    last = max(entry.ordinal for entry in JournalReader(run_dir).poll())
    reasons = collections.Counter(cursor.refused.values())
    error = cursor.error if cursor.error or cursor.next_ordinal > last else f"stands still at {cursor.next_ordinal}"
    if not all(reasons):
        error = "a record was set aside without a reason"
    return Delivered(last + 1, dict(reasons), error)


def main() -> None:
    """Run the trial and write its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--examples", type=int, default=40, help="calls of each kind in one run")
    given_ = parser.parse_args()
    end_s = time.monotonic() + 60 * given_.minutes
    inputs = runs = 0
    refused: collections.Counter[str] = collections.Counter()
    records: collections.Counter[str] = collections.Counter()
    set_aside: dict[str, dict[str, int]] = {}
    violations: list[str] = []
    while time.monotonic() < end_s:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            run = OddRun(folder)
            for index, kind in enumerate(ITEMS):
                number = given_.seed + 1000 * runs + index
                fill(run, kind, examples=given_.examples, first_seed=number, report=violations.append)
            run_dir = run.finish()
            for backend, options in OPTIONS.items():
                found = deliver(run_dir, backend, folder / backend, options)
                records[backend] += found.records
                reasons = collections.Counter(set_aside.get(backend, {})) + collections.Counter(found.set_aside)
                set_aside[backend] = dict(reasons)
                if found.error:
                    violations.append(f"{backend}: {found.error}")
            inputs, runs = inputs + run.inputs, runs + 1
            refused += run.refused
            size = sum(path.stat().st_size for _, path in segments(run_dir))
            print(
                f"run {runs}: {inputs} calls, {len(violations)} violations, journal {size / 2**20:.1f} MiB", flush=True
            )
    result = {
        "seed": given_.seed,
        "runs": runs,
        "inputs": inputs,
        "refused_in_the_call": dict(refused),
        "records_delivered": dict(records),
        "set_aside": {backend: sum(reasons.values()) for backend, reasons in set_aside.items()},
        "violations": len(violations),
    }
    (RESULTS / "odd_content.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    print(json.dumps(set_aside, indent=1))
    print("\n\n".join(violations[:20]))


if __name__ == "__main__":
    main()
