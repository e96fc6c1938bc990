"""All views of one journal give the same numbers."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from journals import write
from rich.console import Console
from typer.testing import CliRunner

from ranklog.cli.app import app
from ranklog.cli.watch import screen
from ranklog.model.record import Coverage, End, Metrics
from ranklog.view.query import RunView
from ranklog.view.run import Run


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Two attempts, the second goes back; a correction with more ranks; a point for one backend only."""
    first = [
        *(Metrics(step, step, -1, {"loss": 10.0 - step}) for step in range(10)),
        Metrics(3, 20, -1, {"acc": 0.25}, "mean", Coverage(1, 2, 1)),
        Metrics(3, 21, -1, {"acc": 0.5}, "mean", Coverage(2, 2, 2), corrects=True),
        Metrics(4, 22, 1, {"odd": 1.0}),
        Metrics(4, 22, 2, {"odd": 2.0}),
    ]
    write(tmp_path / "run", 0, first)
    write(tmp_path / "run", 1, [*(Metrics(step, 30, -1, {"loss": 0.5}) for step in (5, 6)), End("FINISHED", 40)])
    return tmp_path / "run"


WANTED = {"acc": (0.5, 3, 0.5, 0.5), "loss": (0.5, 6, 0.5, 10.0), "odd": (1.0, 4, 1.0, 1.0)}
"""Last value, its step, lowest, highest."""


def test_show_watch_export_notebook_and_python_give_the_same_numbers(run_dir):
    shown = json.loads(CliRunner().invoke(app, ["show", "--json", str(run_dir)]).stdout)["metrics"]
    assert {m["name"]: (m["last"], m["last_step"], m["min"], m["max"]) for m in shown} == WANTED

    console = Console(width=100, record=True, file=io.StringIO())
    console.print(screen(RunView(run_dir), 40))
    lines = re.findall(r"^(acc|loss|odd)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)", console.export_text(), re.MULTILINE)
    assert {name: (float(v), int(s), float(low), float(high)) for name, v, s, low, high in lines} == WANTED

    with Run(run_dir) as run:
        assert {m.name: (m.last, m.last_step, m.min, m.max) for m in run.names()} == WANTED
        frame = run.metrics().pandas()
        page = ElementTree.fromstring(f"<div>{run._repr_html_()}</div>")
    cells = [["".join(cell.itertext()) for cell in row.iter("td")] for row in page.iter("tr")]
    assert {c[0]: tuple(map(float, c[1:4])) for c in cells if c} == {
        n: (v, low, high) for n, (v, _, low, high) in WANTED.items()
    }

    exported = csv.DictReader(io.StringIO(CliRunner().invoke(app, ["export", str(run_dir), "--format", "csv"]).stdout))
    counting = [(r["name"], int(r["step"]), float(r["value"])) for r in exported if r["superseded"] == "0"]
    assert counting == list(frame[["name", "step", "value"]].itertuples(index=False, name=None))
    assert {name: max((step, value) for n, step, value in counting if n == name) for name in WANTED} == {
        name: (step, value) for name, (value, step, _, _) in WANTED.items()
    }


def test_prune_deletes_the_cache(run_dir, monkeypatch, tmp_path):
    monkeypatch.setenv("RANKLOG_CACHE_DIR", str(tmp_path / "own"))
    CliRunner().invoke(app, ["show", str(run_dir)])
    assert list((tmp_path / "own").rglob("state"))
    done = CliRunner().invoke(app, ["prune", "--cache"])
    assert done.exit_code == 0 and re.match(r"deleted [\d.]+ (B|KiB) of ", done.stdout)
    assert not list((tmp_path / "own").rglob("state"))
    assert RunView(run_dir).metrics()
