"""The images that `containers/` describes, built as they are written, and trainings inside them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from cluster import Slurm
from images import CANARY, PODMAN, ROOT, apptainer, arguments, in_oci, missing, run
from outcome import assert_whole
from pages import Page, follow

import ranklog
from ranklog.journal.layout import find_runs
from ranklog.testing import captured, series
from ranklog.view.query import RunView

EXAMPLES = ROOT / "examples"
TRAIN = EXAMPLES / "runtimes" / "train.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),  # the first test of an image has it built
    pytest.mark.skipif(
        bool(missing()) and os.environ.get("CI", "").lower() != "true",
        reason=f"scripts/setup-containers.sh sets up what is missing: {', '.join(missing())}",
    ),
]


def in_sif(sif: Path, *command: str | Path, options: tuple[str, ...] = ()) -> str:
    return run(apptainer() or "", "exec", *options, sif, *command)


def labels_expected() -> dict[str, str]:
    return {
        "org.opencontainers.image.title": "ranklog",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.version": ranklog.__version__,
        "ranklog.extras": arguments()["EXTRAS"],
        "ranklog.variant": arguments()["VARIANT"],
    }


def assert_one_run_of_two(runs: Path, nodes: int) -> None:
    """One finished run, in which both ranks stand behind each reduced value, with the loss of every runtime."""
    (run_dir,) = find_runs(runs)
    view = RunView(run_dir)
    assert_whole(view, 2, nodes, "torchrun")
    assert len(view.attempts) == 1
    found = captured(run_dir)
    loss = series(found, "train/loss")
    assert (loss[0], loss[29]) == pytest.approx((2.3398159, 2.0446132), rel=1e-6)


def packages(listed: str) -> set[str]:
    return {line for line in listed.splitlines() if "==" in line}


def test_the_apptainer_image_passes_its_own_test_which_runs_the_doctor(sif: Path) -> None:
    told = run(apptainer() or "", "test", sif)
    assert "everything is fine" in told


def test_the_apptainer_image_tells_what_it_is(sif: Path) -> None:
    told = json.loads(run(apptainer() or "", "inspect", "--json", "--labels", sif))
    assert labels_expected().items() <= told["data"]["attributes"]["labels"].items()
    assert "RANKLOG_DIR" in run(apptainer() or "", "run-help", sif)
    assert "Usage: ranklog" in run(apptainer() or "", "run", sif)


def test_the_oci_image_tells_what_it_is_and_how_to_see_that_it_is_well(oci: str, tmp_path: Path) -> None:
    (told,) = json.loads(run(*PODMAN, "image", "inspect", oci))
    assert labels_expected().items() <= told["Labels"].items()
    assert told["User"] == "1000:1000"
    assert told["Healthcheck"]["Test"] == ["CMD", "ranklog", "doctor"]
    tmp_path.chmod(0o777)
    assert "everything is fine" in in_oci("ranklog", "doctor", options=("-v", f"{tmp_path}:/data"))


def test_both_images_hold_the_same_packages_in_the_versions_that_are_pinned(sif: Path, oci: str) -> None:
    freeze = ("python", "-m", "pip", "--disable-pip-version-check", "list", "--format", "freeze")
    inside = packages(in_sif(sif, *freeze, options=("--containall",)))
    assert inside == packages(in_oci(*freeze))
    pinned = packages((ROOT / "containers" / "constraints.txt").read_text())
    ours = {line.partition("+")[0].lower().replace("_", "-") for line in inside}
    # pip and setuptools come with the base's venv; the image's own package has its version from the labels.
    assert {line for line in ours - pinned if not line.startswith(("pip==", "setuptools=="))} == {
        f"ranklog=={ranklog.__version__}"
    }


def test_nothing_of_the_builder_s_environment_is_in_the_images(sif: Path, oci: str) -> None:
    control = "Distributed-aware experiment logger"  # is in the metadata of ranklog's package, so the search finds it
    folders = "/etc /home /opt /root /srv /usr /var /.singularity.d"
    search = ("sh", "-c", f"env; grep -rhoasF -e '{CANARY}' -e '{control}' {folders} || true")
    for seen in (
        in_sif(sif, *search, options=("--containall",)) + run(apptainer() or "", "inspect", "--all", sif),
        in_oci(*search, options=("--user", "0"))
        + run(*PODMAN, "image", "inspect", oci)
        + run(*PODMAN, "history", "--no-trunc", oci),
    ):
        assert control in seen.splitlines()
        assert CANARY not in seen
        # Nor where its packages came from: the settings of the builder's pip.
        assert "PIP_" not in seen


def test_a_job_of_two_processes_under_slurm_writes_one_run_into_the_folder_that_is_bound(
    sif: Path, slurm: Slurm, tmp_path: Path
) -> None:
    submitted, runs = tmp_path / "submitted", tmp_path / "runs"
    submitted.mkdir()
    job = slurm.submit(
        ROOT / "slurm" / "container.sbatch", TRAIN, "torch", "--log-to", "tensorboard",
        cwd=submitted, IMAGE=str(sif), RANKLOG_DIR=str(runs), APPTAINER_BIND=f"{EXAMPLES}:{EXAMPLES}:ro",
        # The folder of the runs is below /tmp, which Apptainer would mount by itself.
        APPTAINER_NO_MOUNT="tmp",
    )  # fmt: skip
    told = slurm.wait(job)
    output = "".join(path.read_text() for path in submitted.glob("*.out"))
    assert "JobState=COMPLETED" in told, output
    assert_one_run_of_two(runs, nodes=2)
    assert "tensorboard" in in_sif(sif, "ranklog", "sync", str(runs), options=("--bind", f"{runs}:{runs}"))


def test_two_ranks_of_torchrun_in_the_oci_image_write_one_run_into_the_folder_that_is_mounted(
    oci: str, tmp_path: Path
) -> None:
    tmp_path.chmod(0o777)
    mounts = ("-v", f"{tmp_path}:/data", "-v", f"{EXAMPLES}:/examples:ro")
    train = ("/examples/runtimes/train.py", "torch", "--log-to", "tensorboard")
    in_oci(
        "torchrun", "--standalone", "--nproc-per-node", "2", *train,
        options=(*mounts, "--env", "OMP_NUM_THREADS=1", "--env", "RANKLOG_FORWARD=later"),
    )  # fmt: skip
    assert_one_run_of_two(tmp_path / "ranklog-runs", nodes=1)
    assert "tensorboard" in in_oci("ranklog", "sync", options=mounts)


def test_cleanenv_which_hides_the_launcher_is_an_error_that_names_the_cure(sif: Path, slurm: Slurm) -> None:
    script = "import ranklog; print(ranklog.place())"
    step = ("srun", "-N2", "-n2", apptainer() or "", "exec")
    assert sorted(slurm.ask(*step, str(sif), "python", "-c", script).splitlines()) == [
        "rank 0/2 (slurm)",
        "rank 1/2 (slurm)",
    ]
    hidden = slurm.ask(*step, "--cleanenv", str(sif), "sh", "-c", f"python -c '{script}' 2>&1 || true")
    assert hidden.count("LaunchError: the launcher's variables are incomplete") == 2, hidden
    assert hidden.count("apptainer exec without --cleanenv") == 2
    alone = ("--cleanenv", "--env", "RANKLOG_STRATEGY=single", str(sif), "python", "-c", script)
    assert slurm.ask(*step, *alone).splitlines() == ["rank 0/1 (single)"] * 2


def test_the_commands_of_the_how_to_do_what_it_says(sif: Path, slurm: Slurm, tmp_path: Path) -> None:
    (tmp_path / "ranklog.sif").symlink_to(sif)
    page = Page("how-to/containers.md", (r"2 ranks on 2 nodes", r"tensorboard complete", r"as it should be: status 1"))
    follow(page, slurm, tmp_path, APPTAINER_BIND=str(sif.parent))
