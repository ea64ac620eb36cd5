# SPDX-License-Identifier: Apache-2.0
"""The hash, pulses, drift and noise of one device after the other (docs/contract/device.md)."""

import math

import numpy as np

from phasecore.models.golden.device import N_MAX, STUCK, DeviceProfile, DeviceTables
from phasecore.rtl.spec.core import CoreConfig
from phasecore.verification.oracle.fixed_point import Int

__all__ = [
    "ADC_GAIN", "ADC_OFFSET", "DEAD_ADC", "DRIFT", "READ_NOISE", "RESET", "SET", "drifted", "gauss",
    "key", "line_errors", "log2", "mix", "noise_at", "reset_code", "set_code",
]  # fmt: skip

READ_NOISE, SET, RESET, ADC_GAIN, ADC_OFFSET, DRIFT = range(1, 7)
DEAD_ADC = 10
"""Draws of the hash."""

WORD = 0xFFFFFFFF


def mix(word: int) -> int:
    """Scramble a 32-bit word."""
    word ^= word >> 16
    word = word * 0x7FEB352D & WORD
    word ^= word >> 15
    word = word * 0x846CA68B & WORD
    return word ^ word >> 16


def key(seed: int, draw: int, index: int, event: int) -> int:
    """Hash key of an event."""
    return mix(mix(mix((seed ^ draw * 0x9E3779B9) & WORD) ^ index) ^ event)


def gauss(word: int) -> int:
    """Normal deviate of deviation 256 from a key: the sum of the bytes of two words."""
    words = mix(word), mix(word ^ 0x85EBCA6B)
    total = sum(sum(word.to_bytes(4, "little")) for word in words)
    return ((total - 1020) * 1254 + 512) >> 10


def set_code(tables: DeviceTables, g_max: int, g: int, n: int, z: int) -> int:
    """Conductance code that a SET pulse leaves of ``g``, ``n`` pulses after RESET."""
    mean = int(tables.mu_table[n]) + (g * tables.mu_slope >> 8)
    deviation = max(int(tables.sd_table[n]) + (g * tables.sd_slope >> 8), 0)
    added = (mean * 256 + deviation * z + 2048) >> 12
    return min(max(g + added, tables.g_min), g_max)


def reset_code(tables: DeviceTables, g_max: int, z: int) -> int:
    """Conductance code that a RESET pulse leaves."""
    return min(max((tables.reset_mean * 256 + tables.reset_sd * z + 2048) >> 12, 0), g_max)


def _interpolated(table: Int, fraction: int) -> int:
    index, rest = fraction >> 10, fraction & 0x3FF
    low, high = int(table[index]), int(table[index + 1])
    return low + ((high - low) * rest >> 10)


def log2(tables: DeviceTables, value: int) -> int:
    """Binary logarithm, 1/65536."""
    place = value.bit_length() - 1
    fraction = (value << 48 >> place + 32) & 0xFFFF
    return (place << 16) + _interpolated(tables.log2_table, fraction)


def _line(level: int, line: tuple[int, int, int, int]) -> int:
    slope, offset, low, high = line
    return min(max((level * slope >> 16) + offset, low), high)


def drifted(tables: DeviceTables, g_max: int, g: int, seconds: int, z: int) -> int:
    """Conductance code ``seconds`` after the pulse that left ``g``."""
    level = log2(tables, max(g, 1)) - log2(tables, g_max)
    nu = max(_line(level, tables.nu) + (_line(level, tables.nu_spread) * z >> 8), 0)
    octaves = log2(tables, 16 * seconds + tables.drift_time) - log2(tables, tables.drift_time)
    exponent = min(nu * octaves >> 20, 0xFFFFF)
    factor = _interpolated(tables.exp2_table, exponent & 0xFFFF)
    shift = 16 + (exponent >> 16)
    return (g * factor + (1 << shift - 1)) >> shift


def noise_at(tables: DeviceTables, time: int) -> int:
    """Read noise of one weight, conductance codes."""
    octaves = log2(tables, max(time, 1))
    low, high = (int(tables.noise_table[(octaves >> 16) + i]) for i in range(2))
    return (tables.g_noise * (low + ((high - low) * (octaves & 0xFFFF) >> 16)) + 2048) >> 12


def line_errors(config: CoreConfig, profile: DeviceProfile, seed: int) -> tuple[Int, Int]:
    """Gain (1/1024) and offset (1/1024 charge per cycle) of the converter of every line."""
    limit = math.floor(1024 * profile.adc_gain_limit)
    per_cycle = profile.adc_offset_sd * 2 ** (config.lsb_log2_min + 10) / config.window_cycles
    gains, offsets = [], []
    for line in range(config.lines):
        error = round(1024 * profile.adc_gain_sd) * gauss(key(seed, ADC_GAIN, line, 0)) >> 8
        gain = 1024 + min(max(error, -limit), limit)
        offset = round(per_cycle) * gauss(key(seed, ADC_OFFSET, line, 0)) >> 8
        dead = key(seed, DEAD_ADC, line, 0) < round(profile.dead_adcs * 2**32)
        gains.append(0 if dead else gain)
        offsets.append(0 if dead else offset)
    return np.array(gains, dtype=np.int64), np.array(offsets, dtype=np.int64)


def is_free(n: int) -> bool:
    """A device that is not stuck."""
    return n != STUCK


def later(n: int) -> int:
    """Pulses since RESET after one more."""
    return min(n + 1, N_MAX)
