# SPDX-License-Identifier: Apache-2.0
"""What pulses and time do to devices, and what they and the converters are like at first.

Written from docs/contract/device.md; the equations are those of ``DeviceProfile``.
"""

import math
from typing import NamedTuple

import numpy as np

from phasecore.models.engine.jit import compiled
from phasecore.models.golden.arithmetic import Int
from phasecore.models.golden.device.profiles import DeviceProfile
from phasecore.models.golden.device.tables import (
    N_MAX,
    NOISE_FRACTION,
    NU_FRACTION,
    STUCK,
    TABLE_LOG2,
    TIME_FRACTION,
    DeviceTables,
)
from phasecore.models.golden.fixed_point import clip
from phasecore.models.golden.hash import Draw, deviates, event_key, gauss, unlikely
from phasecore.models.golden.state import (
    DEVICE_CONDUCTANCE,
    DEVICE_DRIFTED,
    DEVICE_EVENT_TIME,
    DEVICE_EVENTS,
    DEVICE_PULSES,
    DEVICE_RESETS,
    Cores,
    Geometry,
)
from phasecore.models.golden.trace import log_device
from phasecore.rtl.spec.core import CoreConfig

__all__ = [
    "DriftTables", "drift", "drifted", "initial_state", "line_errors", "log2", "noise_at",
    "reset_device", "set_device",
]  # fmt: skip

_SET, _RESET, _DRIFT = Draw.SET, Draw.RESET, Draw.DRIFT


@compiled
def set_device(
    cores: Cores, geometry: Geometry, k: int, row: int, col: int, negative: int, device: int
) -> None:
    """One SET pulse."""
    devices, place = cores.devices[k], (row, col, negative, device)
    index = ((row * geometry.cols + col) * 2 + negative) * geometry.devices + device
    pulses = devices[DEVICE_PULSES][place]
    if pulses != STUCK:
        old = devices[DEVICE_CONDUCTANCE][place]
        z = gauss(event_key(cores.scalars[k].seed, _SET, index, devices[DEVICE_EVENTS][place]))
        mean = cores.mu_table[pulses] + (old * geometry.mu_slope >> 8)
        deviation = max(cores.sd_table[pulses] + (old * geometry.sd_slope >> 8), 0)
        delta = (mean * 256 + deviation * z + 2048) >> 12
        devices[DEVICE_PULSES][place] = min(pulses + 1, N_MAX)
        new = clip(old + delta, geometry.g_min, geometry.g_max)
        _store(cores, k, place, new)
    _count(devices, place, cores.scalars[k].crossbar_time)
    log_device(cores, k, index, 0, devices[DEVICE_CONDUCTANCE][place])
    cores.scalars[k].crossbar_set_pulses += 1


@compiled
def reset_device(
    cores: Cores, geometry: Geometry, k: int, row: int, col: int, negative: int, device: int
) -> None:
    """One RESET pulse."""
    devices, place = cores.devices[k], (row, col, negative, device)
    index = ((row * geometry.cols + col) * 2 + negative) * geometry.devices + device
    if devices[DEVICE_PULSES][place] != STUCK:
        z = gauss(event_key(cores.scalars[k].seed, _RESET, index, devices[DEVICE_EVENTS][place]))
        value = (geometry.reset_mean * 256 + geometry.reset_sd * z + 2048) >> 12
        devices[DEVICE_PULSES][place] = 0
        _store(cores, k, place, clip(value, 0, geometry.g_max))
    _count(devices, place, cores.scalars[k].crossbar_time)
    log_device(cores, k, index, 1, devices[DEVICE_CONDUCTANCE][place])
    devices[DEVICE_RESETS][place] += 1
    cores.scalars[k].crossbar_reset_pulses += 1


@compiled
def _store(cores: Cores, k: int, place: tuple[int, int, int, int], new: int) -> None:
    """A device's new conductance code, which has not drifted yet, and its weight."""
    row, col, negative, _ = place
    devices, weights, peaks = cores.devices[k], cores.weights[k], cores.peaks[k]
    change = new - devices[DEVICE_DRIFTED][place]
    weights[row, col] += -change if negative else change
    cores.transposed[k, col, row] = weights[row, col]
    weight = abs(int(weights[row, col]))
    peaks[0, row], peaks[1, col] = max(peaks[0, row], weight), max(peaks[1, col], weight)
    devices[DEVICE_CONDUCTANCE][place] = devices[DEVICE_DRIFTED][place] = new


@compiled
def _count(devices: Int, place: tuple[int, int, int, int], time: int) -> None:
    """A device's event."""
    devices[DEVICE_EVENTS][place] = (devices[DEVICE_EVENTS][place] + 1) & 0xFFFFFFFF
    devices[DEVICE_EVENT_TIME][place] = time


# Time


class DriftTables(NamedTuple):
    """Fields of ``DeviceTables`` that drift needs."""

    log2_table: Int
    exp2_table: Int
    nu: tuple[int, int, int, int]
    nu_spread: tuple[int, int, int, int]
    drift_time: int

    @classmethod
    def of(cls, tables: DeviceTables) -> "DriftTables":
        """Those of a profile."""
        return cls(*(getattr(tables, name) for name in cls._fields))


