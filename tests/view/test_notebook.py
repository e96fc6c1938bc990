"""Runs in a notebook are small tables with curves, without JavaScript, and can be plotted."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from journals import write
from nbclient import NotebookClient

from ranklog.model.record import End, Metrics
from ranklog.view.notebook import Curve, sparkline
from ranklog.view.run import Run

CELLS = (
    "import ranklog\nrun = ranklog.open_run({run!r})\nrun",
    "ranklog.open_runs({runs!r})",
    "run.metrics('loss').pandas()",
    "%matplotlib inline\nrun.plot('loss', smooth=0.5)",
    "for frame in run.follow(timeout=0):\n    print(frame)",
)


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RANKLOG_CACHE_DIR", str(tmp_path / "cache"))
    rows = [Metrics(step, step, -1, {"loss": 1 / (1 + step), "<b>odd</b>": math.nan}) for step in range(50)]
    write(tmp_path / "runs" / "run", 0, [*rows, End("FINISHED", 51)])
    return tmp_path / "runs" / "run"


@pytest.mark.slow
def test_a_notebook_shows_runs_frames_and_plots(run_dir, tmp_path):
    cells = [nbformat.v4.new_code_cell(cell.format(run=str(run_dir), runs=str(run_dir.parent))) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    run, runs, frame, plot, follow = (list(cell.outputs) for cell in notebook.cells)
    assert "<svg" in run[0].data["text/html"] and "script" not in run[0].data["text/html"]
    assert "<td>run</td><td>digits</td><td>FINISHED</td>" in runs[0].data["text/html"]
    assert "loss" in frame[0].data["text/html"]
    assert any("image/png" in output.get("data", {}) for output in plot)
    assert follow == []


def test_names_are_escaped_and_the_table_is_well_formed(run_dir):
    with Run(run_dir) as run:
        page = ElementTree.fromstring(f"<div>{run._repr_html_()}</div>")
    cells = ["".join(cell.itertext()) for cell in page.iter("td")]
    assert cells[0] == "<b>odd</b>" and cells[6:11] == ["loss", "0.02", "0.02", "1", "50"]


VALUES = st.lists(st.sampled_from([math.nan, math.inf, 1e308, -1e308]) | st.floats(-5, 5), min_size=1, max_size=20)


@given(VALUES)
def test_a_curve_stays_inside_its_picture(values):
    drawn = sparkline(Curve(np.arange(len(values)), np.array(values)))
    if not np.isfinite(values).any():
        assert drawn == "no finite value"
        return
    for element in ElementTree.fromstring(drawn).iter():
        points = [point.split(",") for point in element.get("points", "").split()]
        points += [[element.get("cx"), element.get("cy")]] if element.tag == "circle" else []
        for left, top in points:
            assert 0 <= float(left) <= 120 and 0 <= float(top) <= 24


def test_smoothed_lines_are_drawn_over_the_raw_ones(run_dir):
    pytest.importorskip("matplotlib").use("agg")
    with Run(run_dir) as run:
        ax = run.plot("loss", smooth=0.9)
    raw, smoothed = ax.get_lines()
    assert (raw.get_alpha(), smoothed.get_alpha(), smoothed.get_label()) == (0.25, 1.0, "loss")
    assert raw.get_ydata()[-1] == pytest.approx(1 / 50)
    assert smoothed.get_ydata()[-1] > raw.get_ydata()[-1]


def test_runs_that_share_axes_are_drawn_in_different_colours(run_dir):
    pytest.importorskip("matplotlib").use("agg")
    with Run(run_dir) as run:
        ax = run.plot("loss", smooth=0.9)
        run.plot("loss", ax=ax)
    _, smoothed, second = ax.get_lines()
    assert smoothed.get_color() != second.get_color()
