# SPDX-License-Identifier: Apache-2.0
"""Phase-change devices: published equations in uS, the integer tables made from them, and the hash.

Everything random is a function of (seed, stream, index, event), so that RTL and model see the
same draw; see docs/architecture.md section 2.
"""

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.arithmetic import Int
from rtl.config import CoreConfig

__all__ = [
    "IDEAL",
    "N_MAX",
    "PCM",
    "PROFILES",
    "DeviceProfile",
    "DeviceTables",
    "Stream",
    "gauss",
    "initial_state",
    "key",
    "line_errors",
    "line_keys",
    "mix",
]

N_MAX = 31
"""Pulses since RESET are counted up to here."""

Words = NDArray[np.uint64]

_GOLDEN = 0x9E3779B9
_FACTOR_1, _FACTOR_2 = np.uint64(0x7FEB352D), np.uint64(0x846CA68B)
_MASK, _BYTES = np.uint64(0xFFFFFFFF), np.uint64(0x00FF00FF)
_8, _15, _16 = np.uint64(8), np.uint64(15), np.uint64(16)


class Stream:
    """Independent uses of the hash."""

    READ_NOISE = 1
    SET = 2
    RESET = 3
    ADC_GAIN = 4
    ADC_OFFSET = 5


def mix(value: Words | np.uint64) -> Words:
    """Scramble 32-bit words (held in 64 bits, so that products do not overflow)."""
    x = np.asarray(value, dtype=np.uint64)
    x = x ^ (x >> _16)
    x = x * _FACTOR_1 & _MASK
    x = x ^ (x >> _15)
    x = x * _FACTOR_2 & _MASK
    result: Words = x ^ (x >> _16)
    return result


def line_keys(seed: int, stream: int, index: ArrayLike) -> Words:
    """What ``key`` makes of ``seed``, ``stream`` and ``index`` before the event comes in."""
    base = mix(np.uint64((seed ^ stream * _GOLDEN) & 0xFFFFFFFF))
    return mix(base ^ np.asarray(index, dtype=np.uint64))


def key(seed: int, stream: int, index: ArrayLike, event: ArrayLike) -> Words:
    """Hash key of an event; ``index`` and ``event`` are 32-bit words."""
    return mix(line_keys(seed, stream, index) ^ np.asarray(event, dtype=np.uint64))


def gauss(keys: Words) -> Int:
    """Normal deviates of mean 0 and deviation 256, the sum of eight bytes each."""
    a, b = mix(keys), mix(keys ^ np.uint64(0x85EBCA6B))
    pairs = (a & _BYTES) + (a >> _8 & _BYTES) + (b & _BYTES) + (b >> _8 & _BYTES)
    total = ((pairs & np.uint64(0xFFFF)) + (pairs >> _16)).astype(np.int64) - 1020
    result: Int = (total * 1254 + 512) >> 10
    return result


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
    """Read noise of one weight, conductance codes."""

    adc_noise: int
    """Noise of a converter, 1/256 count."""

    mu_table: Int
    """Mean SET increment at conductance 0 by pulses since RESET before the pulse, 1/16 code."""

    sd_table: Int
    """Its deviation, 1/16 code."""


