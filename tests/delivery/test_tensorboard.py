from __future__ import annotations

import math
import os
import struct
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("tensorboard")

from items import T0_NS, Run, metrics, png
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator as PluginAccumulator
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util import tensor_util

from ranklog.abc import Refused
from ranklog.backends.tensorboard.backend import TensorBoardBackend
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.record import EVERY_BACKEND, Coverage, Event, Params
from ranklog.model.spec import BackendSpec

ALL = {"scalars": 0, "images": 0, "tensors": 0, "histograms": 0, "compressedHistograms": 0, "audio": 0}


class Opened:
    """A run that is delivered to TensorBoard files, and TensorBoard's own reader of them."""

    def __init__(self, tmp_path: Path, log_on_workers: int = 0) -> None:
        options = {"savedir": str(tmp_path / "tb"), "framework": "pytorch"}
        spec = BackendSpec(backend="tensorboard", log_on_workers=log_on_workers, options=options)
        self.run = Run(tmp_path / "runs" / "run-1", spec)
        self.folder = tmp_path / "tb" / "run-1"
        self.backend = TensorBoardBackend()
        self.known = self.backend.open(context=self.run.context())
        self.backend.deliver(entries=self.run.entries)

    def log(self, *records: object) -> None:
        self.backend.deliver(entries=self.run.add(*records))  # type: ignore[arg-type]

    def reopen(self, *, resumed_at: int) -> None:
        self.backend = TensorBoardBackend()
        self.backend.open(context=self.run.context(known=self.known, resumed_at=resumed_at))

    @property
    def file(self) -> Path:
        [path] = self.folder.glob("*tfevents*.1")
        return path

    def read(self) -> EventAccumulator:
        return EventAccumulator(str(self.folder), size_guidance=ALL).Reload()

    def scalars(self, tag: str) -> list[tuple[int, float]]:
        return [(each.step, each.value) for each in self.read().Scalars(tag)]

    def texts(self, tag: str) -> list[tuple[int, str]]:
        return [
            (each.step, tensor_util.make_ndarray(each.tensor_proto).item().decode())
            for each in self.read().Tensors(tag)
        ]

    def hparams(self, tag: str, part: str) -> object:
        content = self.read().PluginTagToContent("hparams")[tag]
        return getattr(plugin_data_pb2.HParamsPluginData.FromString(content), part)


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    return Opened(tmp_path)


def test_scalars_have_step_value_and_the_journals_time(opened: Opened) -> None:
    opened.log(*(metrics(step, {"loss": step / 2, "val/acc": math.nan}) for step in range(3)))
    found = opened.read()
    assert sorted(found.Tags()["scalars"]) == ["loss", "val/acc"]
    assert [(e.step, e.value, e.wall_time) for e in found.Scalars("loss")] == [
        (step, step / 2, T0_NS / 1e9 + step) for step in range(3)
    ]
    assert all(math.isnan(each.value) for each in found.Scalars("val/acc"))


def test_a_scalar_beyond_float32_is_infinite(opened: Opened) -> None:
    opened.log(metrics(0, {"big": 1e300, "low": -1e300, "inf": math.inf}))
    assert [opened.scalars(tag) for tag in ("big", "low", "inf")] == [
        [(0, math.inf)],
        [(0, -math.inf)],
        [(0, math.inf)],
    ]


def test_text_dict_and_table_are_shown_as_text(opened: Opened) -> None:
    run = opened.run
    opened.log(
        run.text("note", "**héllo**", step=3),
        run.dict("config", {"a": [1]}),
        run.table("pred", ["id", "a|b"], [[1, None], [2, "x\ny"]]),
        run.table("long", ["i"], [[i] for i in range(250)]),
    )
    assert opened.texts("note") == [(3, "**héllo**")]
    assert opened.texts("config") == [(0, '```json\n{\n  "a": [\n    1\n  ]\n}\n```')]
    assert opened.texts("pred")[0][1] == "| id | a\\|b |\n| --- | --- |\n| 1 |  |\n| 2 | x y |"
    assert opened.texts("long")[0][1].endswith("| 99 |\n\n100 of 250 rows.")


def test_images_and_matplotlib_figures_are_shown_as_images(opened: Opened) -> None:
    run = opened.run
    opened.log(run.image("val/x", png(), caption="a cat", step=4), run.figure("plot.png", png(5, 7)))
    [image] = opened.read().Images("val/x")
    assert (image.step, image.width, image.height, image.encoded_image_string) == (4, 3, 2, png())
    assert opened.read().SummaryMetadata("val/x").summary_description == "a cat"
    [figure] = opened.read().Images("plot.png")
    assert (figure.width, figure.height) == (5, 7)


