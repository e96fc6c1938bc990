"""``ranklog doctor``: what ranklog sees here, or on all ranks where a launcher starts it, with cures for what is wrong.

Every probe has a time limit, and the whole has one: a watchdog prints what was found so far and ends the process.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ranklog.cli.console import clean, out, print_error, runs_directory
from ranklog.cli.doctor.check import Bounded, Check, Level, worst
from ranklog.model.as_json import to_json, to_plain
from ranklog.model.place import Place
from ranklog.view.units import count

PROBE_S = 10.0
IMPORT_S = 10.0
"""For the framework by which the ranks are joined."""
RANKS_S = 60.0
GRACE_S = 10.0
_COLOURS: dict[Level, str] = {"ok": "green", "warn": "yellow", "bad": "red"}
_SHOWN_RANKS = 8


def doctor(
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]", help="Where runs will lie; default RANKLOG_DIR, else mllogs.", show_default=False
        ),
    ] = None,
    backends: Annotated[
        str | None,
        typer.Option("--backends", help="Backends to check, with commas; default RANKLOG_BACKENDS, else mlflow."),
    ] = None,
    strategy: Annotated[
        str, typer.Option("--strategy", help="How to join the ranks: auto, torch, mpi or horovod.")
    ] = "auto",
    timeout: Annotated[
        float, typer.Option("--timeout", min=1.0, help="Seconds that ranks wait for each other.")
    ] = RANKS_S,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check what ranklog needs: place, ranks, run directory, backends, clocks, signals, time limit.

    Example: `ranklog doctor`, or on all ranks of a job `srun -N2 -n4 ranklog doctor`

    Exit status: 0 nothing is red; 1 something is, also where ranks do not meet.
    """
    from ranklog.cli.doctor.ranks import APART, forget_meeting, meet, place_of_launcher

    place = place_of_launcher()
    where = directory or runs_directory()
    own: list[Check] = []
    done = threading.Lock()

    def finish(checks: Sequence[Check], *, at_once: bool) -> None:
        """Print once, and leave; at once where a thread hangs in something that cannot be ended."""
        if not done.acquire(blocking=False):
            return
        if place.is_main:
            _print(checks, place.world_size, as_json=as_json)
        elif at_once:  # else rank 0 has what this rank found
            reasons = [f"{check.name}: {check.text}" for check in checks if check.level == "bad"]
            print_error(f"{place}: {'; '.join(reasons)}")
        sys.stdout.flush()
        if at_once:
            os._exit(1)

    def give_up() -> None:
        text = "a probe hangs where no time limit reaches it"
        finish([*own, Check(name="doctor", level="bad", text=text, cure="look at the last line above")], at_once=True)
        os._exit(1)  # all was said, and it is the end that hangs: for example MPI's, which waits for other ranks

    meeting_s = IMPORT_S + 2 * timeout
    watchdog = threading.Timer(PROBE_S + meeting_s + GRACE_S, give_up)
    watchdog.daemon = True
    watchdog.start()
    probes = _probes(place, where, backends)
    for probe in probes:
        own += probe.result()
    checks: Sequence[Check] = own
    apart = False
    if place.world_size > 1:
        together = Bounded(
            APART,
            lambda: meet(place, where, own, strategy, timeout),
            meeting_s,
            "see that every rank runs this command",
        )
        answer = together.result()
        # As when it hangs or raises: a rank that is alone with its findings shows its own.
        apart = any(check.name == APART for check in answer)
        checks = [*own, *answer] if apart else answer
        forget_meeting(place, where)
    finish(checks, at_once=apart or any(probe.hangs for probe in probes))
    if place.world_size == 1:
        watchdog.cancel()
    raise typer.Exit(1 if worst(checks) == "bad" else 0)


def _probes(place: Place, where: Path, backends: str | None) -> list[Bounded]:
    from ranklog.cli.doctor import process
    from ranklog.cli.doctor.backends import backend_checks
    from ranklog.cli.doctor.storage import storage_checks
    from ranklog.loggers import backend_names

    slow_disk = "the file system hangs: ask the site, or set RANKLOG_DIR to another one"
    return [
        Bounded("place", lambda: process.place_checks(os.environ), PROBE_S),
        Bounded("rank", lambda: [process.rank_check(place)], PROBE_S),
        Bounded("run directory", lambda: storage_checks(where), PROBE_S, slow_disk),
        Bounded("backends", lambda: backend_checks(backend_names(backends), os.environ), PROBE_S),
        Bounded("secrets", lambda: process.secret_checks(os.environ), PROBE_S),
        Bounded("versions", process.version_checks, PROBE_S),
        Bounded("limits", lambda: process.limit_checks(place, os.environ), PROBE_S),
        Bounded("home", process.home_checks, PROBE_S),
    ]


def _print(checks: Sequence[Check], world_size: int, *, as_json: bool) -> None:
    if as_json:
        typer.echo(
            to_json({"level": worst(checks), "ranks": world_size, "checks": [to_plain(c) for c in checks]}, indent=1)
        )
        return
    console = out()
    width = max(len(check.name) for check in checks)
    seen: dict[tuple[str, Level], int] = {}
    for check in checks:
        seen[check.name, check.level] = number = seen.get((check.name, check.level), 0) + 1
        if number > _SHOWN_RANKS:  # one screen, also for thousands of ranks
            continue
        line = Text.assemble((f"{check.level.upper():<5}", _COLOURS[check.level]), f"{clean(check.name):<{width}}  ")
        line.append(clean(check.text))
        if 0 < len(check.ranks) < world_size:
            line.append(f"  [{_ranks_text(check.ranks)}]", style="dim")
        console.print(line, soft_wrap=True)
        if check.cure:
            console.print(Text(f"{'':<{width + 7}}-> {clean(check.cure)}", style=_COLOURS[check.level]), soft_wrap=True)
    if any(number > _SHOWN_RANKS for number in seen.values()):
        console.print(Text("more of the same kind: --json has all", style="dim"))
    found = {level: sum(check.level == level for check in checks) for level in _COLOURS}
    summary = "all is well" if not found["bad"] + found["warn"] else f"{found['bad']} bad, {found['warn']} to look at"
    console.print(Text(f"{count(world_size, 'rank')}: {summary}", style=_COLOURS[worst(checks)]))


def _ranks_text(ranks: Sequence[int]) -> str:
    shown = ", ".join(map(str, ranks[:_SHOWN_RANKS]))
    more = f" and {len(ranks) - _SHOWN_RANKS} more" if len(ranks) > _SHOWN_RANKS else ""
    return f"rank{'s' if len(ranks) > 1 else ''} {shown}{more}"
