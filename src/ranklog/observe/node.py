"""Samples the load of this node: CPUs, memory, disk, network and GPUs, under the names that MLflow's pages group.

Out: a mapping of names to numbers, at the call, without values that the kernel or a driver refuses. GPUs are those of
the job (`ranklog.job.gpus`), by their numbers on the node. The names are those of ``mlflow.system_metrics``, such as
``cpu_utilization_percentage``. Memory and traffic are in megabytes of 10^6 bytes, traffic since the first sample. The
utilisation of CPUs is the mean since the previous sample; at first, over a tenth of a second.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from ranklog.job.gpus import own_gpus

_MB = 1e6
FIRST_S = 0.1


class SystemSampler:
    """Samples one node; for one thread.

    Args:
        local_world_size: Ranks on this node.
    """

    def __init__(self, local_world_size: int = 1) -> None:
        import psutil

        self._psutil = psutil
        self._interval_s: float | None = FIRST_S
        self._received, self._sent = self._traffic()
        self._nvml = load_nvml()
        self._gpus = {} if self._nvml is None else _handles(self._nvml, local_world_size)

    def sample(self) -> dict[str, float]:
        """The current load. Asking the kernel and the GPU driver takes some milliseconds."""
        interval_s, self._interval_s = self._interval_s, None
        memory = self._psutil.virtual_memory()
        values = {
            "cpu_utilization_percentage": float(self._psutil.cpu_percent(interval_s)),
            "system_memory_usage_megabytes": memory.used / _MB,
            "system_memory_usage_percentage": memory.used / memory.total * 100,
        }
        with suppress(OSError):
            disk = self._psutil.disk_usage(os.sep)
            values |= {
                "disk_usage_percentage": float(disk.percent),
                "disk_usage_megabytes": disk.used / _MB,
                "disk_available_megabytes": disk.free / _MB,
            }
        received, sent = self._traffic()
        values |= {
            "network_receive_megabytes": (received - self._received) / _MB,
            "network_transmit_megabytes": (sent - self._sent) / _MB,
        }
        return values | self._of_gpus()

    def close(self) -> None:
        """Nothing runs in the background."""

    def _traffic(self) -> tuple[float, float]:
        with suppress(OSError, AttributeError):  # AttributeError: a container may show no network at all
            counters = self._psutil.net_io_counters()
            return float(counters.bytes_recv), float(counters.bytes_sent)
        return 0.0, 0.0

    def _of_gpus(self) -> dict[str, float]:
        values: dict[str, float] = {}
        nvml = self._nvml
        for number, gpu in self._gpus.items():
            with suppress(nvml.NVMLError):
                memory = nvml.nvmlDeviceGetMemoryInfo(gpu)
                values[f"gpu_{number}_memory_usage_percentage"] = memory.used / memory.total * 100
                values[f"gpu_{number}_memory_usage_megabytes"] = memory.used / _MB
            with suppress(nvml.NVMLError):
                values[f"gpu_{number}_utilization_percentage"] = float(nvml.nvmlDeviceGetUtilizationRates(gpu).gpu)
            with suppress(nvml.NVMLError):
                watts = nvml.nvmlDeviceGetPowerUsage(gpu) / 1000
                values[f"gpu_{number}_power_usage_watts"] = watts
                limit = nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1000
                values[f"gpu_{number}_power_usage_percentage"] = watts / limit * 100
        return values


def job_gpus(nvml: Any, local_world_size: int) -> list[str]:
    """GPUs of the ranks on this node, as numbers or UUIDs."""
    return own_gpus(os.environ, nvml.nvmlDeviceGetCount(), local_world_size)


def _handles(nvml: Any, local_world_size: int) -> dict[int, Any]:
    """The driver's handles of the job's GPUs, by number on the node."""
    handles: dict[int, Any] = {}
    for name in job_gpus(nvml, local_world_size):
        with suppress(nvml.NVMLError):
            by_number = name.isdecimal()
            gpu = nvml.nvmlDeviceGetHandleByIndex(int(name)) if by_number else nvml.nvmlDeviceGetHandleByUUID(name)
            handles[nvml.nvmlDeviceGetIndex(gpu)] = gpu
    return handles


def load_nvml() -> Any:
    """NVIDIA's library, initialised; None without a GPU of NVIDIA."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no package, no driver, no GPU
        return None
    return pynvml