def test_a_histogram_keeps_its_edges_and_counts(opened: Opened) -> None:
    opened.log(opened.run.histogram("weights", [0.0, 0.5, 2.0], [3, 4], step=2))
    [event] = opened.read().Tensors("weights")
    assert opened.read().SummaryMetadata("weights").plugin_data.plugin_name == "histograms"
    assert tensor_util.make_ndarray(event.tensor_proto).tolist() == [[0.0, 0.5, 3.0], [0.5, 2.0, 4.0]]


def test_tensorboard_itself_serves_scalars_images_texts_and_histograms(opened: Opened) -> None:
    run = opened.run
    opened.log(metrics(0, {"loss": 1.0}), run.image("x", png()), run.text("t", "hi"), run.histogram("h", [0, 1], [1]))
    plugins = _served_tags(opened.folder.parent)
    assert plugins == {"scalars": {"loss"}, "images": {"x"}, "text": {"t"}, "histograms": {"h"}}


def _served_tags(logdir: Path) -> dict[str, set[str]]:
    from tensorboard import context
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer

    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(logdir))
    ctx = context.RequestContext()
    served: dict[str, set[str]] = {}
    for plugin in ("scalars", "images", "text", "histograms"):
        for list_tags in (provider.list_scalars, provider.list_tensors, provider.list_blob_sequences):
            for tags in list_tags(ctx, experiment_id="", plugin_name=plugin).values():
                served.setdefault(plugin, set()).update(tags)
    return served


def test_parameters_are_hparams_with_the_final_status_and_without_a_list_that_hides_others(
    opened: Opened,
) -> None:
    opened.log(Params(T0_NS, EVERY_BACKEND, {"optim.lr": 0.1, "amp": True, "name": "a", "none": None}))
    opened.log(metrics(0, {"loss": 1.0}), Params(T0_NS, EVERY_BACKEND, {"late": 7}))
    opened.backend.close(status="FAILED", timeout_s=5)
    start = opened.hparams(hparams_metadata.SESSION_START_INFO_TAG, "session_start_info")
    values = {name: value.WhichOneof("kind") for name, value in start.hparams.items()}  # type: ignore[attr-defined]
    assert values == {
        "optim.lr": "number_value",
        "amp": "bool_value",
        "name": "string_value",
        "none": "string_value",
        "late": "number_value",
    }
    assert hparams_metadata.EXPERIMENT_TAG not in opened.read().PluginTagToContent("hparams")
    end = opened.hparams(hparams_metadata.SESSION_END_INFO_TAG, "session_end_info")
    assert end.status == 2  # type: ignore[attr-defined]


def test_a_run_that_goes_on_has_no_final_status_and_keeps_its_parameters(opened: Opened) -> None:
    opened.log(Params(T0_NS, EVERY_BACKEND, {"lr": 0.1}))
    opened.backend.close(status="KILLED", timeout_s=5)
    opened.reopen(resumed_at=2)
    assert hparams_metadata.SESSION_END_INFO_TAG not in opened.read().PluginTagToContent("hparams")
    opened.log(metrics(0, {"loss": 1.0}))
    opened.backend.close(status="FINISHED", timeout_s=5)
    start = opened.hparams(hparams_metadata.SESSION_START_INFO_TAG, "session_start_info")
    assert start.hparams["lr"].number_value == 0.1  # type: ignore[attr-defined]
    end = opened.hparams(hparams_metadata.SESSION_END_INFO_TAG, "session_end_info")
    assert end.status == 1  # type: ignore[attr-defined]


def test_what_has_no_view_is_a_file_that_a_text_names(opened: Opened) -> None:
    run = opened.run
    opened.log(
        run.file("../out.csv", b"1,2"),
        run.torch("state", b"tensors"),
        run.folder("net", {"a/w.pt": b"w", "b.txt": b"b"}, kind="model"),
        run.plotly("curve", {"data": [], "layout": {}}),
    )
    files = sorted(str(p.relative_to(opened.folder)) for p in opened.folder.glob("artifacts/**/*") if p.is_file())
    assert files == [
        "artifacts/_x002E__x002E_/out.csv",
        "artifacts/curve.json",
        "artifacts/net/a/w.pt",
        "artifacts/net/b.txt",
        "artifacts/state.pt",
    ]
    assert "`artifacts/net`" in opened.texts("net")[0][1]
    assert all(p.stat().st_mode & 0o077 == 0 for p in opened.folder.rglob("*"))


