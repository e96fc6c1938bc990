"""Graphs, projector, curves, sounds, films and layouts, as the routes of TensorBoard itself serve them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from items import gif, metrics, png, wav
from tensorboard import default, program
from tensorboard.backend import application
from tensorboard.data.ingester import DataIngester
from test_tensorboard import Opened
from werkzeug.test import Client

from ranklog.model import content
from ranklog.model.record import Coverage, Metrics


class Served:
    """TensorBoard's own application over a folder, without a socket."""

    def __init__(self, logdir: Path) -> None:
        from tensorboard.backend.event_processing.data_ingester import LocalDataIngester

        board = program.TensorBoard(plugins=default.get_plugins())
        board.configure(argv=["", "--logdir", str(logdir), "--load_fast", "false", "--reload_task", "blocking"])
        board.flags.reload_interval = 0
        ingester: DataIngester = LocalDataIngester(board.flags)
        ingester.start()
        app = application.TensorBoardWSGIApp(
            board.flags,
            board.plugin_loaders,
            ingester.data_provider,
            board.assets_zip_provider,
            ingester.deprecated_multiplexer,
        )
        self._client = Client(app)

    def get(self, route: str, **query: str) -> bytes:
        answer = self._client.get(f"/data/plugin/{route}", query_string=query or None)
        assert answer.status_code == 200, answer.data
        return answer.data

    def json(self, route: str, **query: str) -> Any:
        return json.loads(self.get(route, **query))


def stats(step: int, low: float, mean: float, high: float) -> Metrics:
    values = {"loss/mean": mean, "loss/min": low, "loss/max": high, "loss/count": 4.0}
    return Metrics(step, 10**18 + step, -1, values, op="stats", coverage=Coverage(4, 4, 4))


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    opened = Opened(tmp_path_factory.mktemp("tb"))
    run = opened.run
    opened.log(
        stats(0, 1.0, 2.0, 3.0),
        metrics(0, {"acc/rank_000": 0.5, "acc/rank_001": 0.6, "alone": 1.0}),
        run.graph("net"),
        run.embedding("codes/last", step=1),
        run.embedding("plain"),
        run.pr_curve("cat", step=3),
        run.audio("tone", [0, 1, 2], caption="a tone"),
        run.video("film", step=2),
        run.images("pair", [png(2, 2), png(3, 3)], captions=["left", "right"]),
    )
    opened.backend.close(status="FINISHED", timeout_s=1)
    return opened


@pytest.fixture(scope="module")
def served(opened: Opened) -> Served:
    return Served(opened.folder.parent)


def test_the_graph_is_served_with_scopes_and_shapes(served: Served) -> None:
    text = served.get("graphs/graph", run="run-1").decode()
    assert 'name: "net/0/linear"' in text and 'input: "net/0/weight"' in text
    assert "_output_shapes" in text and "size: 2" in text


def test_the_projector_serves_vectors_labels_and_sprite(served: Served) -> None:
    info = served.json("projector/info", run="run-1")
    assert {each["tensorName"] for each in info["embeddings"]} == {"codes/last", "plain"}
    (last,) = [each for each in info["embeddings"] if each["tensorName"] == "codes/last"]
    assert last["sprite"]["singleImageDim"] == [2, 2]
    import numpy as np

    vectors = np.frombuffer(served.get("projector/tensor", run="run-1", name="codes/last"), dtype="float32")
    assert vectors.tolist() == [0, 1, 2, 3, 4, 5]
    labels = served.get("projector/metadata", run="run-1", name="codes/last", num_rows="10").decode()
    assert labels.splitlines() == ["label\tscore", "a\t1", "b\t2", "c\t3"]
    assert served.get("projector/sprite_image", run="run-1", name="codes/last") == png(4, 4)


def test_a_precision_recall_curve_is_served_by_its_page(served: Served) -> None:
    (curve,) = served.json("pr_curves/pr_curves", run="run-1", tag="cat/pr_curves")["run-1"]
    assert curve["step"] == 3
    assert curve["recall"][0] == 1.0 and curve["precision"][0] == pytest.approx(0.6)


def test_sounds_films_and_lists_are_served(served: Served) -> None:
    (tone,) = served.json("audio/audio", run="run-1", tag="tone", sample="0")
    assert served.get("audio/individualAudio?" + tone["query"]) == wav([0, 1, 2], 8000)
    (film,) = served.json("images/images", run="run-1", tag="film", sample="0")
    assert served.get("images/individualImage?" + film["query"]) == gif(3)
    tags = served.json("images/tags")["run-1"]
    assert {"pair/0", "pair/1", "film"} <= tags.keys()
    assert "right" in tags["pair/1"]["description"]


