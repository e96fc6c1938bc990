"""Energy and emissions of this node, measured by codecarbon.

Out: energy in kWh and emissions in kg of CO2 equivalents since the first sample, under names such as ``energy_kwh``.
codecarbon reads the counters of CPUs and GPUs where the kernel allows it; otherwise it estimates from the processor's
nominal power. Its own configuration applies (``CODECARBON_COUNTRY_ISO_CODE`` and others); without a country the world's
average intensity is used. It sends nothing and writes no file. For one rank per node: it measures the whole machine,
but only the job's GPUs.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from ranklog.observe.node import job_gpus, load_nvml

WORLD_G_PER_KWH = 475.0
"""Average carbon intensity of electricity in the world, as codecarbon's documentation gives it (IEA)."""


class CarbonSampler:
    """Measures from its creation on.

    Args:
        local_world_size: Ranks on this node.
    """

    def __init__(self, local_world_size: int = 1) -> None:
        from codecarbon import OfflineEmissionsTracker
        from codecarbon.output_methods.base_output import BaseOutput

        class Keep(BaseOutput):  # type: ignore[misc]
            """Keeps the totals instead of writing them."""

            total: Any = None

            def out(self, total: Any, delta: Any) -> None:
                self.total = total

            live_out = out

        self._kept = Keep()
        # It prints messages at every start, whatever log_level is.
        logging.getLogger("codecarbon").disabled = True
        nvml = load_nvml()
        country = os.environ.get("CODECARBON_COUNTRY_ISO_CODE")
        self._tracker = OfflineEmissionsTracker(
            country_iso_code=country or "USA",
            **({} if country else {"force_carbon_intensity_g_co2e_kwh": WORLD_G_PER_KWH}),
            output_methods=[],
            allow_multiple_runs=True,
            tracking_mode="machine",
            # Without this it would take only this rank's GPUs, from CUDA_VISIBLE_DEVICES.
            **({} if nvml is None else {"gpu_ids": job_gpus(nvml, local_world_size)}),
            log_level="critical",
            output_handlers=[self._kept],
        )
        self._tracker.start()

    def sample(self) -> dict[str, float]:
        """Totals so far; reading the counters takes a moment."""
        self._tracker.flush()
        total = self._kept.total
        return {
            "energy_kwh": float(total.energy_consumed),
            "emissions_kg": float(total.emissions),
            "cpu_kwh": float(total.cpu_energy),
            "gpu_kwh": float(total.gpu_energy),
            "memory_kwh": float(total.ram_energy),
        }

    def close(self) -> None:
        """Stop measuring."""
        self._tracker.stop()
