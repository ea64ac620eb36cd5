# SPDX-License-Identifier: Apache-2.0
"""Integration windows; see ``models/golden/crossbar.py``."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore.models.engine.device import gauss, mix
from phasecore.models.engine.fixed_point import clip, isqrt
from phasecore.models.engine.jit import compiled
from phasecore.models.engine.state import DEVICE_CONDUCTANCE, Cores, Geometry
from phasecore.models.golden.fixed_point import Int

__all__ = ["drive_slot", "prepare", "window"]

BOTH = 3
"""Polarities of a product; row reads connect one."""

LARGEST_DEVIATION = (1 << 31) - 1
"""Of the read noise, 1/4096 count."""

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
    driven, squares, largest = _measure(x[:driving], cores.peaks[k, scalars.backward])
    _convert(
        cores.counts[k, lines], charge, cores.gain[k, lines], cores.offset[k, lines],
        cores.noise_keys[k, lines], scalars.crossbar_windows,
        _noise_scale(geometry, scalars, squares), cycles, scalars.range,
    )  # fmt: skip
    cores.counts[k, sensed:] = 0
    cores.at_limit[k, :] = False
    if scalars.polarities != BOTH:
        largest = driven * geometry.devices * geometry.g_max
    gain = offset = 0
    for line in range(scalars.first, scalars.first + len(charge)):
        gain = max(gain, cores.gain[k, line])
        offset = max(offset, abs(cores.offset[k, line]))
    if _may_reach_limit(geometry, scalars, driven, largest, gain, offset):
        _count_exactly(cores, geometry, k, x[:driving], driven, len(charge))
    scalars.crossbar_windows = (scalars.crossbar_windows + 1) & 0xFFFFFFFF


@compiled
def _measure(x: Int, peaks: Int) -> Any:
    """Lines driven, the sum of their squared widths, and of the bounds of their weights."""
    driven = squares = largest = 0
    for i in range(len(x)):
        driven += x[i] != 0
        squares += x[i] * x[i]
        largest += peaks[i] if x[i] else 0
    return driven, squares, largest


@compiled
def _noise_scale(geometry: Geometry, scalars: Any, squares: int) -> int:
    """Deviation of the read noise, 1/4096 count, when the squared widths sum to ``squares``."""
    polarities = (scalars.polarities & 1) + (scalars.polarities >> 1)
    norm = isqrt((squares * polarities << 8) // 2)
    device = min((scalars.crossbar_g_noise * norm << 8) >> scalars.range, LARGEST_DEVIATION)
    converter = geometry.adc_noise << 4
    return isqrt(device * device + converter * converter)


@compiled
def _may_reach_limit(
    geometry: Geometry, scalars: Any, driven: int, largest: int, gain: int, offset: int
) -> bool:
    """Whether a line could count ``increment_max`` in a cycle; never wrongly False.

    ``largest`` bounds the current of the devices.
    """
    current = largest + (geometry.reference_current if scalars.reference else 0)
    counts = (gain * current + offset) / float(1 << (scalars.range + 10))
    # The norm grows by sqrt(lines) per cycle at most; a deviate is below 5; roots are floored.
    device = scalars.crossbar_g_noise * (np.sqrt(driven) + 1) / float(1 << scalars.range)
    noise = 5 * (device + geometry.adc_noise / 256) + 0.1
    return counts + noise + 1 > geometry.increment_max


@compiled
def _count_exactly(
    cores: Cores, geometry: Geometry, k: int, x: Int, driven: int, lines: int
) -> None:
    """Count again, cycle by cycle, on those of the ``lines`` that may reach the limit."""
    scalars = cores.scalars[k]
    scales, steps = cores.noise_scales, cores.steps
    cycles = 1 << (scalars.precision - 1)
    steps[:] = 0
    for i in range(len(x)):
        steps[abs(x[i])] += 1
    squares, on = 0, len(x) - steps[0]
    for cycle in range(cycles):
        squares += on * (2 * cycle + 1)
        scales[cycle] = _noise_scale(geometry, scalars, squares)
        on -= steps[cycle + 1]
    for line in range(scalars.first, scalars.first + lines):
        largest = 0
        for i in range(len(x)):
            if x[i]:
                largest += abs(_weight(cores, geometry, k, i, line))
        gain, offset = cores.gain[k, line], abs(cores.offset[k, line])
        if _may_reach_limit(geometry, scalars, driven, largest, gain, offset):
            _integrate(cores, geometry, k, x, line, cycles)


@compiled
def _integrate(cores: Cores, geometry: Geometry, k: int, x: Int, line: int, cycles: int) -> None:
    """Count on a line; what exceeds ``increment_max`` in a cycle is lost."""
    scalars, steps, limit = cores.scalars[k], cores.steps, geometry.increment_max
    steps[:] = 0
    for i in range(len(x)):
        if x[i]:
            step = np.sign(x[i]) * _weight(cores, geometry, k, i, line)
            steps[0] += step
            steps[abs(x[i])] -= step
    key = np.uint32(cores.noise_keys[k, line] ^ np.uint32(scalars.crossbar_windows))
    z = gauss(mix(key))
    current = geometry.reference_current if scalars.reference else 0
    charge = count = before = 0
    at_limit = False
    for cycle in range(cycles):
        current += steps[cycle]
        charge += cores.gain[k, line] * current + cores.offset[k, line]
        noise = (cores.noise_scales[cycle] * z << scalars.range) >> 10
        after = (charge + noise) >> (scalars.range + 10)
        increment = clip(after - before, -limit, limit)
        at_limit |= abs(increment) == limit
        count += increment
        before = after
    cores.counts[k, line] = count
    cores.at_limit[k, line] = at_limit


@compiled
def _weight(cores: Cores, geometry: Geometry, k: int, driven: int, sensed: int) -> int:
    """Weight between two lines, of the polarities that are connected."""
    scalars = cores.scalars[k]
    row, col = (sensed, driven) if scalars.backward else (driven, sensed)
    if scalars.polarities == BOTH:
        return int(cores.weights[k, row, col])
    total = 0
    for device in range(geometry.devices):
        for negative in range(2):
            if scalars.polarities >> negative & 1:
                g = cores.devices[k, DEVICE_CONDUCTANCE, row, col, negative, device]
                total += -g if negative else g
    return total


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
    cycles: int, range_: int,
) -> None:  # fmt: skip
    """Counts of the charges with the noise of window ``number``."""
    event = np.uint32(number)
    for j in range(len(charge)):
        phase = gain[j] * np.int64(charge[j]) + offset[j] * cycles
        if scale:
            phase += (scale * gauss(mix(np.uint32(keys[j] ^ event))) << range_) >> 10
        counts[j] = phase >> (range_ + 10)
