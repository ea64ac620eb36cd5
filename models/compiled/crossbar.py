# SPDX-License-Identifier: Apache-2.0
"""Integration windows; see ``models/crossbar.py``."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arithmetic import Int
from models.compiled.arithmetic import count_nonzero
from models.compiled.device import gauss, mix
from models.compiled.jit import compiled
from models.compiled.state import DEVICE_CONDUCTANCE, Cores, Geometry

__all__ = ["drive_slot", "prepare", "window"]

BOTH = 3
"""Polarities of a product; row reads connect one."""

Charges = NDArray[np.float64]
"""Integers below 2**53: sums of them are exact, whatever their order."""


@compiled
def drive_slot(x: Int, vector: Int, precision: int, signs: int, start: int, count: int) -> None:
    """Signed cycles ``x`` of each line that a stored vector drives."""
    x[:] = 0
    for line in range(start, start + count):
        code = vector[line]
        magnitude = min(abs(code), 127) >> (8 - precision)
        if code > 0 and signs & 1:
            x[line] = magnitude
        elif code < 0 and signs & 2:
            x[line] = -magnitude


@compiled
def prepare(
    scalars: Any, precision: int, range_: int, backward: int, polarities: int, reference: int,
    first: int, stop: int,
) -> None:  # fmt: skip
    """What the next :func:`window` of a core is like, apart from ``x``; with exponent 0."""
    # Fields, not arguments of the window: literals would compile it once for each combination.
    scalars.first, scalars.stop = first, stop
    scalars.precision, scalars.range, scalars.exponent = precision, range_, 0
    scalars.backward, scalars.polarities, scalars.reference = backward, polarities, reference


@compiled
def window(cores: Cores, geometry: Geometry, k: int) -> None:
    """Drive ``cores.x`` for a window; count on lines ``first`` .. ``stop - 1``, where sensed.

    Lines that are not sensed count 0, other lines keep what they had.
    """
    x, scalars = cores.x, cores.scalars[k]
    sensed, driving = geometry.cols, geometry.rows
    if scalars.backward:
        sensed, driving = driving, sensed
    lines = slice(scalars.first, min(scalars.stop, sensed))
    charge = cores.charge[lines]
    cycles = 1 << (scalars.precision - 1)
    charge[:] = geometry.reference_current * cycles if scalars.reference else 0
    if scalars.polarities != BOTH:
        _one_polarity(charge, x, cores.devices[k, DEVICE_CONDUCTANCE], scalars)
    elif scalars.backward:
        _backward(charge, x, cores.weights[k, lines])
    else:
        _forward(charge, x, cores.weights[k], scalars.first)
    norm = int(np.sqrt(count_nonzero(x[:driving]) << 12))
    units = scalars.range + 10
    scale = (scalars.crossbar_g_noise * norm << 10) + (geometry.adc_noise << units >> 8)
    _convert(
        cores.counts[k, lines], charge, cores.gain[k, lines], cores.offset[k, lines],
        cores.noise_keys[k, lines], scalars.crossbar_windows, scale, cycles, units,
    )  # fmt: skip
    cores.counts[k, sensed:] = 0
    scalars.crossbar_windows = (scalars.crossbar_windows + 1) & 0xFFFFFFFF


@compiled
def _forward(charge: Charges, x: Int, weights: Charges, first: int) -> None:
    stop = first + len(charge)
    for i in range(len(weights)):
        if x[i]:
            code, row = float(x[i]), weights[i, first:stop]
            for j in range(len(charge)):
                charge[j] += code * row[j]


@compiled
def _backward(charge: Charges, x: Int, weights: Charges) -> None:
    low, high = 0, weights.shape[1]
    while low < high and not x[low]:
        low += 1
    while low < high and not x[high - 1]:
        high -= 1
    codes = x[low:high]
    for j in range(len(charge)):
        row = weights[j, low:high]
        total = 0
        for i in range(len(codes)):
            total += codes[i] * np.int64(row[i])
        charge[j] += total


@compiled
def _one_polarity(charge: Charges, x: Int, g: Int, scalars: Any) -> None:
    """Charges of the lines with G+ or G- alone, or neither."""
    if not scalars.polarities:
        return
    first, stop = scalars.first, scalars.first + len(charge)
    backward, negative = scalars.backward, scalars.polarities - 1
    for i in range(g.shape[1] if backward else g.shape[0]):
        if not x[i]:
            continue
        devices = g[first:stop, i, negative] if backward else g[i, first:stop, negative]
        code = -x[i] if negative else x[i]
        for j in range(len(charge)):
            total = 0
            for number in range(devices.shape[1]):
                total += devices[j, number]
            charge[j] += code * total


@compiled
def _convert(
    counts: Int, charge: Charges, gain: Int, offset: Int, keys: Any, number: int, scale: int,
    cycles: int, units: int,
) -> None:  # fmt: skip
    """Counts, worth ``2**units`` each, of the charges, with the noise of window ``number``."""
    event = np.uint32(number)
    for j in range(len(charge)):
        phase = gain[j] * np.int64(charge[j]) + offset[j] * cycles
        if scale:
            phase += scale * gauss(mix(np.uint32(keys[j] ^ event))) >> 8
        counts[j] = phase >> units
