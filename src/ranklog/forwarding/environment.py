"""Environment variables of the forwarder process.

In: the environment of training and the secrets that only the forwarder gets. Out: the same without accelerators and
without the launcher's variables, so that no client library takes the forwarder for another rank. Paths and addresses
become absolute, because the forwarder works in the run directory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from ranklog.model.text import absolute_uri

_LAUNCHER_PREFIXES = (
    "OMPI_",
    "PMI_",
    "PMIX_",
    "PRTE_",
    "MPI_",
    "MV2_",
    "HOROVOD_",
    "PALS_",
    "JSM_",
    "TORCHELASTIC_",
)
_LAUNCHER_NAMES = frozenset(
    ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK",
     "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LD_PRELOAD", "PYTHONSTARTUP")
)  # fmt: skip
_PATHS = frozenset(
    ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC", "WANDB_CONFIG_DIR",
     "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH",
     "OTEL_EXPORTER_OTLP_CERTIFICATE")
)  # fmt: skip
_ADDRESSES = frozenset(("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"))


def child_environment(environ: Mapping[str, str], secrets: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a process that delivers, started from here."""
    kept = {
        name: value
        for name, value in environ.items()
        if name not in _LAUNCHER_NAMES and not name.startswith(_LAUNCHER_PREFIXES)
    }
    kept.update(CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1", PYTHONUNBUFFERED="1", RANKLOG_FORWARDER="1")
    if path := kept.get("PYTHONPATH"):
        kept["PYTHONPATH"] = os.pathsep.join(os.path.abspath(part) for part in path.split(os.pathsep) if part)  # noqa: PTH100
    for name in _PATHS & kept.keys():
        kept[name] = os.path.abspath(kept[name])  # noqa: PTH100
    for name in _ADDRESSES & kept.keys():
        kept[name] = absolute_uri(kept[name])
    kept.update(secrets)
    return kept
