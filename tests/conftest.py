"""Fixtures of all tests: a clean environment, runs without a logger, clusters and images."""

import functools
import importlib.util
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import workers
from cluster import NEWER, Slurm
from hypothesis import settings
from images import build_oci, build_sif

from ranklog.journal.layout import FACTS, make_private_dir, write_facts
from ranklog.journal.writer import JournalWriter
from ranklog.model.place import Place
from ranklog.model.record import PROTOCOL, Attempt, RunFacts
from ranklog.model.spec import BackendSpec

# Scripts that tests start; they join ranks when they are imported.
collect_ignore_glob = ["**/*_job.py"]

# A busy machine is no fault: how long an example takes is for `benchmarks/`.
settings.register_profile("ranklog", deadline=None)
settings.load_profile("ranklog")

FOREIGN = (
    "RANKLOG_",
    "HOROVOD_",
    "PMIX_",
    "RAY_",
    "SLURM_",
    "OMPI_",
    "PMI_",
    "MLFLOW_",
    "WANDB_",
    # torch sets it when a DDP model is made; a container that a test starts may not have that folder.
    "TORCHINDUCTOR_",
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
)


COMPONENTS = (
    "torch", "mlflow", "wandb", "tensorboard", "pyarrow", "pandas", "matplotlib", "plotly", "PIL", "sklearn", "psutil",
    "ray", "mpi4py", "deepspeed", "horovod",
)  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """In CI a missing component is a failure: a skip would hide that nothing was tested."""
    missing = [name for name in COMPONENTS if importlib.util.find_spec(name) is None]
    if missing and os.environ.get("CI", "").lower() == "true":
        pytest.exit(f"CI=true and these components are missing: {', '.join(missing)}", returncode=1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> workers.Scheduling:
    """Use our own scheduler."""
    return workers.Scheduling(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for a full comparison of both versions of Slurm, which is too long for CI."""
    parser.addoption("--both-slurms", action="store_true", help="run every test of Slurm on the newer version too")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests marked with ``both_slurms`` on the machine's Slurm and on the newer one."""
    if "slurm" in metafunc.fixturenames and (
        metafunc.config.getoption("--both-slurms") or metafunc.definition.get_closest_marker("both_slurms")
    ):
        metafunc.parametrize("slurm", [None, NEWER], indirect=True, ids=["installed", "newer"])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long tests first. Skip tests that need Slurm where it is not installed; under CI=true they fail."""
    items.sort(key=lambda item: workers.position(item.nodeid))
    missing = os.geteuid() != 0 or not all(map(shutil.which, ("slurmctld", "slurmd", "munged")))
    for item in items:
        if Path(item.fspath).parent.name == "cluster":
            item.add_marker(pytest.mark.slow)
            if missing and os.environ.get("CI", "").lower() != "true":
                item.add_marker(pytest.mark.skip(reason="a Slurm of one's own needs root, slurm-wlm and munge"))


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(FOREIGN):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("RANKLOG_CACHE_DIR", str(tmp_path / "ranklog-cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def start_attempt(tmp_path: Path) -> Callable[..., JournalWriter]:
    """Starts an attempt of a run below ``tmp_path`` and returns its journal writer; the run is made when new."""

    def start(
        run_id: str = "run-a",
        *,
        backends: tuple[str | BackendSpec, ...] = ("recording",),
        attempt: int = 0,
        host: str | None = None,
        pid: int | None = None,
        segment_bytes: int = 1 << 26,
    ) -> JournalWriter:
        run_dir = tmp_path / run_id
        if not (run_dir / FACTS).exists():
            make_private_dir(run_dir)
            facts = RunFacts(
                protocol=PROTOCOL,
                run_id=run_id,
                experiment="digits",
                created_ns=time.time_ns(),
                ranklog_version="0",
                command=("train.py",),
            )
            write_facts(run_dir, facts)
        specs = tuple(each if isinstance(each, BackendSpec) else BackendSpec(backend=each) for each in backends)
        writer = (host or socket.gethostname(), pid or os.getpid(), time.time_ns())
        head = Attempt(PROTOCOL, run_id, attempt, Place(attempt=attempt), *writer, specs)
        return JournalWriter(run_dir, head, segment_bytes=segment_bytes)

    return start


@pytest.fixture(scope="session")
def _clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path | None], Slurm]]:
    """Starts a cluster per version of Slurm, on first use."""
    with ExitStack() as stack:

        @functools.cache
        def start(unpacked: Path | None) -> Slurm:
            cluster = Slurm(tmp_path_factory.mktemp("cluster") / "slurm", unpacked)
            stack.callback(cluster.stop)
            return cluster

        yield start


@pytest.fixture
def slurm(_clusters: Callable[[Path | None], Slurm], request: pytest.FixtureRequest) -> Slurm:
    """A real Slurm of two virtual nodes: the machine's own, unless the test asks for the newer one."""
    unpacked: Path | None = getattr(request, "param", None)
    if unpacked and not (unpacked / ".ready").exists() and os.environ.get("CI", "").lower() != "true":
        pytest.skip("scripts/setup-runtimes.sh could not unpack the newer Slurm")
    return _clusters(unpacked)


@pytest.fixture(scope="session")
def sif() -> Path:
    """The Apptainer image of `containers/`."""
    return build_sif()


@pytest.fixture(scope="session")
def oci() -> str:
    """The OCI image of `containers/`, by name."""
    return build_oci()
