from __future__ import annotations

import io
import math
import re
import stat
import time
from pathlib import Path

import pytest
from items import T0_NS, Run, metrics, png

from ranklog.abc import Refused
from ranklog.backends.console.backend import ConsoleBackend
from ranklog.model.place import Place
from ranklog.model.record import EVERY_BACKEND, Attempt, Coverage, End, Event, MetricInfo, Metrics, Params, Record
from ranklog.model.spec import BackendSpec


class Shown:
    """A run that is delivered to a console held in memory."""

    def __init__(self, folder: Path, console: io.TextIOBase | None = None) -> None:
        spec = BackendSpec(backend="console", log_on_workers=-1, options={"savedir": str(folder / "console")})
        self.run = Run(folder / "runs" / "run-1", spec)
        self.console = console or io.StringIO()
        self.backend = ConsoleBackend()
        self.files = folder / "console" / "run-1"
        self.open()

    def open(self, resumed_at: int = 0) -> None:
        context = self.run.context(resumed_at=resumed_at)
        self.backend.open(context=type(context)(**{**_fields(context), "console": self.console}))

    def log(self, *records: Record) -> list[str]:
        """Deliver records in one batch; returns the lines that this printed, without their times."""
        before = len(self.console.getvalue())  # type: ignore[attr-defined]
        self.backend.deliver(entries=self.run.add(*records))
        lines = self.console.getvalue()[before:].splitlines()  # type: ignore[attr-defined]
        return [line.partition("] ")[2] if line.startswith("[") else line for line in lines]


def _fields(context: object) -> dict[str, object]:
    return {name: getattr(context, name) for name in context.__struct_fields__}  # type: ignore[attr-defined]


@pytest.fixture
def shown(tmp_path: Path) -> Shown:
    return Shown(tmp_path)


def test_the_metrics_of_a_step_are_one_line_with_the_ranks_behind_them(shown: Shown) -> None:
    lines = shown.log(
        metrics(3, {"loss": 0.523142, "accuracy": 0.91}, coverage=Coverage(2, 2, 2)),
        metrics(4, {"loss": 0.5}, coverage=Coverage(2, 2, 2)),
        metrics(3, {"lr": 0.001}),
    )
    assert lines == [
        "step 3  loss 0.52314  accuracy 0.91  (mean over 2/2 ranks)  lr 0.001",
        "step 4  loss 0.5  (mean over 2/2 ranks)",
    ]


