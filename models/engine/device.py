# SPDX-License-Identifier: Apache-2.0
"""The hash, and one pulse on one device; see ``device.py`` and ``crossbar.py`` of ``golden``."""

from typing import Any

import numpy as np

from phasecore.models.engine.fixed_point import clip
from phasecore.models.engine.jit import compiled
from phasecore.models.engine.state import (
    DEVICE_CONDUCTANCE,
    DEVICE_E,
    DEVICE_G,
    DEVICE_N,
    DEVICE_RESETS,
    DEVICE_T,
    Cores,
    Geometry,
)
from phasecore.models.engine.trace import log_device
from phasecore.models.golden.device import N_MAX, STUCK, Stream
from phasecore.models.golden.fixed_point import Int

__all__ = ["event_key", "gauss", "mix", "reset_device", "set_device"]

_SET, _RESET = Stream.SET, Stream.RESET
_GOLDEN = 0x9E3779B9
_FACTOR_1, _FACTOR_2 = np.uint32(0x7FEB352D), np.uint32(0x846CA68B)
_SECOND = np.uint32(0x85EBCA6B)
_BYTES, _LOW = np.uint32(0x00FF00FF), np.uint32(0xFFFF)
_8, _15, _16 = np.uint32(8), np.uint32(15), np.uint32(16)


@compiled
def mix(word: Any) -> Any:
    """Scramble a 32-bit word."""
    # Integers are promoted to 64 bits; casting back at once lets the loops use 32-bit lanes.
    x = np.uint32(word ^ np.uint32(word >> _16))
    x = np.uint32(x * _FACTOR_1)
    x = np.uint32(x ^ np.uint32(x >> _15))
    x = np.uint32(x * _FACTOR_2)
    return np.uint32(x ^ np.uint32(x >> _16))


@compiled
def gauss(key: Any) -> int:
    """Normal deviate of mean 0 and deviation 256 of a hash key."""
    a, b = mix(key), mix(np.uint32(key ^ _SECOND))
    low = np.uint32(np.uint32(a & _BYTES) + np.uint32(b & _BYTES))
    high = np.uint32(np.uint32(a >> _8) & _BYTES) + np.uint32(np.uint32(b >> _8) & _BYTES)
    pairs = np.uint32(low + np.uint32(high))
    total = np.int32(np.uint32(pairs & _LOW)) + np.int32(np.uint32(pairs >> _16)) - 1020
    return int(np.int64(total) * 1254 + 512) >> 10


@compiled
def event_key(seed: int, stream: int, index: int, event: int) -> Any:
    """Hash key of an event; ``seed``, ``index`` and ``event`` are 32-bit words."""
    base = mix(np.uint32((seed ^ stream * _GOLDEN) & 0xFFFFFFFF))
    line = mix(np.uint32(base ^ np.uint32(index)))
    return mix(np.uint32(line ^ np.uint32(event)))


@compiled
def set_device(
    cores: Cores, geometry: Geometry, k: int, row: int, col: int, negative: int, device: int
) -> None:
    """One SET pulse."""
    devices, place = cores.devices[k], (row, col, negative, device)
    index = ((row * geometry.cols + col) * 2 + negative) * geometry.devices + device
    pulses = devices[DEVICE_N][place]
    if pulses != STUCK:
        old = devices[DEVICE_G][place]
        z = gauss(event_key(cores.scalars[k].seed, _SET, index, devices[DEVICE_E][place]))
        mean = cores.mu_table[pulses] + (old * geometry.mu_slope >> 8)
        deviation = max(cores.sd_table[pulses] + (old * geometry.sd_slope >> 8), 0)
        delta = (mean * 256 + deviation * z + 2048) >> 12
        devices[DEVICE_N][place] = min(pulses + 1, N_MAX)
        new = clip(old + delta, geometry.g_min, geometry.g_max)
        _store(cores, k, place, new)
    _count(devices, place, cores.scalars[k].crossbar_time)
    log_device(cores, k, index, 0, devices[DEVICE_G][place])
    cores.scalars[k].crossbar_set_pulses += 1


@compiled
def reset_device(
    cores: Cores, geometry: Geometry, k: int, row: int, col: int, negative: int, device: int
) -> None:
    """One RESET pulse."""
    devices, place = cores.devices[k], (row, col, negative, device)
    index = ((row * geometry.cols + col) * 2 + negative) * geometry.devices + device
    if devices[DEVICE_N][place] != STUCK:
        z = gauss(event_key(cores.scalars[k].seed, _RESET, index, devices[DEVICE_E][place]))
        value = (geometry.reset_mean * 256 + geometry.reset_sd * z + 2048) >> 12
        devices[DEVICE_N][place] = 0
        _store(cores, k, place, clip(value, 0, geometry.g_max))
    _count(devices, place, cores.scalars[k].crossbar_time)
    log_device(cores, k, index, 1, devices[DEVICE_G][place])
    devices[DEVICE_RESETS][place] += 1
    cores.scalars[k].crossbar_reset_pulses += 1


@compiled
def _store(cores: Cores, k: int, place: tuple[int, int, int, int], new: int) -> None:
    """A device's new conductance code, which has not drifted yet, and its weight."""
    row, col, negative, _ = place
    devices, weights, peaks = cores.devices[k], cores.weights[k], cores.peaks[k]
    change = new - devices[DEVICE_CONDUCTANCE][place]
    weights[row, col] += -change if negative else change
    weight = abs(int(weights[row, col]))
    peaks[0, row], peaks[1, col] = max(peaks[0, row], weight), max(peaks[1, col], weight)
    devices[DEVICE_G][place] = devices[DEVICE_CONDUCTANCE][place] = new


@compiled
def _count(devices: Int, place: tuple[int, int, int, int], time: int) -> None:
    """A device's event."""
    devices[DEVICE_E][place] = (devices[DEVICE_E][place] + 1) & 0xFFFFFFFF
    devices[DEVICE_T][place] = time
