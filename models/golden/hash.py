# SPDX-License-Identifier: Apache-2.0
"""The hash from which everything random comes (docs/contract/device.md).

A draw is a function of (seed, draw, index, event), so that RTL and model see the same.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore.models.engine.jit import compiled
from phasecore.models.golden.arithmetic import Int

__all__ = ["Draw", "deviates", "event_key", "gauss", "line_key", "line_keys", "mix", "unlikely"]

_GOLDEN = 0x9E3779B9
_FACTOR_1, _FACTOR_2 = np.uint32(0x7FEB352D), np.uint32(0x846CA68B)
_SECOND = np.uint32(0x85EBCA6B)
_BYTES, _LOW = np.uint32(0x00FF00FF), np.uint32(0xFFFF)
_8, _15, _16 = np.uint32(8), np.uint32(15), np.uint32(16)


class Draw:
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
    """Normal deviate of mean 0 and deviation 256 of a hash key: the sum of eight bytes."""
    a, b = mix(key), mix(np.uint32(key ^ _SECOND))
    low = np.uint32(np.uint32(a & _BYTES) + np.uint32(b & _BYTES))
    high = np.uint32(np.uint32(a >> _8) & _BYTES) + np.uint32(np.uint32(b >> _8) & _BYTES)
    pairs = np.uint32(low + np.uint32(high))
    total = np.int32(np.uint32(pairs & _LOW)) + np.int32(np.uint32(pairs >> _16)) - 1020
    return int(np.int64(total) * 1254 + 512) >> 10


@compiled
def line_key(seed: int, draw: int, index: int) -> Any:
    """What :func:`event_key` makes of ``seed``, ``draw`` and ``index`` before the event."""
    base = mix(np.uint32((seed ^ draw * _GOLDEN) & 0xFFFFFFFF))
    return mix(np.uint32(base ^ np.uint32(index)))


@compiled
def event_key(seed: int, draw: int, index: int, event: int) -> Any:
    """Hash key of an event; ``seed``, ``index`` and ``event`` are 32-bit words."""
    return mix(np.uint32(line_key(seed, draw, index) ^ np.uint32(event)))


def line_keys(seed: int, draw: int, count: int) -> NDArray[np.uint64]:
    """Keys of indices 0 .. ``count - 1``, shape (count,)."""
    found = np.zeros(count, dtype=np.uint64)
    _fill_line_keys(found, seed, draw)
    return found


def deviates(seed: int, draw: int, events: Int) -> Int:
    """Normal deviates (1/256), shape of ``events``, whose places are the indices."""
    found = np.zeros(events.size, dtype=np.int64)
    _fill_deviates(found, seed, draw, np.ascontiguousarray(events).reshape(-1))
    return found.reshape(events.shape)


def unlikely(seed: int, draw: int, count: int, fraction: float) -> NDArray[np.bool_]:
    """True for a ``fraction`` of ``count`` indices, drawn from the hash."""
    found = np.zeros(count, dtype=np.bool_)
    if fraction > 0:
        _fill_unlikely(found, seed, draw, round(fraction * 2**32))
    return found


@compiled
def _fill_line_keys(found: Any, seed: int, draw: int) -> None:
    for index in range(len(found)):
        found[index] = line_key(seed, draw, index)


@compiled
def _fill_deviates(found: Int, seed: int, draw: int, events: Int) -> None:
    for index in range(len(found)):
        found[index] = gauss(event_key(seed, draw, index, events[index]))


@compiled
def _fill_unlikely(found: Any, seed: int, draw: int, bound: int) -> None:
    for index in range(len(found)):
        found[index] = np.int64(event_key(seed, draw, index, 0)) < bound