def test_each_step_of_a_file_is_kept(opened: Opened) -> None:
    run = opened.run
    opened.log(run.folder("d", {"old": b"1"}, step=1), run.file("f", b"1", step=1))
    opened.reopen(resumed_at=len(run.entries))
    opened.log(run.folder("d", {"new": b"2"}, step=2), run.file("f", b"2", step=2))
    found = {
        str(p.relative_to(opened.folder / "artifacts")): p.read_bytes()
        for p in opened.folder.glob("artifacts/**/*")
        if p.is_file()
    }
    assert found == {
        "d/new": b"2",
        "f": b"2",
        "steps/1/d/old": b"1",
        "steps/1/f": b"1",
        "steps/2/d/new": b"2",
        "steps/2/f": b"2",
    }


def test_coverage_below_full_and_events_are_told_in_texts(opened: Opened) -> None:
    opened.log(metrics(0, {"loss": 1.0}, coverage=Coverage(2, 2, 2)))
    opened.log(metrics(5, {"loss": 1.0}, coverage=Coverage(1, 2, 1)))
    opened.log(Event("warning", "nan", "loss is NaN", T0_NS, rank=1, step=3))
    assert opened.texts("ranklog/coverage") == [(5, "loss: 1 of 2 ranks had a value, 1 answered")]
    assert opened.texts("ranklog/events") == [(3, "**nan**: loss is NaN")]


def test_an_event_never_stands_below_the_one_before_which_the_default_loader_would_hide(opened: Opened) -> None:
    opened.log(metrics(7, {"loss": 1.0}), Event("warning", "a", "no step", T0_NS))
    opened.log(Event("warning", "b", "early", T0_NS, step=3), Event("warning", "c", "late", T0_NS, step=9))
    assert opened.texts("ranklog/events") == [(7, "**a**: no step"), (7, "**b**: early (step 3)"), (9, "**c**: late")]


def test_items_of_steps_that_a_later_attempt_does_again_are_hidden_like_metrics(opened: Opened) -> None:
    run = opened.run
    first = [run.text("note", f"first {step}", step=step) for step in (1, 2, 3)]
    opened.log(*first, run.image("x", png(), step=2), run.image("x", png(), step=3), run.image("y", png(), step=3))
    second = msgspec.structs.replace(run.attempt, attempt=1)
    opened.log(second, run.text("note", "second", step=2), run.image("x", png(4, 4), step=2))
    # The reader behind the server: `EventAccumulator` never hides texts.
    served = PluginAccumulator(str(opened.folder), size_guidance={"tensors": 0}).Reload()
    texts = [(each.step, tensor_util.make_ndarray(each.tensor_proto).item()) for each in served.Tensors("note")]
    assert texts == [(1, b"first 1"), (2, b"second")]
    assert [(each.step, each.width) for each in opened.read().Images("x")] == [(2, 4)]
    assert [each.step for each in opened.read().Images("y")] == [3]


def test_one_name_for_two_kinds_and_several_ranks_stay_apart(tmp_path: Path) -> None:
    opened = Opened(tmp_path, log_on_workers=-1)
    opened.log(metrics(0, {"x": 1.0}), opened.run.text("x", "hi"), opened.run.text("rank_003/x", "three", rank=3))
    assert opened.scalars("x") == [(0, 1.0)]
    assert opened.texts("x (text)") == [(0, "hi")]
    assert opened.texts("rank_003/x") == [(0, "three")]


def _everything(run: Run) -> list[object]:
    return [
        Params(T0_NS, EVERY_BACKEND, {"lr": 0.1}),
        *(metrics(step, {"loss": float(step)}) for step in range(5)),
        run.text("note", "hi"),
        run.file("a.bin", b"1", step=1),
        run.file("a.bin", b"2", step=2),
        run.image("x", png(), step=9),
        *(metrics(step, {"loss": float(step)}) for step in range(5, 10)),
        msgspec.structs.replace(run.attempt, attempt=1),
        metrics(8, {"loss": 8.0, "new": 1.0}, coverage=Coverage(1, 2, 1)),
        run.image("x", png(), step=8),
        Event("warning", "nan", "loss is NaN", T0_NS),
        metrics(9, {"loss": 9.0}),
    ]


def _content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("resumed_at", [0, 1, 4, 9, 16, 18, 20])
def test_what_is_delivered_again_shows_once(opened: Opened, resumed_at: int) -> None:
    opened.log(*_everything(opened.run))
    before = _content(opened.folder)
    opened.backend.deliver(entries=opened.run.entries)
    opened.reopen(resumed_at=resumed_at)
    opened.backend.deliver(entries=opened.run.entries[resumed_at:])
    assert _content(opened.folder) == before
    assert opened.scalars("loss") == [(step, float(step)) for step in range(10)]


