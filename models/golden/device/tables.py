# SPDX-License-Identifier: Apache-2.0
"""A device profile in the integers of one configuration, as macro and kernels take them."""

from dataclasses import dataclass

import numpy as np

from phasecore.models.golden.arithmetic import Int

__all__ = ["N_MAX", "STUCK", "DeviceTables"]

N_MAX = 31
"""Pulses since RESET are counted up to here."""

STUCK = N_MAX + 1
"""In place of the pulses since RESET: of a device whose conductance never changes."""

TIME_FRACTION = 4
"""Fraction bits of the time constant of drift, seconds."""

NU_FRACTION = 20
"""Fraction bits of drift exponents."""

NOISE_FRACTION = 12
"""Fraction bits of what read noise is multiplied by in the course of time."""

NOISE_LIMIT = 1 << 17
"""Read noise of a weight, conductance codes: below it sums of noise fit 64 bits."""

TABLE_LOG2 = 6
"""log2 of the steps of the tables of logarithms and powers."""

SMOOTH = np.arange((1 << TABLE_LOG2) + 1) / (1 << TABLE_LOG2)
"""Points of these tables."""


@dataclass(frozen=True, kw_only=True)
class DeviceTables:
    """A profile in the integers of one configuration, as the macro loads them."""

    g_min: int
    """Smallest conductance code that a SET pulse leaves."""

    mu_slope: int
    """Slope of the mean SET increment, 1/4096."""

    sd_slope: int
    """Slope of its deviation, 1/4096."""

    reset_mean: int
    """Mean conductance after RESET, 1/16 code."""

    reset_sd: int
    """Its deviation, 1/16 code."""

    g_noise: int
    """Read noise of one weight one second after power-up, conductance codes."""

    adc_noise: int
    """Noise of a converter, 1/256 count."""

    mu_table: Int
    """Mean SET increment at conductance 0 by pulses since RESET before the pulse, 1/16 code."""

    sd_table: Int
    """Its deviation, 1/16 code."""

    nu: tuple[int, int, int, int]
    """Mean drift exponent over log2 of the conductance in full scales: slope, offset, least and
    largest, 1/2**20."""

    nu_spread: tuple[int, int, int, int]
    """Its deviation, likewise."""

    drift_time: int
    """Time constant of drift, 1/16 s."""

    noise_table: Int
    """Read noise 1, 2, 4 .. 2**32 s after power-up, in terms of ``g_noise``, 1/4096."""

    log2_table: Int
    """log2(1 + i/64), i = 0..64, 1/65536."""

    exp2_table: Int
    """2**(-i/64), 1/65536."""

    @property
    def drifts(self) -> bool:
        """Conductances change in the course of time."""
        return self.nu[3] > 0
