# SPDX-License-Identifier: Apache-2.0
"""Phase-change devices: published equations in uS, the integer tables made from them, and the hash.

Everything random is a function of (seed, stream, index, event), so that RTL and model see the
same draw; see docs/contract/device.md.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phasecore.models.golden.fixed_point import Int
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.parameters import Parameters, number, text

__all__ = [
    "IDEAL",
    "N_MAX",
    "PCM",
    "PCM_DRIFT",
    "PCM_INFERENCE",
    "PROFILES",
    "PROJECTED_PCM",
    "STUCK",
    "DeviceProfile",
    "DeviceTables",
    "Stream",
    "drifted",
    "gauss",
    "initial_state",
    "key",
    "line_errors",
    "line_keys",
    "log2",
    "mix",
    "noise_at",
]

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

_TABLE_LOG2 = 6
_SMOOTH = np.arange((1 << _TABLE_LOG2) + 1) / (1 << _TABLE_LOG2)

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
    DRIFT = 6
    STUCK = 7
    DEAD_ROW = 8
    DEAD_COL = 9
    DEAD_ADC = 10
    WRITE = 11


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


def _unlikely(seed: int, stream: int, index: ArrayLike, fraction: float) -> NDArray[np.bool_]:
    """True for a ``fraction`` of the ``index``, drawn from the hash."""
    chosen: NDArray[np.bool_] = key(seed, stream, index, 0) < np.uint64(round(fraction * 2**32))
    return chosen


def _interpolated(table: Int, fraction: Int) -> Int:
    """Values of a table of 65 points at ``fraction`` (1/65536) of its way."""
    shift = 16 - _TABLE_LOG2
    index, rest = fraction >> shift, fraction & (1 << shift) - 1
    low = table[index]
    result: Int = low + ((table[index + 1] - low) * rest >> shift)
    return result


def log2(tables: "DeviceTables", values: ArrayLike) -> Int:
    """Binary logarithms, 1/65536, of integers in 1..2**48."""
    x = np.asarray(values, dtype=np.int64)
    place = np.frexp(x.astype(np.float64))[1].astype(np.int64) - 1
    normal = np.where(place >= 16, x >> np.maximum(place - 16, 0), x << np.maximum(16 - place, 0))
    result: Int = (place << 16) + _interpolated(tables.log2_table, normal & 0xFFFF)
    return result


def _clamped(level: Int, line: tuple[int, int, int, int]) -> Int:
    """A straight line over a logarithm (1/65536) between its bounds."""
    slope, offset, low, high = line
    result: Int = np.clip((level * slope >> 16) + offset, low, high)
    return result


def drifted(
    tables: "DeviceTables", seed: int, time: int, g_max: int, g: Int, n: Int, e: Int, t: Int
) -> Int:
    """Conductance codes that devices have at ``time``, in seconds since power-up.

    Parameters
    ----------
    g, n, e, t : equally shaped, the devices being in the order of their indices
        Code after the latest pulse, pulses since RESET, events, and time of the latest one. A
        device programmed later than ``time``, or stuck, has not drifted.
    """
    result = g.copy()
    if not tables.drifts:
        return result
    index = np.flatnonzero((time > t) & (n != STUCK))
    codes = g.reshape(-1)[index]
    level = log2(tables, np.maximum(codes, 1)) - log2(tables, g_max)
    z = gauss(key(seed, Stream.DRIFT, index, e.reshape(-1)[index]))
    nu = np.maximum(_clamped(level, tables.nu) + (_clamped(level, tables.nu_spread) * z >> 8), 0)
    since = (time - t.reshape(-1)[index]) << TIME_FRACTION
    octaves = log2(tables, since + tables.drift_time) - log2(tables, tables.drift_time)
    exponent = np.minimum(nu * octaves >> NU_FRACTION, (1 << 20) - 1)
    shift = 16 + (exponent >> 16)
    factor = _interpolated(tables.exp2_table, exponent & 0xFFFF)
    result.reshape(-1)[index] = (codes * factor + (1 << (shift - 1))) >> shift
    return result


def noise_at(tables: "DeviceTables", time: int) -> int:
    """Read noise of one weight at ``time`` (seconds since power-up), conductance codes."""
    octaves = int(log2(tables, max(time, 1)))
    low, high = (int(tables.noise_table[(octaves >> 16) + i]) for i in range(2))
    factor = low + ((high - low) * (octaves & 0xFFFF) >> 16)
    return tables.g_noise * factor + (1 << (NOISE_FRACTION - 1)) >> NOISE_FRACTION


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
            log2_table=np.rint(65536 * np.log2(1 + _SMOOTH)).astype(np.int64),
            exp2_table=np.rint(65536 * 2**-_SMOOTH).astype(np.int64),
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


def line_errors(config: CoreConfig, profile: DeviceProfile, seed: int) -> tuple[Int, Int]:
    """Gain (1/1024) and offset (1/1024 charge per cycle) of the converter of every line."""
    lines = np.arange(config.lines)
    limit = math.floor(1024 * profile.adc_gain_limit)
    error = (round(1024 * profile.adc_gain_sd) * gauss(key(seed, Stream.ADC_GAIN, lines, 0))) >> 8
    gain: Int = 1024 + np.clip(error, -limit, limit)
    per_cycle = profile.adc_offset_sd * 2 ** (config.range_min + 10) / config.window_cycles
    offset: Int = (round(per_cycle) * gauss(key(seed, Stream.ADC_OFFSET, lines, 0))) >> 8
    dead = _unlikely(seed, Stream.DEAD_ADC, lines, profile.dead_adcs)
    gain[dead] = offset[dead] = 0
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
    Every device counts one pulse since RESET, but those that the profile lets be stuck have
    ``STUCK`` and the conductance that they will keep.
    """
    mean = profile.initial_mean if mean is None else mean
    sd = profile.initial_sd if sd is None else sd
    shape = (config.rows, config.cols, 2, config.devices_per_polarity)
    draws = np.random.default_rng(seed).normal(mean, sd, shape)
    codes = np.rint(draws * config.g_max / profile.g_full_scale).astype(np.int64)
    g: Int = np.clip(codes, profile.codes(config, profile.g_min), config.g_max)
    n = np.ones(shape, dtype=np.int64)
    index = np.arange(g.size).reshape(shape)
    high = _unlikely(seed, Stream.STUCK, index, profile.stuck_high)
    low = _unlikely(seed, Stream.STUCK, index, profile.stuck_high + profile.stuck_low) & ~high
    low |= _unlikely(seed, Stream.DEAD_ROW, np.arange(shape[0]), profile.dead_rows)[
        :, None, None, None
    ]
    low |= _unlikely(seed, Stream.DEAD_COL, np.arange(shape[1]), profile.dead_cols)[:, None, None]
    n[low | high] = STUCK
    g[high], g[low] = config.g_max, 0
    return g, n
