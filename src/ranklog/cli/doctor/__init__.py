"""``ranklog doctor``: check the environment of one process, or of all ranks of a launcher, and suggest cures.

Every probe has a time limit. So has the whole command: a watchdog prints the findings so far and ends the process.
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

from ranklog.cli.console import clean, out, print_error
from ranklog.cli.doctor.check import Check, Level, TimedProbe, worst
from ranklog.model.as_json import to_json, to_plain
from ranklog.model.place import Place
from ranklog.view.find import runs_directory
from ranklog.view.units import count

PROBE_S = 10.0
IMPORT_S = 10.0
"""Time to import the framework that joins the ranks."""
RANKS_S = 60.0
GRACE_S = 10.0
DEFAULT_SAVEDIR = Path("mllogs")
"""Where the loggers store without ``savedir``; RANKLOG_DIR moves only the runs."""
_COLOURS: dict[Level, str] = {"ok": "green", "warn": "yellow", "bad": "red"}
_SHOWN_RANKS = 8


def doctor(
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]", help="Directory for runs. Default: RANKLOG_DIR, else mllogs.", show_default=False
        ),
    ] = None,
    backends: Annotated[
        str | None,
        typer.Option(
            "--backends", help="Backends to check, separated by commas. Default: RANKLOG_BACKENDS, else mlflow."
        ),
    ] = None,
    strategy: Annotated[
        str, typer.Option("--strategy", help="Strategy that joins the ranks: auto, torch, mpi or horovod.")
    ] = "auto",
    timeout: Annotated[
        float, typer.Option("--timeout", min=1.0, help="Seconds that ranks wait for each other.")
    ] = RANKS_S,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check the environment: place, ranks, run directory, backends, clocks, signals, time limit.

    Example: `ranklog doctor`, or on all ranks of a job `srun -N2 -n4 ranklog doctor`

    Exit status: 0 nothing is BAD; 1 something is, including ranks that cannot communicate.
    """
    from ranklog.cli.doctor.ranks import NOT_JOINED, join_ranks, launcher_place, remove_address_file

    place = launcher_place()
    where = directory or runs_directory()
    own: list[Check] = []
    done = threading.Lock()

    def finish(checks: Sequence[Check], *, at_once: bool) -> None:
        """Print once. With ``at_once``, end the process, because a thread hangs that cannot be stopped."""
        if not done.acquire(blocking=False):
            return
        if place.is_main:
            _print(checks, place.world_size, as_json=as_json)
        elif at_once:  # otherwise rank 0 has the findings of this rank
            reasons = [f"{check.name}: {check.text}" for check in checks if check.level == "bad"]
            print_error(f"{place}: {'; '.join(reasons)}")
        sys.stdout.flush()
        if at_once:
            os._exit(1)

    def give_up() -> None:
        text = "a probe hangs and cannot be stopped"
        finish([*own, Check(name="doctor", level="bad", text=text, cure="see the last line above")], at_once=True)
        os._exit(1)  # everything is printed, and the exit itself hangs, for example in MPI

    joining_s = IMPORT_S + 2 * timeout
    watchdog = threading.Timer(PROBE_S + joining_s + GRACE_S, give_up)
    watchdog.daemon = True
    watchdog.start()
    probes = _probes(place, where, directory or DEFAULT_SAVEDIR, backends)
    for probe in probes:
        own += probe.result()
    checks: Sequence[Check] = own
    apart = False
    if place.world_size > 1:
        together = TimedProbe(
            NOT_JOINED,
            lambda: join_ranks(place, where, own, strategy, timeout),
            joining_s,
            "run this command on every rank",
        )
        answer = together.result()
        # It failed, so this rank shows only its own findings.
        apart = any(check.name == NOT_JOINED for check in answer)
        checks = [*own, *answer] if apart else answer
        remove_address_file(place, where)
    finish(checks, at_once=apart or any(probe.hangs for probe in probes))
    if place.world_size == 1:
        watchdog.cancel()
    raise typer.Exit(1 if worst(checks) == "bad" else 0)


def _probes(place: Place, where: Path, savedir: Path, backends: str | None) -> list[TimedProbe]:
    from ranklog.cli.doctor import process
    from ranklog.cli.doctor.backends import backend_checks
    from ranklog.cli.doctor.quota import quota_checks
    from ranklog.cli.doctor.storage import storage_checks
    from ranklog.loggers import backend_names

    slow_disk = "the file system hangs: ask the operators, or set RANKLOG_DIR to another one"
    probes = [
        TimedProbe("place", lambda: process.place_checks(os.environ), PROBE_S),
        TimedProbe("rank", lambda: [process.rank_check(place)], PROBE_S),
        TimedProbe("run directory", lambda: storage_checks(where), PROBE_S, slow_disk),
        TimedProbe("backends", lambda: backend_checks(backend_names(backends), os.environ, savedir), PROBE_S),
        TimedProbe("secrets", lambda: process.secret_checks(os.environ), PROBE_S),
        TimedProbe("versions", process.version_checks, PROBE_S),
        TimedProbe("limits", lambda: process.limit_checks(place, os.environ), PROBE_S),
        TimedProbe("home", process.home_checks, PROBE_S),
    ]
    if place.is_main:  # the probe needs space, and the quota is the same for all ranks
        probes.append(TimedProbe("quota", lambda: quota_checks(where), PROBE_S, slow_disk))
    return probes


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
        if number > _SHOWN_RANKS:  # one screen, even for thousands of ranks
            continue
        line = Text.assemble((f"{check.level.upper():<5}", _COLOURS[check.level]), f"{clean(check.name):<{width}}  ")
        line.append(clean(check.text))
        if 0 < len(check.ranks) < world_size:
            line.append(f"  [{_ranks_text(check.ranks)}]", style="dim")
        console.print(line, soft_wrap=True)
        if check.cure:
            console.print(Text(f"{'':<{width + 7}}-> {clean(check.cure)}", style=_COLOURS[check.level]), soft_wrap=True)
    if any(number > _SHOWN_RANKS for number in seen.values()):
        console.print(Text("some findings are hidden, see --json", style="dim"))
    found = {level: sum(check.level == level for check in checks) for level in _COLOURS}
    summary = (
        "everything is fine" if not found["bad"] + found["warn"] else f"{found['bad']} bad, {found['warn']} warnings"
    )
    console.print(Text(f"{count(world_size, 'rank')}: {summary}", style=_COLOURS[worst(checks)]))


def _ranks_text(ranks: Sequence[int]) -> str:
    shown = ", ".join(map(str, ranks[:_SHOWN_RANKS]))
    more = f" and {len(ranks) - _SHOWN_RANKS} more" if len(ranks) > _SHOWN_RANKS else ""
    return f"rank{'s' if len(ranks) > 1 else ''} {shown}{more}"