def test_reduced_stats_are_a_band_and_values_of_ranks_are_lines_in_custom_scalars(served: Served) -> None:
    layout = served.json("custom_scalars/layout")
    charts = {chart["title"]: chart for category in layout["category"] for chart in category["chart"]}
    assert charts.keys() == {"loss", "acc"}
    (band,) = charts["loss"]["margin"]["series"]
    assert band == {"value": "loss/mean", "lower": "loss/min", "upper": "loss/max"}
    lines = served.json("custom_scalars/scalars", run="run-1", tag=charts["acc"]["multiline"]["tag"][0])
    assert lines["tag_to_events"].keys() == {"acc/rank_000", "acc/rank_001"}


def test_graph_layout_and_projector_are_there_after_a_resume_and_written_the_same(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    run = opened.run
    opened.log(stats(0, 1.0, 2.0, 3.0), run.graph("one"), run.embedding("codes"))
    opened.reopen(resumed_at=4)
    opened.log(run.graph("two"), run.embedding("more"))
    served = Served(opened.folder.parent)
    text = served.get("graphs/graph", run="run-1").decode()
    assert 'name: "one/net/0/linear"' in text and 'name: "two/input"' in text
    assert len(served.json("projector/info", run="run-1")["embeddings"]) == 2
    before = {path: path.read_bytes() for path in opened.folder.rglob("*") if path.is_file()}
    opened.reopen(resumed_at=1)
    opened.backend.deliver(entries=run.entries[1:])
    assert {path: path.read_bytes() for path in opened.folder.rglob("*") if path.is_file()} == before


def test_a_newer_embedding_of_a_name_is_the_one_that_is_shown(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    first = opened.run.embedding("codes", step=0)
    opened.log(first, opened.run.item("embedding", "codes", content.FOLDER, [("vectors.npy", npy([[7.0]]))], step=1))
    info = Served(opened.folder.parent).json("projector/info", run="run-1")
    (shown,) = info["embeddings"]
    assert "metadataPath" not in shown


def npy(rows: list[list[float]]) -> bytes:
    import numpy as np

    out = io.BytesIO()
    np.save(out, np.array(rows, dtype=np.float32))
    return out.getvalue()


def test_files_of_other_formats_and_references_are_named_in_texts(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    folder = tmp_path / "ckpt"
    folder.mkdir()
    (folder / "x").write_bytes(b"123")
    opened.log(
        opened.run.item("video", "film", "video/mp4", [("film.mp4", b"mp4")]),
        opened.run.reference("ckpt", folder),
        opened.run.alert("bad", "loss is NaN", level="error"),
        opened.run.dataset("train"),
    )
    assert (opened.folder / "artifacts" / "film.mp4").read_bytes() == b"mp4"
    assert "artifacts/film.mp4" in opened.texts("film")[0][1]
    assert f"3 bytes, stays at `{folder.as_uri()}`" in opened.texts("ckpt")[0][1]
    assert opened.texts("bad")[0][1] == "**error**: loss is NaN"
    assert "| rows | 1797 |" in opened.texts("train")[0][1]


def test_content_of_these_kinds_that_is_broken_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    from ranklog.abc import Refused

    opened = Opened(tmp_path)
    broken = [
        opened.run.item("audio", "a", content.WAV, [("a.wav", b"RIFF")]),
        opened.run.item("video", "v", content.GIF, [("v.gif", b"GIF")]),
        opened.run.item("graph", "g", content.GRAPH, [("g.json", b"{")]),
        opened.run.item("embedding", "e", content.FOLDER, [("vectors.npy", b"npy")]),
        opened.run.item("pr_curve", "p", content.PR_CURVE, [("p.json", b"{}")]),
    ]
    with pytest.raises(Refused) as refused:
        opened.log(*broken, metrics(0, {"loss": 1.0}))
    assert len(refused.value.ordinals) == len(broken)
    assert opened.scalars("loss") == [(0, 1.0)]


@pytest.mark.slow
def test_neither_torch_nor_tensorflow_is_loaded_to_write_them(tmp_path: Path) -> None:
    script = """
    import sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from items import Run
    from ranklog.backends.tensorboard.backend import TensorBoardBackend
    from ranklog.model.spec import BackendSpec
    folder = Path(sys.argv[1])
    run = Run(folder / "run", BackendSpec(backend="tensorboard", options={"savedir": str(folder / "tb")}))
    run.add(*run.each_kind())
    backend = TensorBoardBackend()
    backend.open(context=run.context())
    backend.deliver(entries=run.entries)
    backend.close(status="FINISHED", timeout_s=1)
    assert not {"torch", "tensorflow"} & sys.modules.keys()
    """
    import textwrap

    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_run_without_any_of_them_has_no_head_file(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    opened.log(metrics(0, {"loss": 1.0}))
    assert not list(opened.folder.glob("*hparams"))