@compiled
def drift(devices: Int, tables: DriftTables, seed: int, time: int, g_max: int) -> None:
    """Make plane ``DEVICE_DRIFTED`` what devices (planes, rows, cols, 2, N) conduct at
    ``time``, in seconds since power-up, if their profile drifts at all."""
    rows, cols, copies = devices.shape[1], devices.shape[2], devices.shape[4]
    for row in range(rows):
        for col in range(cols):
            for negative in range(2):
                for device in range(copies):
                    place = (row, col, negative, device)
                    g, t = devices[DEVICE_CONDUCTANCE][place], devices[DEVICE_EVENT_TIME][place]
                    if tables.nu[3] > 0 and time > t and devices[DEVICE_PULSES][place] != STUCK:
                        index = ((row * cols + col) * 2 + negative) * copies + device
                        z = gauss(event_key(seed, _DRIFT, index, devices[DEVICE_EVENTS][place]))
                        g = drifted(tables, g_max, g, z, time - t)
                    devices[DEVICE_DRIFTED][place] = g


@compiled
def drifted(tables: DriftTables, g_max: int, g: int, z: int, seconds: int) -> int:
    """Conductance code ``seconds`` (1 or more) after the pulse that left ``g``; ``z``: deviate of
    the device's drift exponent."""
    level = log2(tables.log2_table, max(g, 1)) - log2(tables.log2_table, g_max)
    spread = _clamped(level, tables.nu_spread) * z >> 8
    nu = max(_clamped(level, tables.nu) + spread, 0)
    since = (seconds << TIME_FRACTION) + tables.drift_time
    octaves = log2(tables.log2_table, since) - log2(tables.log2_table, tables.drift_time)
    exponent = min(nu * octaves >> NU_FRACTION, (1 << 20) - 1)
    shift = 16 + (exponent >> 16)
    factor = _interpolated(tables.exp2_table, exponent & 0xFFFF)
    return (g * factor + (1 << (shift - 1))) >> shift


@compiled
def log2(table: Int, value: int) -> int:
    """Binary logarithm, 1/65536, of an integer in 1..2**48."""
    place = 0
    while value >> place > 1:
        place += 1
    normal = value >> (place - 16) if place >= 16 else value << (16 - place)
    return (place << 16) + _interpolated(table, normal & 0xFFFF)


@compiled
def _interpolated(table: Int, fraction: int) -> int:
    """Value of a table of 65 points at ``fraction`` (1/65536) of its way."""
    shift = 16 - TABLE_LOG2
    index, rest = fraction >> shift, fraction & (1 << shift) - 1
    return table[index] + ((table[index + 1] - table[index]) * rest >> shift)


@compiled
def _clamped(level: int, line: tuple[int, int, int, int]) -> int:
    """A straight line over a logarithm (1/65536) between its bounds."""
    return clip((level * line[0] >> 16) + line[1], line[2], line[3])


def noise_at(tables: DeviceTables, time: int) -> int:
    """Read noise of one weight at ``time`` (seconds since power-up), conductance codes."""
    octaves = int(log2(tables.log2_table, max(time, 1)))
    low, high = (int(tables.noise_table[(octaves >> 16) + i]) for i in range(2))
    factor = low + ((high - low) * (octaves & 0xFFFF) >> 16)
    return tables.g_noise * factor + (1 << (NOISE_FRACTION - 1)) >> NOISE_FRACTION


# Devices and converters as they are at first


def line_errors(config: CoreConfig, profile: DeviceProfile, seed: int) -> tuple[Int, Int]:
    """Gain (1/1024) and offset (1/1024 charge per cycle) of the converter of every line."""
    events = np.zeros(config.lines, dtype=np.int64)
    limit = math.floor(1024 * profile.adc_gain_limit)
    error = (round(1024 * profile.adc_gain_sd) * deviates(seed, Draw.ADC_GAIN, events)) >> 8
    gain: Int = 1024 + np.clip(error, -limit, limit)
    per_cycle = profile.adc_offset_sd * 2 ** (config.lsb_log2_min + 10) / config.window_cycles
    offset: Int = (round(per_cycle) * deviates(seed, Draw.ADC_OFFSET, events)) >> 8
    dead = unlikely(seed, Draw.DEAD_ADC, config.lines, profile.dead_adcs)
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
    high = unlikely(seed, Draw.STUCK, g.size, profile.stuck_high).reshape(shape)
    stuck = profile.stuck_high + profile.stuck_low
    low = unlikely(seed, Draw.STUCK, g.size, stuck).reshape(shape) & ~high
    rows = unlikely(seed, Draw.DEAD_ROW, config.rows, profile.dead_rows)
    low |= rows[:, None, None, None]
    low |= unlikely(seed, Draw.DEAD_COL, config.cols, profile.dead_cols)[:, None, None]
    n[low | high] = STUCK
    g[high], g[low] = config.g_max, 0
    return g, n