def test_a_line_begins_with_the_time_of_the_call(shown: Shown) -> None:
    shown.log(metrics(0, {"loss": 1.0}))
    clock = time.strftime("%H:%M:%S", time.localtime(T0_NS // 10**9))
    assert shown.console.getvalue() == f"[{clock}] step 0  loss 1\n"  # type: ignore[attr-defined]


def test_coverage_below_full_is_marked_and_a_missing_value_is_not(shown: Shown) -> None:
    assert shown.log(metrics(1, {"loss": 1.0}, coverage=Coverage(3, 4, 3))) == [
        "step 1  loss 1  (mean, 3 of 4 ranks had a value, 3 answered, INCOMPLETE)"
    ]
    assert shown.log(metrics(2, {"loss": 1.0}, coverage=Coverage(4, 4, 1))) == [
        "step 2  loss 1  (mean, 1 of 4 ranks had a value)"
    ]
    assert shown.log(metrics(2, {"loss": 1.5}, coverage=Coverage(4, 4, 4), corrects=True)) == [
        "step 2 corrected  loss 1.5  (mean over 4/4 ranks)"
    ]


def test_values_of_one_name_and_step_are_all_shown(shown: Shown) -> None:
    assert shown.log(metrics(1, {"loss": 1.0}), metrics(1, {"loss": 2.0})) == ["step 1  loss 1", "step 1  loss 2"]


def fast(step: int, values: dict[str, float], *, seconds: float) -> Metrics:
    return Metrics(step, T0_NS + int(seconds * 10**9), EVERY_BACKEND, values)


def test_fast_steps_are_a_line_a_second_that_says_how_many_it_stands_for(shown: Shown) -> None:
    lines = shown.log(*(fast(step, {"loss": step / 8}, seconds=step / 10) for step in range(25)))
    assert lines == ["step 0  loss 0", "step 10 (+9)  loss 1.25", "step 20 (+9)  loss  2.5"]
    shown.backend.close(status="FINISHED", timeout_s=1.0)
    last, end = shown.console.getvalue().splitlines()[-2:]  # type: ignore[attr-defined]
    assert last.endswith("step 24 (+3)  loss    3") and end.endswith("run run-1 FINISHED")


def test_what_must_be_seen_is_not_left_out_however_fast_it_comes(shown: Shown) -> None:
    shown.log(fast(0, {"loss": 1.0}, seconds=0.0))
    partial = Coverage(1, 2, 1)
    lines = shown.log(
        fast(1, {"loss": 0.9}, seconds=0.1),
        fast(2, {"loss": math.nan}, seconds=0.2),
        Metrics(3, T0_NS + 3 * 10**8, EVERY_BACKEND, {"loss": 0.8}, op="mean", coverage=partial),
        fast(4, {"loss": 0.7}, seconds=0.4),
        shown.run.text("note", "hello", step=4),
        fast(5, {"acc": 0.5}, seconds=0.5),
    )
    assert [line.partition("  ")[0] for line in lines] == ["step 2 (+1)", "step 3", "step 4", "step 4", "", "step 5"]


def test_lines_of_the_same_metrics_stand_in_columns(shown: Shown) -> None:
    shown.log(metrics(99, {"loss": 0.12345, "lr": 0.1}))
    lines = shown.log(metrics(100, {"loss": 0.5, "lr": 0.01}), metrics(101, {"loss": 12.0, "lr": 0.001}))
    assert lines == ["step 100  loss     0.5  lr 0.01", "step 101  loss      12  lr 0.001"]


def test_a_new_best_of_a_metric_with_a_goal_is_marked(shown: Shown) -> None:
    goal = MetricInfo(T0_NS, EVERY_BACKEND, "loss", "min")
    lines = shown.log(goal, *(metrics(step, {"loss": value}) for step, value in enumerate([2.0, 1.0, 3.0])))
    assert lines == ["step 0  loss 2", "step 1  loss 1*", "step 2  loss 3"]


def test_alerts_datasets_tables_and_lists_say_what_they_are(shown: Shown) -> None:
    run = shown.run
    lines = shown.log(
        run.alert("diverged", "loss is 1e9", level="error"),
        run.dataset("train"),
        run.table("pred", ["id", "score"], [[1, 0.123456], [20, None]]),
        run.images("pair", [png(), png()]),
        run.reference("ckpt", shown.run.dir),
    )
    assert lines[0].startswith("step 0  ALERT (error) diverged saved: ") and lines[1] == "    loss is 1e9"
    assert lines[2].startswith("step 0  dataset train: digits, digest 0123456789abcdef, 1797 rows saved: ")
    assert [line.strip() for line in lines[4:7]] == ["id  score", "1   0.12346", "20"]
    assert lines[7].startswith("step 0  image pair, 2 files saved: ")
    assert f"model ckpt, stays at {shown.run.dir.as_uri()}, saved: " in lines[8]


def test_histograms_that_come_together_are_one_line(shown: Shown) -> None:
    watched = [shown.run.histogram(f"gradients/net.{i}", [0.0, 1.0], [1], step=3) for i in range(12)]
    lines = shown.log(metrics(3, {"loss": 1.0}), *watched, metrics(4, {"loss": 1.0}))
    assert lines[1:] == ["step 4  loss 1", f"step 3  histogram gradients/net.0 and 11 more saved: {shown.files}"]
    assert (shown.files / "gradients/net.11.json").exists()


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_colours_and_lines_that_fit_and_a_dumb_one_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    partial = metrics(0, {f"metric_{i}": 1.0 for i in range(10)}, coverage=Coverage(1, 2, 1))
    shown = Shown(tmp_path / "rich", Terminal())
    shown.log(partial)
    painted = shown.console.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[" in painted and "\r" not in painted
    bare = re.sub(r"\x1b\[[0-9;]*m", "", painted)
    assert all(len(line) <= 40 for line in bare.splitlines()) and len(bare.splitlines()) == 1
    monkeypatch.setenv("TERM", "dumb")
    dumb = Shown(tmp_path / "dumb", Terminal())
    dumb.log(partial)
    assert "\x1b" not in dumb.console.getvalue()  # type: ignore[attr-defined]
    assert "INCOMPLETE" in dumb.console.getvalue()  # type: ignore[attr-defined]


def test_nan_infinities_and_large_numbers_are_visible(shown: Shown) -> None:
    (line,) = shown.log(metrics(0, {"a": math.nan, "b": -math.inf, "c": 123456789.0, "d": 1.5e-9}))
    assert line == "step 0  a nan  b -inf  c 123456789  d 1.5e-09"


def test_a_long_line_says_how_much_it_leaves_out(shown: Shown) -> None:
    (line,) = shown.log(metrics(0, {f"m{i}": float(i) for i in range(100)}, coverage=Coverage(2, 2, 2)))
    assert "m23 23" in line and "m24 24" not in line
    assert line.endswith("… 76 more  (mean over 2/2 ranks)")


def test_parameters_are_an_aligned_block(shown: Shown) -> None:
    assert shown.log(Params(T0_NS, EVERY_BACKEND, {"lr": 0.001, "optimizer.name": "adam"})) == [
        "parameters",
        "    lr              0.001",
        "    optimizer.name  adam",
    ]


def test_items_are_saved_beside_and_a_line_says_where(shown: Shown) -> None:
    run = shown.run
    (line,) = shown.log(run.image("pictures/cat", png(), step=4))
    assert line == f"step 4  image pictures/cat saved: {shown.files / 'pictures/cat.png'}"
    assert (shown.files / "pictures/cat.png").read_bytes() == png()
    assert stat.S_IMODE((shown.files / "pictures/cat.png").stat().st_mode) == 0o600
    assert stat.S_IMODE(shown.files.stat().st_mode) == 0o700
    shown.log(run.folder("net", {"a.txt": b"a", "sub/b.txt": b"b"}, kind="model"))
    assert (shown.files / "net/sub/b.txt").read_bytes() == b"b"


def test_an_item_of_several_steps_keeps_each_and_the_latest_at_its_name(shown: Shown) -> None:
    for step in (1, 2):
        shown.log(shown.run.text("note", f"step {step}", step=step))
        shown.open(resumed_at=len(shown.run.entries))
    assert (shown.files / "note.txt").read_text() == "step 2"
    assert [(shown.files / f"steps/{step}/note.txt").read_text() for step in (1, 2)] == ["step 1", "step 2"]


def test_a_text_is_shown_too(shown: Shown) -> None:
    lines = shown.log(shown.run.text("note", "two\nlines"))
    assert lines == [f"step 0  text note saved: {shown.files / 'note.txt'}", "    two", "    lines"]


def test_control_characters_cannot_reach_the_terminal(shown: Shown) -> None:
    lines = shown.log(
        metrics(0, {"a\x1b[2J": 1.0}),
        Params(T0_NS, EVERY_BACKEND, {"p": "x\r\x07y"}),
        shown.run.text("note", "\x1b]0;title\x07"),
    )
    assert all(line.isprintable() for line in lines)
    assert lines[0] == "step 0  a\\x1b[2J 1"


def test_what_the_terminal_cannot_spell_is_written_as_an_escape(tmp_path: Path) -> None:
    raw = io.BytesIO()
    shown = Shown(tmp_path, io.TextIOWrapper(raw, encoding="ascii"))
    shown.backend.deliver(entries=shown.run.add(metrics(0, {"größe": 1.0})))
    assert raw.getvalue().endswith(b"step 0  gr\\xf6\\xdfe 1\n")


def test_events_the_start_and_the_end_are_shown(shown: Shown) -> None:
    attempt = Attempt(1, "run-1", 2, Place(world_size=4, launcher="torchrun"), "node7", 1, T0_NS, ())
    assert shown.log(
        attempt, Event("warning", "nan", "first NaN in loss", T0_NS, rank=1, step=5), End("FAILED", T0_NS, "ValueError")
    ) == ["run run-1: 4 ranks (torchrun) on node7, attempt 2", "warning: first NaN in loss (rank 1, step 5)"]
    shown.backend.close(status="FAILED", timeout_s=1.0)
    assert shown.console.getvalue().endswith("] run run-1 FAILED (ValueError)\n")  # type: ignore[attr-defined]


def test_when_the_terminal_is_gone_files_are_still_saved(shown: Shown) -> None:
    shown.console.close()
    shown.backend.deliver(entries=shown.run.add(metrics(0, {"loss": 1.0}), shown.run.file("a.bin", b"a")))
    shown.backend.close(status="FINISHED", timeout_s=1.0)
    assert (shown.files / "a.bin").read_bytes() == b"a"


def test_an_item_that_cannot_have_its_place_is_refused_and_the_rest_is_shown(shown: Shown) -> None:
    with pytest.raises(Refused, match="artifact 'a/b' cannot be saved") as refused:
        shown.log(shown.run.file("a", b"1"), shown.run.file("a/b", b"2"), metrics(1, {"loss": 1.0}))
    assert refused.value.ordinals == (2,)
    assert "step 1  loss 1" in shown.console.getvalue()  # type: ignore[attr-defined]