@pytest.mark.parametrize("damage", ["torn", "garbage behind", "cut short", "zeros", "gone", "no progress"])
@pytest.mark.parametrize("resumed_at", [0, 9, 18])
def test_a_damaged_file_is_recovered_byte_for_byte(opened: Opened, damage: str, resumed_at: int) -> None:
    opened.log(*_everything(opened.run))
    before = _content(opened.folder)
    content = opened.file.read_bytes()
    if damage == "gone":
        opened.file.unlink()
    elif damage == "no progress":
        (opened.folder / ".ranklog.json").unlink()
    else:
        opened.file.write_bytes(
            {
                "torn": content + content[30:41],
                "garbage behind": content + struct.pack("<Q", 2**60) + b"x" * 50,
                "cut short": content[: len(content) // 2],
                "zeros": content[:100] + bytes(len(content) - 100),
            }[damage]
        )
    opened.reopen(resumed_at=resumed_at)
    opened.backend.deliver(entries=opened.run.entries[resumed_at:])
    assert _content(opened.folder) == before


def test_a_kill_between_the_file_and_its_progress_shows_nothing_twice(opened: Opened) -> None:
    opened.log(metrics(0, {"loss": 0.0}))
    progress = (opened.folder / ".ranklog.json").read_bytes()
    opened.log(metrics(1, {"loss": 1.0}))
    (opened.folder / ".ranklog.json").write_bytes(progress)
    opened.reopen(resumed_at=2)
    opened.backend.deliver(entries=opened.run.entries[2:])
    assert opened.scalars("loss") == [(0, 0.0), (1, 1.0)]


def test_a_full_disk_raises_and_the_same_entries_are_taken_later(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.log(metrics(3, {"loss": 0.0}), metrics(4, {"loss": 0.0}))
    entries = opened.run.add(msgspec.structs.replace(opened.run.attempt, attempt=1), metrics(3, {"loss": 1.0}))

    def half_then_full(fd: int, data: memoryview, offset: int) -> int:
        if len(data) > 10:
            return write(fd, data[:10], offset)
        raise OSError(28, "No space left on device")

    write = os.pwrite
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr("os.pwrite", lambda fd, data, offset: half_then_full(fd, data[:20], offset))
        opened.backend.deliver(entries=entries)
    opened.backend.deliver(entries=entries)
    assert opened.scalars("loss") == [(3, 1.0)]


def test_a_disk_that_is_full_when_progress_is_noted_makes_nothing_show_twice(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.log(metrics(0, {"loss": 0.0}))
    entries = opened.run.add(metrics(1, {"loss": 1.0}))

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr("ranklog.backends.tensorboard.backend.write_private", full)
        opened.backend.deliver(entries=entries)
    opened.backend.deliver(entries=entries)
    assert opened.scalars("loss") == [(0, 0.0), (1, 1.0)]


def test_content_that_is_not_what_its_kind_promises_is_refused_alone(opened: Opened) -> None:
    run = opened.run
    bad = run.item("histogram", "h", "application/vnd.ranklog.histogram+json", [("h.json", b"{}")])
    entries = run.add(bad, run.file("a", b"1"), run.file("a/b", b"2"), metrics(0, {"loss": 1.0}))
    with pytest.raises(Refused) as caught:
        opened.backend.deliver(entries=entries)
    assert caught.value.ordinals == (entries[0].ordinal, entries[2].ordinal)
    assert opened.scalars("loss") == [(0, 1.0)]


def test_a_new_run_of_the_same_name_does_not_inherit_the_old_ones_progress(tmp_path: Path) -> None:
    old = Opened(tmp_path)
    old.log(*(metrics(step, {"loss": 9.0}) for step in range(5)))
    fresh = Run(tmp_path / "again", old.run.spec)
    fresh.facts = msgspec.structs.replace(fresh.facts, created_ns=T0_NS + 5)
    backend = TensorBoardBackend()
    backend.open(context=fresh.context())
    fresh.add(metrics(0, {"loss": 1.0}))
    backend.deliver(entries=fresh.entries)
    assert old.scalars("loss") == [(0, 1.0)]


def test_a_missing_savedir_is_an_error_that_says_so(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", BackendSpec(backend="tensorboard"))
    with pytest.raises(InvalidArgumentError, match="savedir"):
        TensorBoardBackend().open(context=run.context())
