# SPDX-License-Identifier: Apache-2.0
"""Phase-change devices: equations, the integers made from them, and what pulses and time do."""

from phasecore.models.golden.device.profiles import (
    IDEAL,
    PCM,
    PCM_DRIFT,
    PCM_INFERENCE,
    PROFILES,
    PROJECTED_PCM,
    DeviceProfile,
)
from phasecore.models.golden.device.tables import N_MAX, STUCK, DeviceTables

__all__ = [
    "IDEAL", "N_MAX", "PCM", "PCM_DRIFT", "PCM_INFERENCE", "PROFILES", "PROJECTED_PCM", "STUCK",
    "DeviceProfile", "DeviceTables",
]  # fmt: skip
