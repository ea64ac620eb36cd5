# SPDX-License-Identifier: Apache-2.0
"""Post-processing: activations and error vectors (docs/contract)."""

from typing import Any

import numpy as np

from phasecore.models.engine.jit import compiled
from phasecore.models.golden.adc_interface import read_out
from phasecore.models.golden.arithmetic import Int
from phasecore.models.golden.fixed_point import (
    CODE_MAX,
    clip,
    copy,
    round_shift,
    saturate_code,
    wrapped,
)
from phasecore.models.golden.state import Block, Cores, Geometry, Number, View
from phasecore.models.golden.trace import log_code, log_vector
from phasecore.rtl.spec.core import ACTIVATION_INDEX_MAX, EXPONENT_BITS
from phasecore.rtl.spec.instructions import DeltaSource, Function

__all__ = [
    "SIGMOID",
    "TANH",
    "PostProcessing",
    "activate",
    "activation",
    "delta",
    "derivative",
    "normalise",
    "overflows",
]

SCALE_ONE = 128
"""Affine scale of 1.0 (unsigned 1.7)."""

OFFSET_FRACTION_BITS = 6
"""Bits by which an offset (7.1) is shifted to the fraction of a scaled code (x.7)."""

_index = np.arange(-ACTIVATION_INDEX_MAX, ACTIVATION_INDEX_MAX + 1)
_positive = np.rint(CODE_MAX / (1 + np.exp(-np.abs(_index) / 32))).astype(np.int64)
SIGMOID: Int = np.where(_index >= 0, _positive, CODE_MAX - _positive)
"""Sigmoid of -255/32 .. 255/32 in 1/127, at ``index + 255``."""

TANH: Int = np.sign(_index) * np.rint(CODE_MAX * np.tanh(np.abs(_index) / 64)).astype(np.int64)
"""Hyperbolic tangent of -255/64 .. 255/64 in 1/127, at ``index + 255``."""

_NONE, _IDENTITY, _RELU, _SIGMOID, _TANH = map(int, Function)
_SIGMOID_TABLE, _TANH_TABLE = SIGMOID, TANH
_DIFFERENCE, _MANTISSAS = int(DeltaSource.DIFFERENCE), int(DeltaSource.MANTISSAS)
_SUM_SHIFT_MAX = 24
"""Most places by which NORMALISE shifts right; what is still larger is saturated."""

_EXPONENT_MAX = (1 << (EXPONENT_BITS - 1)) - 1


@compiled
def activate(cores: Cores, geometry: Geometry, k: int, i: Any) -> None:
    """ACTIVATE with the fields ``i``."""
    scalars, accumulators = cores.scalars[k], cores.accumulators[k]
    start, count = _processed(cores, geometry, k, i, i.from_slot)
    limit = 1 << (geometry.acc_bits - 1)
    vector = cores.slots[k, i.destination]
    sums = codes = 0
    for at in range(count):
        line = start + at
        a = _scaled(cores, k, i, line, cores.codes[at])
        if i.accumulate:
            a += accumulators[line]
        s = clip(a, -limit, limit - 1)
        sums += s != a
        accumulators[line] = s
        if i.function == _NONE:
            continue
        u = round_shift(s, i.shift)
        to = wrapped(i.destination_line + at, geometry.lines)
        vector[to] = activation(u, i.function)
        log_vector(cores, k, i.destination, to, vector[to])
        codes += overflows(u, i.function)
    scalars.post_accumulator_saturations += sums
    scalars.post_code_saturations += codes
    if i.function != _NONE:
        cores.exponents[k, i.destination] = 0


@compiled
def delta(cores: Cores, geometry: Geometry, k: int, i: Any) -> None:
    """DELTA with the fields ``i``."""
    scalars, accumulators = cores.scalars[k], cores.accumulators[k]
    start, count = _processed(cores, geometry, k, i, i.source)
    exponent = scalars.exponent
    if i.source:
        exponent = cores.exponents[k, i.slot] if i.source == _MANTISSAS else 0
    outputs = cores.slots[k, i.output]
    largest = 0
    for at in range(count):
        line = start + at
        y = outputs[line]
        m = 2 * cores.codes[at]
        if i.source == _DIFFERENCE:
            m -= 2 * y
        elif i.source != _MANTISSAS:
            m += 1
        v = m * derivative(y, i.function)
        accumulators[line] = v
        largest = max(largest, abs(v))
    shift = i.shift
    if not i.fixed:
        shift = _normalising(largest)
    values = accumulators[start : start + count]
    _write_mantissas(cores, geometry, k, i, values, shift, exponent + shift + i.bias)