@dataclass(frozen=True, kw_only=True)
class DeviceProfile:
    """Physics of devices and converters, in uS, pulses and counts.

    A SET pulse adds N(mu, sd) with ``mu = set_mean_slope G + set_mean + set_mean_memory P`` and sd
    likewise, where ``P = exp(-pulses / memory_decay)`` counts this pulse too.
    """

    name: str = "custom"
    """Name in reports."""

    g_full_scale: float = 12.0
    """Conductance of the largest code, uS (Nandakumar et al. 2018, G_max)."""

    g_min: float = 0.1
    """Smallest conductance that a SET pulse leaves, uS (same source)."""

    set_mean: float = 0.77
    """Constant part of the mean SET increment, uS; default: an average pulse of the pcm profile."""

    set_mean_slope: float = 0.0
    """Change of the mean increment per conductance, uS/uS."""

    set_mean_memory: float = 0.0
    """Part of the mean increment that decays with the pulses since RESET, uS."""

    set_sd: float = 0.0
    """Constant part of the deviation of the SET increment, uS."""

    set_sd_slope: float = 0.0
    """Change of the deviation per conductance, uS/uS."""

    set_sd_memory: float = 0.0
    """Part of the deviation that decays with the pulses since RESET, uS."""

    memory_decay: float = 2.6
    """Pulses in which the programming memory falls by e (Nandakumar et al. 2018)."""

    reset_mean: float = 0.1
    """Mean conductance after RESET, uS (same source)."""

    reset_sd: float = 0.0
    """Deviation of the conductance after RESET, uS."""

    read_noise: float = 0.0
    """Constant part of a device's read noise, uS."""

    read_noise_slope: float = 0.0
    """Change of the read noise per conductance, uS/uS."""

    read_noise_conductance: float = 2.0
    """Conductance at which the read noise is taken, uS (assumed: a typical trained device)."""

    adc_noise: float = 0.0
    """Noise of a converter, counts (assumed)."""

    adc_gain_sd: float = 0.0
    """Relative deviation of the gains of the converters before calibration."""

    adc_gain_limit: float = 0.21
    """Largest relative gain error (Khaddam-Aljameh et al. 2021: spread of +-21 %)."""

    adc_offset_sd: float = 0.0
    """Deviation of the offsets of the converters, counts of the finest range and a full window
    (assumed)."""

    initial_mean: float = 1.6
    """Mean conductance before training, uS (Nandakumar et al. 2020, recalled)."""

    initial_sd: float = 0.83
    """Deviation of the conductance before training, uS (same)."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"name must be a string, not {self.name!r}")
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} must be a number, not {value!r}")
            if not low <= value <= high:
                raise ValueError(f"{name} must be in {low}..{high}, not {value}")
        for name in ("g_min", "reset_mean", "initial_mean"):
            if getattr(self, name) > self.g_full_scale:
                raise ValueError(
                    f"{name} must be at most g_full_scale ({self.g_full_scale}),"
                    f" not {getattr(self, name)}"
                )

    def codes(self, config: CoreConfig, conductance: float, scale: int = 1) -> int:
        """``conductance`` in uS as a multiple of 1/``scale`` conductance code, rounded."""
        return math.floor(scale * conductance * config.g_max / self.g_full_scale + 0.5)

    def tables(self, config: CoreConfig) -> DeviceTables:
        """The integer parameters of this profile."""
        memory = np.exp(-np.arange(1, N_MAX + 2) / self.memory_decay)
        noise = self.read_noise + self.read_noise_slope * self.read_noise_conductance

        def table(constant: float, remembered: float) -> Int:
            values = [self.codes(config, constant + remembered * float(p), 16) for p in memory]
            return np.array(values, dtype=np.int64)

        return DeviceTables(
            g_min=self.codes(config, self.g_min),
            mu_slope=round(4096 * self.set_mean_slope),
            sd_slope=round(4096 * self.set_sd_slope),
            reset_mean=self.codes(config, self.reset_mean, 16),
            reset_sd=self.codes(config, self.reset_sd, 16),
            g_noise=self.codes(config, noise * math.sqrt(2 * config.devices_per_polarity)),
            adc_noise=round(256 * self.adc_noise),
            mu_table=table(self.set_mean, self.set_mean_memory),
            sd_table=table(self.set_sd, self.set_sd_memory),
        )

    def to_json(self) -> str:
        """All fields as one JSON object."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "DeviceProfile":
        """Build from a mapping; missing keys keep their defaults (those of ``ideal``)."""
        known = {field.name for field in fields(cls)}
        for name in values:
            if name not in known:
                raise ValueError(
                    f"unknown device profile key {name!r}; known: {', '.join(sorted(known))}"
                )
        return cls(**values)

    @classmethod
    def load(cls, name: str = "ideal", path: str | Path | None = None) -> "DeviceProfile":
        """A named profile, or the JSON object in a file."""
        if path is None:
            if name not in PROFILES:
                raise ValueError(f"unknown device profile {name!r}; known: {', '.join(PROFILES)}")
            return PROFILES[name]
        try:
            values = json.loads(Path(path).read_text())
        except OSError as error:
            raise ValueError(f"cannot read device profile {path}: {error.strerror}") from error
        except json.JSONDecodeError as error:
            raise ValueError(f"device profile {path} is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(f"device profile must be a JSON object, not {type(values).__name__}")
        return cls.from_dict(values)


_LIMITS = {
    "g_full_scale": (1.0, 100.0),
    "g_min": (0.0, 100.0),
    "set_mean": (-10.0, 10.0),
    "set_mean_slope": (-1.0, 1.0),
    "set_mean_memory": (-10.0, 10.0),
    "set_sd": (0.0, 10.0),
    "set_sd_slope": (-1.0, 1.0),
    "set_sd_memory": (-10.0, 10.0),
    "memory_decay": (0.1, 100.0),
    "reset_mean": (0.0, 100.0),
    "reset_sd": (0.0, 10.0),
    "read_noise": (0.0, 1.0),
    "read_noise_slope": (0.0, 1.0),
    "read_noise_conductance": (0.0, 100.0),
    "adc_noise": (0.0, 16.0),
    "adc_gain_sd": (0.0, 0.5),
    "adc_gain_limit": (0.0, 0.5),
    "adc_offset_sd": (0.0, 100.0),
    "initial_mean": (0.0, 100.0),
    "initial_sd": (0.0, 10.0),
}

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
Khaddam-Aljameh et al. 2021); drift is left out."""

PROFILES = {"ideal": IDEAL, "pcm": PCM}


def line_errors(config: CoreConfig, profile: DeviceProfile, seed: int) -> tuple[Int, Int]:
    """Gain (1/1024) and offset (1/1024 charge per cycle) of the converter of every line."""
    lines = np.arange(config.lines)
    limit = math.floor(1024 * profile.adc_gain_limit)
    error = (round(1024 * profile.adc_gain_sd) * gauss(key(seed, Stream.ADC_GAIN, lines, 0))) >> 8
    gain: Int = 1024 + np.clip(error, -limit, limit)
    per_cycle = profile.adc_offset_sd * 2 ** (config.range_min + 10) / config.window_cycles
    offset: Int = (round(per_cycle) * gauss(key(seed, Stream.ADC_OFFSET, lines, 0))) >> 8
    return gain, offset


def initial_state(
    config: CoreConfig,
    profile: DeviceProfile,
    seed: int,
    *,
    mean: float | None = None,
    sd: float | None = None,
) -> tuple[Int, Int]:
    """Conductance codes and pulse counts before training, shape (rows, cols, 2, N) each.

    Conductances are drawn from N(mean, sd) in uS (default: the profile's, for ``ideal`` too: equal
    devices would give every weight the same gradient) and clipped to what a SET pulse can leave.
    Every device counts one pulse since RESET.
    """
    mean = profile.initial_mean if mean is None else mean
    sd = profile.initial_sd if sd is None else sd
    shape = (config.rows, config.cols, 2, config.devices_per_polarity)
    draws = np.random.default_rng(seed).normal(mean, sd, shape)
    codes = np.rint(draws * config.g_max / profile.g_full_scale).astype(np.int64)
    g: Int = np.clip(codes, profile.codes(config, profile.g_min), config.g_max)
    return g, np.ones(shape, dtype=np.int64)
