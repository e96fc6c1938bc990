"""Builds the images of `containers/` from what scripts/setup-containers.sh has put into the cache.

The SIF is built again when what it is made of has changed; for the OCI image podman's own layers see to that. podman
keeps its images in the cache too, apart from those of whoever runs the tests.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ranklog" / "containers"
BASE = CACHE / "base"
WHEELS = CACHE / "wheels"
PODMAN = [
    "podman", "--root", str(CACHE / "podman"), "--runroot", str(Path(tempfile.gettempdir()) / "ranklog-podman"),
    "--runtime", "runc",
]  # fmt: skip

# What a user may have in the shell in which an image is built.
CANARY = "canary-5f0c1d7e"
SECRETS = {
    "WANDB_API_KEY": CANARY,
    "MLFLOW_TRACKING_TOKEN": CANARY,
    "APPTAINER_DOCKER_PASSWORD": CANARY,
    "PIP_INDEX_URL": f"http://user:{CANARY}@127.0.0.1:1/",
}


def apptainer() -> str | None:
    """The one that scripts/setup-containers.sh has set up, or the machine's own."""
    own = Path(sys.executable).with_name("apptainer")
    return str(own) if own.exists() else shutil.which("apptainer")


def missing() -> list[str]:
    """What is not there of all that the images are built with and run on."""
    parts: Mapping[str, object] = {
        "root": os.geteuid() == 0,
        "Apptainer": apptainer(),
        "podman": shutil.which("podman"),
        "runc": shutil.which("runc"),
        "a base": (CACHE / "base.ready").exists(),
        "wheels": (WHEELS / "key").exists(),
        "Slurm": shutil.which("slurmctld") and shutil.which("slurmd") and shutil.which("munged"),
    }
    return [name for name, there in parts.items() if not there]


def arguments() -> dict[str, str]:
    """The build arguments that the wheels were collected for."""
    return dict(line.split("=", 1) for line in (WHEELS / "build-args").read_text().splitlines())


def run(*command: str | Path, timeout_s: float = 580, **extra: str) -> str:
    """Run a command to its end and give what it printed; its failure shows all of it."""
    # A user's own mounts and settings are for their containers.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("APPTAINER", "SINGULARITY"))}
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, env={**env, **extra}, stdin=subprocess.DEVNULL, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=timeout_s,
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


def _sources() -> Iterator[Path]:
    containers = ROOT / "containers"
    yield from (containers / name for name in ("ranklog.def", "install.sh", "requirements.py", "constraints.txt"))
    yield from (ROOT / "pyproject.toml", WHEELS / "key", ROOT / "scripts" / "container-base.sh")
    yield from sorted((ROOT / "src").rglob("*.py"))


def build_sif() -> Path:
    """Build containers/ranklog.def, or take what the same sources gave before; of older ones a few are kept."""
    assert not missing(), f"scripts/setup-containers.sh could not set up: {', '.join(missing())}"
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(f"{path.name}\0".encode() + path.read_bytes())
    image = CACHE / f"ranklog-{digest.hexdigest()[:16]}.sif"
    if not image.exists():
        partial = image.with_suffix(f".{os.getpid()}")
        words = [word for name, value in arguments().items() for word in ("--build-arg", f"{name}={value}")]
        run(
            ROOT / "scripts" / "apptainer-build.sh", apptainer() or "",
            # The default packs for two minutes what this packs in four seconds, a tenth larger.
            "--mksquashfs-args", "-comp zstd -Xcompression-level 1",
            "--bind", f"{WHEELS}:/mnt", "--build-arg", "BOOTSTRAP=localimage", "--build-arg", f"FROM={BASE}", *words,
            partial, "containers/ranklog.def",
            **SECRETS,
        )  # fmt: skip
        partial.rename(image)
    image.touch()
    for old in sorted(CACHE.glob("ranklog-*.sif"), key=lambda path: path.stat().st_mtime)[:-2]:
        old.unlink()
    return image


def build_oci() -> str:
    """Build containers/Containerfile; the name of the image."""
    assert not missing(), f"scripts/setup-containers.sh could not set up: {', '.join(missing())}"
    base = f"localhost/ranklog-base:{(CACHE / 'base.ready').stat().st_mtime_ns}"
    if subprocess.run([*PODMAN, "image", "exists", base], check=False).returncode:
        with subprocess.Popen(["tar", "-C", BASE, "-c", "."], stdout=subprocess.PIPE) as tar:
            subprocess.run([*PODMAN, "import", "-q", "-", base], stdin=tar.stdout, check=True, timeout=120)
    words = [word for name, value in arguments().items() for word in ("--build-arg", f"{name}={value}")]
    run(
        *PODMAN, "build", "--isolation", "chroot", "--format", "docker", "-f", "containers/Containerfile",
        "-v", f"{WHEELS}:/mnt:ro", "--build-arg", f"BASE={base}", *words, "-t", "localhost/ranklog", ".",
        **SECRETS,
    )  # fmt: skip
    # Old images stay while the container of a build that was killed holds them.
    subprocess.run([*PODMAN, "image", "prune", "-f"], check=False, stdout=subprocess.DEVNULL, timeout=120)
    return "localhost/ranklog"


def in_oci(*command: str | Path, options: tuple[str, ...] = ()) -> str:
    """Run a command in the OCI image, without a network."""
    limits = ("--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096")  # CI's root may not be given more
    words = ("run", "--rm", "--network", "none", "--no-healthcheck", *limits, *options)
    return run(*PODMAN, *words, "localhost/ranklog", *command)