@compiled
def normalise(cores: Cores, geometry: Geometry, k: int, i: Any, sums: Int, unit: int) -> None:
    """NORMALISE with the fields ``i``; ``sums`` of the pixel become 0."""
    largest = 0
    for value in sums:
        largest = max(largest, abs(value))
    shift = min(_normalising(largest), _SUM_SHIFT_MAX)
    _write_mantissas(cores, geometry, k, i, sums, shift, unit + shift)
    sums[:] = 0


@compiled
def _normalising(largest: int) -> int:
    """Right shift that leaves a mantissa of a magnitude."""
    shift = 0
    while largest >> shift > CODE_MAX:
        shift += 1
    return shift


@compiled
def _write_mantissas(
    cores: Cores, geometry: Geometry, k: int, i: Any, values: Int, shift: int, exponent: int
) -> None:
    """Values, shifted right, and their exponent go to the destination of ``i``."""
    vector = cores.slots[k, i.destination]
    saturated = 0
    for at in range(len(values)):
        rounded = round_shift(values[at], shift)
        mantissa = saturate_code(rounded)
        saturated += mantissa != rounded
        to = wrapped(i.destination_line + at, geometry.lines)
        vector[to] = mantissa
        log_vector(cores, k, i.destination, to, mantissa)
    cores.scalars[k].post_code_saturations += saturated
    cores.exponents[k, i.destination] = clip(exponent, -_EXPONENT_MAX - 1, _EXPONENT_MAX)


@compiled
def _processed(cores: Cores, geometry: Geometry, k: int, i: Any, from_slot: int) -> tuple[int, int]:
    """First line and number of lines; their codes are in ``cores.codes`` from 0 on."""
    start, count = (i.row_start, i.row_count) if i.axis else (i.col_start, i.col_count)
    if from_slot:
        copy(cores.codes, cores.slots[k, i.slot, start : start + count])
    else:
        clipped, at_limit = read_out(cores, geometry, k, start, count, cores.codes)
        cores.scalars[k].adc_clipped += clipped
        cores.scalars[k].adc_overranges += at_limit
        for at in range(count):
            log_code(cores, k, cores.codes[at])
    return start, count


@compiled
def _scaled(cores: Cores, k: int, i: Any, line: int, code: int) -> int:
    """A code with its affine scale and offset, in 1/128."""
    if i.affine:
        offset = cores.offsets[k, i.table, line]
        return code * cores.scales[k, i.table, line] + (offset << OFFSET_FRACTION_BITS)
    return code * SCALE_ONE + (0 if i.from_slot else 1 << OFFSET_FRACTION_BITS)


@compiled
def activation(u: int, function: int) -> int:
    """Code that a function makes of an index, or of a sum in codes."""
    index = clip(u, -ACTIVATION_INDEX_MAX, ACTIVATION_INDEX_MAX) + ACTIVATION_INDEX_MAX
    if function == _SIGMOID:
        return _SIGMOID_TABLE[index]
    if function == _TANH:
        return _TANH_TABLE[index]
    return saturate_code(max(u, 0) if function == _RELU else u)


@compiled
def overflows(u: int, function: int) -> bool:
    """The activation of ``u`` is saturated, and counted."""
    if function == _IDENTITY:
        return abs(u) > CODE_MAX
    return function == _RELU and u > CODE_MAX


@compiled
def derivative(y: int, function: int) -> int:
    """Derivative of a function in 1/16129, from an activation."""
    if function == _SIGMOID:
        positive = max(y, 0)
        return positive * (CODE_MAX - positive)
    if function == _TANH:
        return CODE_MAX * CODE_MAX - y * y
    return CODE_MAX * CODE_MAX if function == _IDENTITY or y > 0 else 0


class PostProcessing(Block):
    """Accumulators, affine tables and saturation counters of a core.

    Attributes
    ----------
    accumulators : int64 array (accumulator_lines,), partial sums in 1/128 code by line, and behind
        them the sums of SCATTER
    scales, offsets : int64 arrays (tables, lines), unsigned 1.7 and signed 7.1
    accumulator_saturations, code_saturations : what was clipped
    """

    accumulators = View("accumulators")
    scales, offsets = View("scales"), View("offsets")
    accumulator_saturations = Number("post_accumulator_saturations")
    code_saturations = Number("post_code_saturations")
