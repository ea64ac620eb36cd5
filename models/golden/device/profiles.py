# SPDX-License-Identifier: Apache-2.0
"""Phase-change devices and converters: published equations in uS, and named profiles."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phasecore.models.golden.arithmetic import Int
from phasecore.models.golden.device.tables import (
    N_MAX,
    NOISE_FRACTION,
    NOISE_LIMIT,
    NU_FRACTION,
    SMOOTH,
    TIME_FRACTION,
    DeviceTables,
)
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.parameters import Parameters, number, text

__all__ = [
    "IDEAL", "PCM", "PCM_DRIFT", "PCM_INFERENCE", "PROFILES", "PROJECTED_PCM", "DeviceProfile",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DeviceProfile(Parameters):
    """Physics of devices and converters, in uS, pulses, seconds and counts.

    A SET pulse adds N(mu, sd) with ``mu = set_mean_slope G + set_mean + set_mean_memory P`` and sd
    likewise, where ``P = exp(-pulses / memory_decay)`` counts this pulse too.

    ``t`` seconds after its latest pulse a device conducts ``G ((t + t0) / t0)**-nu`` with ``t0 =
    drift_time``; nu is drawn at every pulse from N(mean, sd), at least 0, mean being
    ``drift_exponent + drift_exponent_slope ln(G / g_full_scale)`` within ``drift_exponent_low`` ..
    ``drift_exponent_high``, and sd likewise from ``drift_spread``. A profile drifts if
    ``drift_exponent_high`` is above 0.

    Read noise is drawn once per line and window, as if all devices had ``read_noise_conductance``
    and had not drifted. Of one device its deviation is ``read_noise + read_noise_slope G + G
    min(read_noise_relative (G / g_full_scale)**-read_noise_power, read_noise_limit)
    sqrt(ln((t + read_time) / (2 read_time)))``; t is the time since power-up, not since the pulses
    of each device, and not below 1 s.
    """

    TITLE = KEY = "device profile"

    name: str = text("custom")
    """Name in reports."""

    g_full_scale: float = number(12.0, 1.0, 100.0)
    """Conductance of the largest code, uS (Nandakumar et al. 2018, G_max)."""

    g_min: float = number(0.1, 0.0, 100.0)
    """Smallest conductance that a SET pulse leaves, uS (same source)."""

    set_mean: float = number(0.77, -10.0, 10.0)
    """Constant part of the mean SET increment, uS; default: an average pulse of the pcm profile."""

    set_mean_slope: float = number(0.0, -1.0, 1.0)
    """Change of the mean increment per conductance, uS/uS."""

    set_mean_memory: float = number(0.0, -10.0, 10.0)
    """Part of the mean increment that decays with the pulses since RESET, uS."""

    set_sd: float = number(0.0, 0.0, 10.0)
    """Constant part of the deviation of the SET increment, uS."""

    set_sd_slope: float = number(0.0, -1.0, 1.0)
    """Change of the deviation per conductance, uS/uS."""

    set_sd_memory: float = number(0.0, -10.0, 10.0)
    """Part of the deviation that decays with the pulses since RESET, uS."""

    memory_decay: float = number(2.6, 0.1, 100.0)
    """Pulses in which the programming memory falls by e (Nandakumar et al. 2018)."""

    reset_mean: float = number(0.1, 0.0, 100.0)
    """Mean conductance after RESET, uS (same source)."""

    reset_sd: float = number(0.0, 0.0, 10.0)
    """Deviation of the conductance after RESET, uS."""

    read_noise: float = number(0.0, 0.0, 1.0)
    """Constant part of a device's read noise, uS."""

    read_noise_slope: float = number(0.0, 0.0, 1.0)
    """Change of the read noise per conductance, uS/uS."""

    read_noise_conductance: float = number(2.0, 0.001, 100.0)
    """Conductance at which the read noise is taken, uS (assumed: a typical trained device)."""

    read_noise_relative: float = number(0.0, 0.0, 1.0)
    """1/f noise in terms of the conductance, at full scale."""

    read_noise_power: float = number(0.0, 0.0, 2.0)
    """Power by which it grows with falling conductance."""

    read_noise_limit: float = number(0.2, 0.0, 1.0)
    """Its bound (AIHWKIT, PCMLikeNoiseModel)."""

    read_time: float = number(250e-9, 1e-9, 0.1)
    """Duration of a read, s (same source)."""

    drift_exponent: float = number(0.0, -1.0, 1.0)
    """Mean drift exponent at full scale."""

    drift_exponent_slope: float = number(0.0, -1.0, 1.0)
    """Its change per unit of ln(G)."""

    drift_exponent_low: float = number(0.0, 0.0, 1.0)
    """Its least value."""

    drift_exponent_high: float = number(0.0, 0.0, 1.0)
    """Its largest value; 0: no drift at all."""

    drift_spread: float = number(0.0, -1.0, 1.0)
    """Deviation of drift exponents at full scale."""

    drift_spread_slope: float = number(0.0, -1.0, 1.0)
    """Its change per unit of ln(G)."""

    drift_spread_low: float = number(0.0, 0.0, 1.0)
    """Its least value."""

    drift_spread_high: float = number(0.0, 0.0, 1.0)
    """Its largest value."""

    drift_time: float = number(20.0, 0.0625, 1e6)
    """Time constant of drift, s (AIHWKIT, PCMLikeNoiseModel, t_0)."""

    program_sd: float = number(0.0, 0.0, 10.0)
    """Error that iterative programming leaves at conductance 0, deviation in uS."""

    program_sd_slope: float = number(0.0, -10.0, 10.0)
    """Its change with the conductance in full scales, uS."""

    program_sd_square: float = number(0.0, -10.0, 10.0)
    """Likewise with its square, uS."""

    stuck_low: float = number(0.0, 0.0, 1.0)
    """Fraction of devices that always conduct nothing."""

    stuck_high: float = number(0.0, 0.0, 1.0)
    """Fraction of devices that always conduct full scale."""

    dead_rows: float = number(0.0, 0.0, 1.0)
    """Fraction of rows all of whose devices conduct nothing."""

    dead_cols: float = number(0.0, 0.0, 1.0)
    """Fraction of such columns."""

    dead_adcs: float = number(0.0, 0.0, 1.0)
    """Fraction of converters that count neither current nor offset (noise is theirs still)."""

    adc_noise: float = number(0.0, 0.0, 16.0)
    """Noise of a converter, counts (assumed)."""

    adc_gain_sd: float = number(0.0, 0.0, 0.5)
    """Relative deviation of the gains of the converters before calibration."""

    adc_gain_limit: float = number(0.21, 0.0, 0.5)
    """Largest relative gain error (Khaddam-Aljameh et al. 2021: spread of +-21 %)."""

    adc_offset_sd: float = number(0.0, 0.0, 100.0)
    """Deviation of the offsets of the converters, counts of the finest range and a full window
    (assumed)."""

    initial_mean: float = number(1.6, 0.0, 100.0)
    """Mean conductance before training, uS (Nandakumar et al. 2020, recalled)."""

    initial_sd: float = number(0.83, 0.0, 10.0)
    """Deviation of the conductance before training, uS (same)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("g_min", "reset_mean", "initial_mean"):
            if getattr(self, name) > self.g_full_scale:
                raise ValueError(
                    f"{name} must be at most g_full_scale ({self.g_full_scale}),"
                    f" not {getattr(self, name)}"
                )
        for name in ("drift_exponent", "drift_spread"):
            low, high = getattr(self, f"{name}_low"), getattr(self, f"{name}_high")
            if low > high:
                raise ValueError(f"{name}_low must be at most {name}_high ({high}), not {low}")
        if self.stuck_low + self.stuck_high > 1:
            raise ValueError(
                f"stuck_low + stuck_high must be at most 1, not {self.stuck_low + self.stuck_high}"
            )

    def read_deviation(self, conductance: ArrayLike, time: float = 1.0) -> NDArray[np.float64]:
        """Read noise of devices of ``conductance`` (uS, above 0) at a time, deviation in uS."""
        g = np.asarray(conductance, dtype=np.float64)
        relative = self.read_noise_relative * (g / self.g_full_scale) ** -self.read_noise_power
        grown = math.sqrt(math.log((max(time, 1.0) + self.read_time) / (2 * self.read_time)))
        deviation: NDArray[np.float64] = (
            self.read_noise + self.read_noise_slope * g
            + g * np.minimum(relative, self.read_noise_limit) * grown
        )  # fmt: skip
        return deviation

    def program_deviation(self, conductance: ArrayLike) -> NDArray[np.float64]:
        """Error that iterative programming to ``conductance`` (uS) leaves, deviation in uS."""
        g = np.asarray(conductance, dtype=np.float64) / self.g_full_scale
        polynomial = self.program_sd + self.program_sd_slope * g + self.program_sd_square * g**2
        deviation: NDArray[np.float64] = np.maximum(polynomial, 0)
        return deviation

    def codes(self, config: CoreConfig, conductance: float, scale: int = 1) -> int:
        """``conductance`` in uS as a multiple of 1/``scale`` conductance code, rounded."""
        return math.floor(scale * conductance * config.g_max / self.g_full_scale + 0.5)

    def tables(self, config: CoreConfig) -> DeviceTables:
        """The integer parameters of this profile."""
        memory = np.exp(-np.arange(1, N_MAX + 2) / self.memory_decay)
        noise = [float(self.read_deviation(self.read_noise_conductance, 2.0**k)) for k in range(33)]
        devices = math.sqrt(2 * config.devices_per_polarity)
        if self.codes(config, max(noise) * devices) >= NOISE_LIMIT:
            raise ValueError(
                f"read noise of a weight must be below {NOISE_LIMIT} conductance codes, not"
                f" {self.codes(config, max(noise) * devices)} (profile {self.name})"
            )

        def table(constant: float, remembered: float) -> Int:
            values = [self.codes(config, constant + remembered * float(p), 16) for p in memory]
            return np.array(values, dtype=np.int64)

        def line(name: str) -> tuple[int, int, int, int]:
            slope, offset, low, high = (
                round(2**NU_FRACTION * getattr(self, f"{name}{part}") * scale)
                for part, scale in (("_slope", math.log(2)), ("", 1), ("_low", 1), ("_high", 1))
            )
            return slope, offset, low, high

        return DeviceTables(
            g_min=self.codes(config, self.g_min),
            mu_slope=round(4096 * self.set_mean_slope),
            sd_slope=round(4096 * self.set_sd_slope),
            reset_mean=self.codes(config, self.reset_mean, 16),
            reset_sd=self.codes(config, self.reset_sd, 16),
            g_noise=self.codes(config, noise[0] * devices),
            adc_noise=round(256 * self.adc_noise),
            mu_table=table(self.set_mean, self.set_mean_memory),
            sd_table=table(self.set_sd, self.set_sd_memory),
            nu=line("drift_exponent"),
            nu_spread=line("drift_spread"),
            drift_time=round(self.drift_time * 2**TIME_FRACTION),
            noise_table=np.rint(
                [2**NOISE_FRACTION * (sd / noise[0] if noise[0] else 1) for sd in noise]
            ).astype(np.int64),
            log2_table=np.rint(65536 * np.log2(1 + SMOOTH)).astype(np.int64),
            exp2_table=np.rint(65536 * 2**-SMOOTH).astype(np.int64),
        )

    @classmethod
    def load(cls, name: str | Path = "ideal") -> "DeviceProfile":
        """One of ``PROFILES``, or the fields in a JSON file."""
        return cls.named(name, PROFILES)


IDEAL = DeviceProfile(name="ideal")
"""Every SET pulse adds the same; no spread, no noise, converters without error."""

PCM = DeviceProfile(
    name="pcm",
    set_mean=0.880,
    set_mean_slope=-0.084,
    set_mean_memory=1.40,
    set_sd=0.260,
    set_sd_slope=0.091,
    set_sd_memory=2.15,
    reset_sd=0.01,
    read_noise=0.13,
    read_noise_slope=0.03,
    adc_noise=0.5,
    adc_gain_sd=0.07,
    adc_offset_sd=2.0,
)
"""Doped Ge2Sb2Te5 mushroom cells and uncalibrated CCO converters (Nandakumar et al. 2018,
Khaddam-Aljameh et al. 2021); without drift."""

PCM_DRIFT = replace(
    PCM,
    name="pcm_drift",
    drift_exponent=0.04,
    drift_exponent_low=0.04,
    drift_exponent_high=0.04,
    drift_time=38.6,
)
"""``pcm`` with the drift of the same source, ``G (t / 38.6 s)**-0.04``, t being not below 38.6 s
there; here it starts from G at the pulse."""

PCM_INFERENCE = DeviceProfile(
    name="pcm_inference",
    g_full_scale=25.0,
    set_sd=0.260,
    reset_sd=0.01,
    read_noise_conductance=6.0,
    read_noise_relative=0.0088,
    read_noise_power=0.65,
    drift_exponent=0.0244,
    drift_exponent_slope=-0.0155,
    drift_exponent_low=0.049,
    drift_exponent_high=0.1,
    drift_spread=-0.0059,
    drift_spread_slope=-0.0125,
    drift_spread_low=0.008,
    drift_spread_high=0.045,
    program_sd=0.26348,
    program_sd_slope=1.9650,
    program_sd_square=-1.1731,
    adc_noise=0.5,
    adc_gain_sd=0.07,
    adc_offset_sd=2.0,
)
"""Weights written once by iterative programming: error of programming, drift and 1/f noise of
AIHWKIT's PCMLikeNoiseModel. It has no model of single pulses: theirs are those of ``ideal`` with
the constant spread of ``pcm``, and 6 uS is taken for a typical device (both assumed)."""

PROJECTED_PCM = replace(
    PCM_DRIFT,
    name="projected_pcm",
    drift_exponent=0.004,
    drift_exponent_low=0.004,
    drift_exponent_high=0.004,
    read_noise=0.04,
    read_noise_slope=0.01,
)
"""``pcm_drift`` with a tenth of its drift exponent and about a third of its read noise: what
projection liners are for (Koelmans et al. 2015). The numbers are assumed, not published."""

PROFILES = {
    profile.name: profile for profile in (IDEAL, PCM, PCM_DRIFT, PCM_INFERENCE, PROJECTED_PCM)
}
