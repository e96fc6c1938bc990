"""The command line: output, streams and exit status."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ranklog import __version__
from ranklog.cli import main
from ranklog.cli.sync.destinations import parse_destination
from ranklog.delivery.lock import DeliveryLock
from ranklog.journal.cursor import Cursor, load_cursors, save_cursor
from ranklog.journal.layout import read_facts, segment_name, write_facts
from ranklog.journal.writer import JournalWriter
from ranklog.model.record import Coverage, End, Metrics, Params
from ranklog.model.spec import BackendSpec

COMMANDS = ("ls", "show", "watch", "doctor", "sync", "export", "verify", "prune")


class Result(msgspec.Struct):
    status: int
    out: str
    err: str


Cli = Callable[..., Result]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.setenv("COLUMNS", "200")

    def call(*args: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["ranklog", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
            raise SystemExit(0)
        code = stop.value.code
        captured = capsys.readouterr()
        return Result(code if isinstance(code, int) else 0 if code is None else 1, captured.out, captured.err)

    return call


@pytest.fixture
def runs(tmp_path: Path, start_attempt: Callable[..., JournalWriter]) -> Path:
    """Two finished runs in ``mllogs``, the first with a console backend, the second with one nobody installed."""
    console = BackendSpec(backend="console", options={"savedir": str(tmp_path / "console")})
    writer = start_attempt("mllogs/run-a", backends=(console,))
    writer.append([Params(0, -1, {"lr": 0.1})])
    writer.append([Metrics(0, 0, -1, {"loss": 2.0}, "mean", Coverage(2, 2, 2))])
    writer.append([Metrics(1, 0, -1, {"loss": math.nan}, "mean", Coverage(1, 2, 1)), End("FINISHED", 0)])
    writer.close()
    start_attempt("mllogs/run-b", backends=("nope",)).append([End("FAILED", 0, "ValueError: boom")])
    return tmp_path / "mllogs"


def test_version_and_help(cli):
    assert cli("--version").out == f"ranklog {__version__}\n"
    shown = cli("--help").out
    assert all(command in shown for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example_and_its_exit_status(cli, command):
    shown = cli(command, "--help")
    assert shown.status == 0
    assert f"Example: ranklog {command}" in shown.out.replace("`", "")
    assert "Exit status: 0" in shown.out


def test_ls_lists_runs_with_their_status_and_the_state_of_their_backends(cli, runs):
    shown = cli("ls")
    assert shown.status == 0
    lines = shown.out.splitlines()
    assert "run-a" in lines[1] and "FINISHED" in lines[1] and "console 5 waiting" in lines[1]
    assert "run-b" in lines[2] and "FAILED" in lines[2]


def test_ls_and_show_print_warnings_of_a_backend(cli, runs):
    save_cursor(runs / "run-a", 0, Cursor(backend="console", known={"warning": "a sync [1] did not end"}))
    for shown in (cli("ls"), cli("show", "run-a")):
        assert "run-a, console: a sync [1] did not end" in shown.out


def test_ls_as_json_is_one_array(cli, runs):
    found = json.loads(cli("ls", runs, "--json").out)
    assert [(run["facts"]["run_id"], run["status"], run["records"]) for run in found] == [
        ("mllogs/run-a", "FINISHED", 5),
        ("mllogs/run-b", "FAILED", 2),
    ]


def test_the_directory_of_runs_comes_from_the_environment(cli, runs, monkeypatch):
    runs.rename(runs.parent / "elsewhere")
    assert cli("ls").status == 2
    monkeypatch.setenv("RANKLOG_DIR", str(runs.parent / "elsewhere"))
    assert "run-a" in cli("ls").out
    assert "loss" in cli("show", "run-a").out


def test_show_prints_coverage_and_the_reason_of_a_failure(cli, runs):
    shown = cli("show", "run-a").out
    lines = shown.splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("loss"))
    words = " ".join(" ".join(lines[first : first + 3]).split())
    assert words.startswith("loss nan 1 2 2 2 mean 1 of 2 ranks had a value, 1 answered")
    assert "lr" in shown and "train.py" in shown
    assert "ValueError: boom" in cli("show", "run-b").out


def test_show_as_json_has_everything(cli, runs):
    run = json.loads(cli("show", "run-a", "--json").out)
    assert run["summary"]["status"] == "FINISHED"
    assert run["params"] == {"lr": 0.1}
    assert (run["metrics"][0]["last"], run["metrics"][0]["not_finite"]["last"]) == (None, "NaN")
    assert run["metrics"][0]["coverage"] == {"answered": 1, "world_size": 2, "contributed": 1}


def test_text_from_a_run_cannot_control_the_terminal_or_the_layout(cli, start_attempt, tmp_path):
    writer = start_attempt("mllogs/run-a", backends=())
    writer.append([Params(0, -1, {"\x1b[31mx": "\x1b]0;title\x07[bold]y[/bold]"}), End("FINISHED", 0)])
    shown = cli("show", "run-a").out
    assert "\x1b" not in shown and "\x07" not in shown
    assert "[bold]y[/bold]" in shown


def test_names_of_unreduced_metrics_fit_in_80_columns(cli, start_attempt, tmp_path, monkeypatch):
    journal = start_attempt("run-plain")
    name = "system/system_memory_usage_megabytes"
    journal.append([Metrics(step, 1, -1, {name: 12345.6 + step}) for step in range(2)])
    journal.close()
    monkeypatch.setenv("COLUMNS", "80")
    shown = cli("show", tmp_path / "run-plain").out
    assert name in shown and "COVERAGE" not in shown


def test_only_the_beginning_of_a_very_long_command_is_shown(cli, start_attempt, tmp_path):
    start_attempt("run-long").close()
    facts = read_facts(tmp_path / "run-long")
    write_facts(tmp_path / "run-long", msgspec.structs.replace(facts, command=("train.py", *["--x"] * 1000)))
    shown = cli("show", tmp_path / "run-long").out
    assert "train.py --x" in shown and "3,608 more characters, see --json" in " ".join(shown.split())
    assert json.loads(cli("show", tmp_path / "run-long", "--json").out)["summary"]["facts"]["command"][1000] == "--x"


def test_a_number_is_never_broken_over_two_lines(cli, start_attempt, tmp_path, monkeypatch):
    journal = start_attempt("run-narrow")
    name = "val/a_rather_long_name_of_a_metric_in_a_narrow_terminal"
    journal.append([Metrics(step, 1, -1, {name: (-1) ** step * 1.234567e-10}) for step in range(2)])
    journal.close()
    monkeypatch.setenv("COLUMNS", "80")
    shown = cli("show", tmp_path / "run-narrow").out.split()
    assert shown.count("1.23457e-10") == 1, "the maximum"
    assert shown.count("-1.23457e-10") == 2, "the last and the minimum"


def test_ls_in_a_narrow_terminal_cuts_neither_the_id_nor_the_state_of_backends(cli, start_attempt, monkeypatch):
    run_id = "20261130-214252-92c128"
    start_attempt(f"mllogs/{run_id}", backends=("nope", "nowhere")).append([End("FINISHED", 0)])
    cli("sync")
    monkeypatch.setenv("COLUMNS", "84")
    table = cli("ls").out.partition("not installed")[0].split()
    assert f"mllogs/{run_id}" in table
    assert [table.count(word) for word in ("failing,", "waiting;", "waiting", "nowhere")] == [2, 1, 1, 1]


def test_sync_delivers_the_rest_reports_failures_and_saves_its_position(cli, runs, tmp_path):
    first = cli("sync", "run-a")
    assert first.status == 0
    assert "loss 2" in first.out and "console complete (5 of 5 records)" in first.out
    again = cli("sync", "run-a")
    assert again.status == 0 and "loss 2" not in again.out
    both = cli("sync")
    assert both.status == 1
    assert "nope failing, 2 waiting" in both.out
    assert "backend 'nope' is not installed" in both.out


def test_sync_as_json_is_not_mixed_with_output_of_the_console_backend(cli, runs):
    result = cli("sync", runs / "run-a", "--json")
    (outcome,) = json.loads(result.out)
    assert (outcome["status"], outcome["trouble"], outcome["deliveries"][0]["waiting"]) == ("FINISHED", None, 0)
    assert "loss 2" in result.err


def test_sync_to_another_destination_does_not_change_the_runs_own_delivery(cli, runs, tmp_path):
    other = tmp_path / "other"
    assert cli("sync", "run-a", "run-b", "--to", f"console={other}").status == 0
    assert [(index, cursor.status) for index, cursor in load_cursors(runs / "run-a")] == [(1000, "FINISHED")]
    assert "console 5 waiting" in cli("ls").out
    once = cli("sync", "run-a", "--to", f"console={other}")
    assert once.status == 0 and "loss 2" not in once.out
    twice = cli("sync", "run-a", "--to", f"console={tmp_path / 'third'}")
    assert "loss 2" in twice.out


def test_sync_of_a_run_that_another_process_delivers_names_it(cli, runs):
    lock = DeliveryLock(runs / "run-a")
    lock.ensure()
    result = cli("sync", "run-a")
    assert result.status == 1
    assert "delivers this run already" in result.out
    lock.release()


def test_a_password_in_a_uri_goes_to_the_environment_only(monkeypatch, runs):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    destination = parse_destination("mlflow=https://ada:c4n4ry@host/x")
    target = destination.target(runs / "run-a")
    assert target.spec.options["tracking_uri"] == "https://host/x"
    assert b"c4n4ry" not in msgspec.json.encode(target.spec)
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "c4n4ry"


@pytest.mark.parametrize("to", ["mlflow", "mlflow=", "nope=1", "=x", ""])
def test_a_wrong_destination_lists_the_allowed_ones(cli, runs, to):
    result = cli("sync", "--to", to)
    assert result.status == 2
    assert "console=DIR, mlflow=URI, tensorboard=DIR, wandb=PROJECT" in result.err


def test_export_writes_every_record_as_json_lines(cli, runs, tmp_path):
    lines = [json.loads(line) for line in cli("export", "run-a").out.splitlines()]
    assert [line["type"] for line in lines] == ["run", "attempt", "params", "metrics", "metrics", "end"]
    assert [line.get("ordinal") for line in lines] == [None, 0, 1, 2, 3, 4]
    assert (lines[4]["values"], lines[4]["not_finite"]) == ({"loss": None}, {"values": {"loss": "NaN"}})
    assert lines[4]["coverage"]["answered"] == 1


def test_export_writes_metrics_as_a_long_table(cli, runs, tmp_path):
    assert cli("export", "run-a", "--format", "csv", "-o", tmp_path / "m.csv").status == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "m.csv").read_text())))
    assert [(row["name"], row["step"], row["value"], row["op"], row["answered"]) for row in rows] == [
        ("loss", "0", "2.0", "mean", "2"),
        ("loss", "1", "nan", "mean", "1"),
    ]


def test_export_writes_parquet_if_pyarrow_is_installed(cli, runs, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert cli("export", "run-a", "--format", "parquet", "-o", tmp_path / "m.parquet").status == 0
    table = parquet.read_table(tmp_path / "m.parquet").to_pydict()
    assert table["step"] == [0, 1] and table["world_size"] == [2, 2]
    assert cli("export", "run-b", "--format", "parquet", "-o", tmp_path / "b.parquet").status == 0
    assert parquet.read_table(tmp_path / "b.parquet").num_rows == 0
    assert cli("export", "run-a", "--format", "parquet").status == 2


def test_verify_reports_whole_or_the_location_of_damage(cli, runs):
    whole = cli("verify", "run-a")
    assert (whole.status, whole.out) == (0, "run-a: intact (5 records, 1 segment, 0 files)\n")
    with (runs / "run-a" / segment_name(0)).open("r+b") as file:
        file.seek(-3, 2)
        file.write(b"\0\0\0")
    damaged = cli("verify", "run-a")
    assert damaged.status == 1
    assert "journal-00000.rlj at byte" in damaged.out and "checksum does not match" in damaged.out
    assert json.loads(cli("verify", "run-a", "--json").out)["problems"][0]["text"] == "checksum does not match"


def test_a_run_with_a_damaged_journal_is_never_called_complete(cli, runs):
    with (runs / "run-a" / segment_name(0)).open("r+b") as file:
        file.seek(-3, 2)
        file.write(b"\0\0\0")
    synced = cli("sync", "run-a")
    assert synced.status == 1
    for result in (synced, cli("ls"), cli("show", "run-a")):
        line = next(line for line in result.out.splitlines() if "journal-00000.rlj" in line)
        assert "checksum does not match" in line and "ranklog verify" in line
        assert "console incomplete: the journal is damaged" in result.out
    assert list(json.loads(cli("sync", "run-a", "--json").out)[0]["deliveries"][0]["damage"]) == ["journal-00000.rlj"]
    assert cli("sync", "run-a").status == 1


@pytest.mark.parametrize(
    "args",
    [
        ("show", "nope"),
        ("show", "run"),
        ("verify", "nope"),
        ("export", "nope"),
        ("sync", "nope"),
        ("ls", "nowhere"),
        ("export", "run-a", "-o", "no/such/dir/x"),
    ],
)
def test_a_users_mistake_is_one_line_on_standard_error(cli, runs, args):
    result = cli(*args)
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("ranklog: ") and result.err.count("\n") == 1


@pytest.mark.parametrize("args", [("show",), ("nope",), ("export", "run-a", "--format", "xml"), ("ls", "--nope")])
def test_an_unknown_command_is_refused(cli, args):
    assert cli(*args).status == 2


def modules_after(statement: str) -> set[str]:
    """The modules that a new interpreter has when it has run a statement."""
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


@pytest.mark.slow
def test_starting_the_command_line_loads_no_framework_and_no_backend():
    loaded = modules_after("import ranklog.cli")
    assert not loaded & {"torch", "mlflow", "wandb", "tensorboard", "pandas", "pyarrow"}


@pytest.mark.slow
def test_importing_ranklog_loads_neither_numpy_nor_modules_of_open_loggers():
    loaded = modules_after("import ranklog, ranklog.loggers")
    assert "ranklog.loggers" in loaded
    assert not loaded & {"numpy", "ranklog.pipeline.session", "ranklog.pipeline.reduction.reducer"}


@pytest.mark.slow
def test_a_reader_that_stops_early_is_no_error(runs):
    command = f"{sys.executable} -m ranklog.cli export {runs / 'run-a'} | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith('{"type": "run"') and "Traceback" not in done.stderr


def test_a_reader_that_closes_the_pipe_of_json_is_no_error(runs):
    command = [sys.executable, "-c", "from ranklog.cli import main; main()", "show", "--json", str(runs / "run-a")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == ""
    process.wait(120)
