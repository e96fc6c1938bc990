from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("wandb")

from items import T0_NS, Run, metrics, png
from wandb_reader import OfflineRun, offline_files

from ranklog.abc import Refused
from ranklog.backends.wandb.backend import WandbBackend
from ranklog.model import content
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.facts import Git, JobFacts
from ranklog.model.place import Place
from ranklog.model.record import EVERY_BACKEND, Attempt, Coverage, End, Event, MetricInfo, Params, Status
from ranklog.model.spec import BackendSpec


def make_run(folder: Path, run_id: str = "run-1", *, offline: bool = True) -> Run:
    options = {"savedir": str(folder / "wandb"), "project_name": "digits", "offline_mode": offline}
    spec = BackendSpec(backend="wandb", log_on_workers=-1, options=options)
    return Run(folder / "runs" / run_id, spec, run_id)


def deliver(run: Run, status: Status | None = "FINISHED", known: dict[str, str] | None = None) -> dict[str, str]:
    """Deliver the whole run through a fresh backend and close it."""
    backend = WandbBackend()
    answer = backend.open(context=run.context(known=known or {}))
    backend.deliver(entries=run.entries)
    backend.close(status=status, timeout_s=120.0)
    return answer


def read_back(run: Run) -> OfflineRun:
    """The one offline run below the savedir."""
    (path,) = offline_files(Path(str(run.spec.options["savedir"])))
    return OfflineRun(path)


