"""The load of a node with GPUs, by a stand-in for the driver's library: there is no GPU where these tests run."""

import sys
from types import SimpleNamespace

import pytest

from ranklog.job.facts import device
from ranklog.job.gpus import own_gpus
from ranklog.model.place import Place
from ranklog.observe.node import SystemSampler


class NVMLError(Exception):
    """What the library raises."""


class Driver:
    """A node's GPUs, with the functions of `pynvml` that are called."""

    NVMLError = NVMLError

    def __init__(self, gpus: int) -> None:
        self.gpus = gpus

    def nvmlInit(self) -> None:
        """Nothing to do."""

    def nvmlDeviceGetCount(self) -> int:
        return self.gpus

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:
        if number >= self.gpus:
            raise NVMLError("invalid argument")
        return number

    def nvmlDeviceGetHandleByUUID(self, name: str) -> int:
        return int(name.removeprefix("GPU-"), 16)

    def nvmlDeviceGetIndex(self, handle: int) -> int:
        return handle

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(used=handle * 10**9, total=10 * 10**9)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(gpu=10 * handle)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        raise NVMLError("not supported")


def measured(monkeypatch: pytest.MonkeyPatch, *, ranks: int, **variables: str) -> dict[str, float]:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "pynvml", Driver(4))
    return {name: value for name, value in SystemSampler(ranks).sample().items() if name.startswith("gpu_")}


def numbers(values: dict[str, float]) -> list[int]:
    return sorted({int(name.split("_")[1]) for name in values})


def test_gpus_are_measured_under_their_number_on_the_node_and_what_the_driver_refuses_is_left_out(monkeypatch):
    assert measured(monkeypatch, ranks=1, CUDA_VISIBLE_DEVICES="3") == {
        "gpu_3_memory_usage_percentage": 30.0,
        "gpu_3_memory_usage_megabytes": 3000.0,
        "gpu_3_utilization_percentage": 30.0,
    }


@pytest.mark.parametrize(
    ("ranks", "variables", "expected"),
    [
        (2, {}, [0, 1, 2, 3]),
        (2, {"CUDA_VISIBLE_DEVICES": "2,3"}, [2, 3]),
        (2, {"CUDA_VISIBLE_DEVICES": "GPU-1,GPU-2"}, [1, 2]),
        (2, {"CUDA_VISIBLE_DEVICES": "2", "SLURM_STEP_GPUS": "2,3"}, [2, 3]),
        (4, {"CUDA_VISIBLE_DEVICES": "0"}, [0, 1, 2, 3]),
        (1, {"CUDA_VISIBLE_DEVICES": "7"}, [0, 1, 2, 3]),
        (1, {"CUDA_VISIBLE_DEVICES": "MIG-1f"}, [0, 1, 2, 3]),
        (1, {"CUDA_VISIBLE_DEVICES": ""}, []),
        (1, {"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, []),
    ],
)
def test_only_the_jobs_gpus_are_measured_where_they_can_be_told(monkeypatch, ranks, variables, expected):
    assert numbers(measured(monkeypatch, ranks=ranks, **variables)) == expected


def test_the_numbers_of_a_control_group_win_over_those_of_the_node():
    environ = {"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_STEP_GPUS": "5,6"}
    assert own_gpus(environ, there=2, local_world_size=2) == ["0", "1"]


def test_a_slice_of_a_gpu_is_one_also_by_its_older_name():
    for name in ("MIG-4f2f1a", "MIG-GPU-4f2f1a/7/0"):
        assert device(Place(), {"CUDA_VISIBLE_DEVICES": name}) == "cuda:0"


def test_a_job_without_gpus_computes_on_the_cpu():
    assert device(Place(), {"CUDA_VISIBLE_DEVICES": "NoDevFiles"}) == "cpu"