def children() -> set[str]:
    """Processes of W&B that this process started and that still run."""
    listing = subprocess.run(
        ["ps", "-o", "pid=,comm=,stat=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=False
    )
    return {line for line in listing.stdout.splitlines() if "wandb" in line}


class Everything:
    """One run with every kind of record, read back once for all tests that look at it."""

    def __init__(self, folder: Path) -> None:
        self.run = run = make_run(folder)
        self.big = os.urandom(40_000)
        run.add(
            Attempt(1, "run-1", 0, Place(world_size=2, launcher="torchrun"), "node7", 1, T0_NS, (run.spec,)),
            Params(T0_NS, EVERY_BACKEND, {"lr": 0.001, "optimizer.name": "adam", "note": None}),
            Params(T0_NS, EVERY_BACKEND, {"optimizer.momentum": 0.9, "lr": 0.002}),
            MetricInfo(T0_NS, EVERY_BACKEND, "a*b", "min"),
            metrics(0, {"loss": 2.0, "train/acc.top1": 0.5}, coverage=Coverage(2, 2, 2)),
            metrics(5, {"loss": math.nan, "up": math.inf}, coverage=Coverage(1, 2, 1)),
            metrics(3, {"loss": 1.0, "step": 77.0, "_timestamp": 5.0}, coverage=Coverage(2, 2, 1)),
            run.text("note", "<b>5 < 6</b>", step=4),
            run.dict("sub/config", {"depth": 3}, step=4),
            run.table("table", ["a", "b"], [[1, "x"], [2.5, None]], step=4),
            run.histogram("hist", [0.0, 1.0, 3.0], [4, 6], step=4),
            run.histogram("wide", [float(i) for i in range(1025)], [1.0] * 1024, step=4),
            run.image("pictures/cat", png(3, 2), caption="a cat", step=4),
            run.image("rank_001/pictures/cat", png(4, 4), step=4, rank=1),
            run.table("../" + "deep" * 60, ["a"], [[1]], step=4),
            run.figure("plot.png", png(5, 2), step=4),
            run.plotly("lines", {"data": [{"type": "scatter", "y": [1, 2]}], "layout": {}}, step=4),
            run.file("data/out.csv", b"a,b\n1,2\n"),
            run.folder("folder", {"x.txt": b"x", "sub/y.bin": self.big}),
            run.torch("weights", b"PK-tensors"),
            run.folder("net", {"state_dict.pt": b"s", "architecture.txt": b"Net()"}, kind="model"),
            run.folder("net", {"state_dict.pt": b"better"}, kind="best_model", step=9),
            run.item("model", "aliased", content.FOLDER, [("x.pt", b"x")], meta={"alias": "prod:eu/1"}),
            run.images("many", [png(2, 2)] * 109, captions=[f"n{index}" for index in range(109)]),
            run.image("damaged", b"\x89PNG"),
            run.item("hologram", "from-a-later-version", "audio/wav", [("sound.wav", b"RIFF")]),
            Event("warning", "nan", "first NaN in loss", T0_NS, rank=1, step=5),
            End("FINISHED", T0_NS + 10**9, "done"),
        )
        self.known = deliver(run)
        self.left_over = children()
        self.shown = read_back(run)

    def artifact(self, name: str) -> dict[str, bytes]:
        """Files of the last version of an artifact."""
        found = [each for each in self.shown.artifacts if each.name == name]
        return {file.path: Path(file.local_path).read_bytes() for file in found[-1].manifest.contents}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        patch.setenv("HOME", str(home))
        result = Everything(tmp_path_factory.mktemp("mllogs"))
        assert not [path for path in home.rglob("*") if path.is_file()], "something was written to the home directory"
        yield result


def test_the_users_step_is_the_x_axis_and_an_earlier_step_is_kept(everything: Everything) -> None:
    shown = everything.shown
    assert [step for step, _ in shown.rows("loss")] == [0, 5, 3]
    assert {(m.glob_name, m.step_metric) for m in shown.metrics if m.glob_name} == {("*", "step")}
    own_steps = [row["_step"] for row in shown.history]
    assert own_steps == sorted(set(own_steps))


def test_values_are_exact_and_nan_and_infinity_are_kept(everything: Everything) -> None:
    values = [value for _, value in everything.shown.rows("loss")]
    assert values[0] == 2.0 and math.isnan(values[1]) and values[2] == 1.0
    assert everything.shown.rows("up") == [(5, math.inf)]
    assert everything.shown.rows("train/acc.top1") == [(0, 0.5)]


def test_rows_carry_the_time_of_the_call(everything: Everything) -> None:
    assert everything.shown.history[0]["_timestamp"] == T0_NS / 1e9


def test_metrics_that_are_named_like_w_and_bs_own_columns_do_not_replace_these(everything: Everything) -> None:
    assert everything.shown.rows("user/step") == [(3, 77.0)]
    assert everything.shown.rows("user/_timestamp") == [(3, 5.0)]


def test_partial_coverage_is_marked_in_the_row_and_in_the_summary(everything: Everything) -> None:
    assert everything.shown.rows("ranklog/answered") == [(5, 1), (3, 2)]
    assert everything.shown.rows("ranklog/contributed") == [(5, 1), (3, 1)]
    assert everything.shown.rows("ranklog/world_size") == [(5, 2), (3, 2)]
    assert everything.shown.summary["ranklog/coverage"] == "1 of 2 ranks had a value, 1 answered"


def test_parameters_are_nested_config_and_the_last_value_counts(everything: Everything) -> None:
    config = everything.shown.config
    assert config["lr"] == 0.002 and config["note"] is None
    assert config["optimizer"] == {"name": "adam", "momentum": 0.9}
    assert config["ranklog"]["world_size"] == 2 and config["ranklog"]["launcher"] == "torchrun"
    assert config["ranklog"]["run_id"] == "run-1"


def test_a_text_is_shown_as_escaped_html(everything: Everything) -> None:
    assert "<pre>&lt;b&gt;5 &lt; 6&lt;/b&gt;</pre>" in everything.shown.media("note").read_text()
    assert everything.shown.rows("note")[0][0] == 4


def test_a_table_is_a_table(everything: Everything) -> None:
    table = json.loads(everything.shown.media("table").read_text())
    assert table["columns"] == ["a", "b"] and table["data"] == [[1, "x"], [2.5, None]]


def test_a_histogram_has_its_bins_and_a_fine_one_is_made_coarser(everything: Everything) -> None:
    ((_, hist),) = everything.shown.rows("hist")
    assert (hist["_type"], hist["values"], hist["bins"]) == ("histogram", [4, 6], [0, 1, 3])
    ((_, wide),) = everything.shown.rows("wide")
    assert len(wide["values"]) == 512 and sum(wide["values"]) == 1024
    assert (wide["bins"][0], wide["bins"][-1], len(wide["bins"])) == (0, 1024, 513)


def test_images_and_figures_are_images_and_each_rank_has_its_own(everything: Everything) -> None:
    ((_, cat),) = everything.shown.rows("pictures/cat")
    assert (cat["_type"], cat["width"], cat["height"], cat["caption"]) == ("image-file", 3, 2, "a cat")
    ((_, other),) = everything.shown.rows("rank_001/pictures/cat")
    assert other["width"] == 4
    ((_, plot),) = everything.shown.rows("plot.png")
    assert plot["width"] == 5
    assert everything.shown.media("plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_media_file_never_leaves_the_runs_directory_and_may_have_a_long_name(everything: Everything) -> None:
    ((column, value),) = [
        (name, row[name]) for row in everything.shown.history for name in row if name.startswith("_/deep")
    ]
    assert len(column.encode()) <= 120
    path = everything.shown.directory / "files" / value["path"]
    assert everything.shown.directory.resolve() in path.resolve().parents and path.is_file()


def test_a_plotly_figure_is_one(everything: Everything) -> None:
    ((_, value),) = everything.shown.rows("lines")
    assert value["_type"] == "plotly-file"
    assert json.loads(everything.shown.media("lines").read_text())["data"][0]["y"] == [1, 2]


def test_files_folders_tensors_and_mappings_are_artifacts(everything: Everything) -> None:
    names = {each.name: each.type for each in everything.shown.artifacts}
    csv = next(name for name in names if name.startswith("data-out.csv"))
    config = next(name for name in names if name.startswith("sub-config"))
    assert everything.artifact(csv) == {"data/out.csv": b"a,b\n1,2\n"}
    assert everything.artifact("folder") == {"x.txt": b"x", "sub/y.bin": everything.big}
    assert everything.artifact("weights") == {"weights.pt": b"PK-tensors"}
    assert json.loads(everything.artifact(config)["sub/config.json"]) == {"depth": 3}
    assert (names[csv], names[config], names["weights"]) == ("artifact", "config", "artifact")


def test_models_are_model_artifacts_and_the_best_has_an_alias(everything: Everything) -> None:
    first, best = [each for each in everything.shown.artifacts if each.name == "net"]
    assert (first.type, list(first.aliases)) == ("model", ["latest"])
    assert (best.type, set(best.aliases)) == ("model", {"latest", "best"})
    assert json.loads(best.metadata)["step"] == 9


def test_a_kind_that_is_not_known_is_kept_as_an_artifact(everything: Everything) -> None:
    assert everything.artifact("from-a-later-version") == {"sound.wav": b"RIFF"}


def test_what_w_and_b_would_cut_or_cannot_open_is_kept_whole_as_an_artifact(everything: Everything) -> None:
    assert len(everything.artifact("many")) == 109
    (many,) = [each for each in everything.shown.artifacts if each.name == "many"]
    assert json.loads(many.metadata)["captions"]["caption.108"] == "n108"
    assert everything.artifact("damaged") == {"damaged.png": b"\x89PNG"}


def test_an_alias_that_w_and_b_refuses_is_spelled_so_that_it_takes_it(everything: Everything) -> None:
    (model,) = [each for each in everything.shown.artifacts if each.name == "aliased"]
    assert [alias for alias in model.aliases if alias.startswith("prod-eu-1-")]


def test_an_event_is_a_line_of_the_log(everything: Everything) -> None:
    assert "[ranklog] warning: first NaN in loss (rank 1, step 5)\n" in everything.shown.logs


def test_a_goal_of_a_name_with_a_star_is_a_warning_since_w_and_b_has_none(everything: Everything) -> None:
    assert everything.shown.logs[0] == "[ranklog] warning: W&B cannot keep the min of a*b: its name has a *\n"


def test_the_run_ends_with_its_status_and_no_process_is_left(everything: Everything) -> None:
    shown = everything.shown
    assert shown.exit_code == 0 and not shown.preempting
    assert shown.summary["ranklog/status"] == "FINISHED" and shown.summary["ranklog/reason"] == "done"
    assert (shown.run.project, shown.run.run_id, shown.run.display_name) == ("digits", "run-1", "run-1")
    assert everything.known["run_id"] == "run-1"
    assert everything.known["directory"] == str(shown.directory)
    assert everything.left_over == set()


@pytest.mark.parametrize(("status", "exit_code"), [("FAILED", 1), ("KILLED", 255)])
def test_a_run_that_went_wrong_ends_so(tmp_path: Path, status: Status, exit_code: int) -> None:
    run = make_run(tmp_path)
    deliver(run, status)
    shown = read_back(run)
    assert shown.exit_code == exit_code and shown.summary["ranklog/status"] == status


def test_a_run_that_goes_on_elsewhere_is_left_as_preempted(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    deliver(run, None)
    shown = read_back(run)
    assert shown.preempting and "ranklog/status" not in shown.summary


def test_an_offline_run_that_is_opened_again_is_written_anew_with_each_row_once(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    other = make_run(tmp_path, "other-run-1")
    deliver(other)
    run.add(*[metrics(step, {"loss": float(step)}) for step in range(3)])
    known = deliver(run, None)
    run.add(metrics(3, {"loss": 3.0}))
    backend = WandbBackend()
    again = backend.open(context=run.context(known=known, resumed_at=4))
    assert again["redeliver_from"] == "0"
    backend.deliver(entries=run.entries)
    backend.close(status="FINISHED", timeout_s=120.0)
    other_path, path = sorted(offline_files(tmp_path / "wandb"), key=lambda path: path.name)
    assert (other_path.name, path.name) == ("run-other-run-1.wandb", "run-run-1.wandb")
    assert OfflineRun(path).rows("loss") == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_entries_of_a_failed_try_are_not_shown_twice(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    backend = WandbBackend()
    backend.open(context=run.context())
    run.add(metrics(0, {"loss": 1.0}), run.file("a.bin", b"a"))
    backend.deliver(entries=run.entries)
    run.add(metrics(1, {"loss": 0.5}))
    backend.deliver(entries=run.entries)
    backend.close(status="FINISHED", timeout_s=120.0)
    shown = read_back(run)
    assert shown.rows("loss") == [(0, 1), (1, 0.5)]
    assert len(shown.artifacts) == 1


def test_a_table_too_long_for_w_and_b_is_kept_whole_as_an_artifact(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.add(run.table("long", ["i"], [[i] for i in range(10_001)]))
    deliver(run)
    (artifact,) = read_back(run).artifacts
    (file,) = artifact.manifest.contents
    assert artifact.name == "long" and len(json.loads(Path(file.local_path).read_bytes())["data"]) == 10_001


def test_wandb_mode_offline_makes_the_run_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = make_run(tmp_path, offline=False)
    deliver(run)
    assert read_back(run).exit_code == 0


def test_online_without_a_key_says_what_to_do_and_asks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    run = make_run(tmp_path, offline=False)
    with pytest.raises(InvalidArgumentError, match=r"set WANDB_API_KEY .* or WANDB_MODE=offline"):
        WandbBackend().open(context=run.context())
    assert children() == set()


def test_a_second_type_of_artifact_of_one_name_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.add(
        run.folder("net", {"state_dict.pt": b"s"}, kind="model"),
        run.file("net", b"a"),
        metrics(0, {"loss": 1.0}),
    )
    backend = WandbBackend()
    backend.open(context=run.context())
    with pytest.raises(Refused, match=r"of type 'artifact': net already exists with type 'model'") as refused:
        backend.deliver(entries=run.entries)
    left = [entry for entry in run.entries if entry.ordinal not in refused.value.ordinals]
    backend.deliver(entries=left)
    backend.close(status="FINISHED", timeout_s=120.0)
    shown = read_back(run)
    assert [artifact.type for artifact in shown.artifacts] == ["model"]
    assert [value for _, value in shown.rows("loss")] == [1.0]


def service_pid() -> int:
    (service,) = [int(line.split()[0]) for line in children()]
    return service


def test_a_service_that_hangs_is_ended_at_the_time_limit_and_the_run_is_not_taken_for_finished(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    backend = WandbBackend()
    backend.open(context=run.context())
    os.kill(service_pid(), signal.SIGSTOP)
    with pytest.raises(TimeoutError, match=r"W&B did not finish within 0\.5 s"):
        backend.close(status="FINISHED", timeout_s=0.5)
    assert children() == set()
    with pytest.raises(ConnectionError, match=r"sent again when the run opens again"):
        backend.close(status="FINISHED", timeout_s=120.0)


def test_when_the_service_dies_delivery_fails_and_the_next_open_brings_everything(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.add(metrics(0, {"loss": 1.0}))
    backend = WandbBackend()
    known = backend.open(context=run.context())
    backend.deliver(entries=run.entries)
    service = service_pid()
    os.kill(service, signal.SIGKILL)
    os.waitid(os.P_PID, service, os.WEXITED | os.WNOWAIT)
    with pytest.raises((ConnectionError, RuntimeError)):
        backend.deliver(entries=run.add(metrics(1, {"loss": 0.5})))
    with pytest.raises((ConnectionError, RuntimeError)):
        backend.close(status=None, timeout_s=120.0)
    deliver(run, "FINISHED", known)
    assert read_back(run).rows("loss") == [(0, 1), (1, 0.5)]
    assert children() == set()


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_wandb import WandbBackend, make_run, metrics
run = make_run(Path(sys.argv[2]))
run.add(*[metrics(step, {"loss": float(step)}) for step in range(100)])
backend = WandbBackend()
known = backend.open(context=run.context())
backend.deliver(entries=run.entries)
print(known["directory"], flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
def test_after_a_kill_one_complete_directory_comes_out(tmp_path: Path) -> None:
    here = str(Path(__file__).parent)
    child = subprocess.run(
        [sys.executable, "-c", KILLED, here, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert offline_files(tmp_path / "wandb") == []  # `wandb sync` would send a part, and then everything again
    known = {"directory": child.stdout.strip()}
    run = make_run(tmp_path / "again")
    run.spec.options["savedir"] = str(tmp_path / "wandb")
    run.add(*[metrics(step, {"loss": float(step)}) for step in range(100)])
    deliver(run, "KILLED", known)
    (path,) = offline_files(tmp_path / "wandb")
    assert [step for step, _ in OfflineRun(path).rows("loss")] == list(range(100))


def test_the_job_and_its_code_are_in_the_config_and_an_array_is_a_group(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.facts = msgspec.structs.replace(run.facts, group="array-41")
    code = Git("0f5a91c2", "main", True, "https://git.example/lab")
    run.add(JobFacts(T0_NS, ("train.py",), "/", {}, code, "slurm", {"job": "42"}))
    deliver(run)
    found = read_back(run)
    assert found.config["ranklog"]["git"] == {"commit": "0f5a91c2", "dirty": True, "remote": "https://git.example/lab"}
    assert found.config["slurm"] == {"job": "42"}
    assert found.run.run_group == "array-41"
