# SPDX-License-Identifier: Apache-2.0
"""Update unit: chi memory, outer product, threshold transfer."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore.models.engine.jit import compiled
from phasecore.models.golden.programmer import pulses
from phasecore.models.golden.state import Block, Cores, Geometry, Number, Padded

__all__ = ["UpdateUnit", "add_increments", "outer", "scaled", "transfer"]

_STEP = 16
"""Columns of a row that are done together."""

Words = NDArray[np.int32]

Increments = NDArray[np.float32]
"""Of chi, for a code of 1 of the row."""


@compiled
def outer(cores: Cores, geometry: Geometry, k: int, i: Any) -> None:
    """OUTER with the fields ``i``."""
    scalars, x = cores.scalars[k], cores.slots[k, i.slot]
    # Whole vectors of the machine: increments of 0 change nothing.
    width = min((i.col_count + _STEP - 1) // _STEP * _STEP, geometry.cols - i.col_start)
    stop, d = i.col_start + width, cores.deltas[:width]
    scaled(
        d, cores.slots[k, i.delta, i.col_start : i.col_start + i.col_count],
        cores.exponents[k, i.delta] + i.chi_shift, geometry.chi_bits,
    )  # fmt: skip
    largest_d = np.float32(0)
    for j in range(len(d)):
        largest_d = max(largest_d, abs(d[j]))
    visited = saturated = 0
    for row in range(i.row_start, i.row_start + i.row_count):
        visited += x[row] != 0
        # Half of a count is rounded to 0.
        if abs(x[row]) * largest_d <= 0.5 and not (i.transfer and x[row]):
            continue
        chi = cores.chi[k, row, i.col_start : stop]
        clipped, largest = add_increments(chi, x[row], d, geometry.chi_bits)
        saturated += clipped
        if i.transfer and largest >= i.threshold:
            _shed(cores, geometry, k, row, i)
    last = i.col_start + i.col_count - 1
    words = last // geometry.update_lanes - i.col_start // geometry.update_lanes + 1
    scalars.update_products += visited * words
    scalars.update_chi_saturations += saturated


@compiled
def transfer(cores: Cores, geometry: Geometry, k: int, i: Any) -> None:
    """TRANSFER with the fields ``i``."""
    for row in range(i.row_start, i.row_start + i.row_count):
        _shed(cores, geometry, k, row, i)


@compiled
def scaled(d: Increments, codes: Any, shift: int, bits: int) -> None:
    """An error vector, shifted left, as :func:`add_increments` takes it; zeros behind it."""
    # Any product but 0 leaves chi when it is shifted by as much as its bits, to the right it is 0.
    places = min(max(shift, -2 * bits), bits)
    factor = float(1 << places) if places >= 0 else 1 / float(1 << -places)
    d[:] = 0
    for j in range(len(codes)):
        d[j] = np.float32(codes[j] * factor)


@compiled
def add_increments(chi: Words, x: int, d: Increments, bits: int) -> tuple[int, int]:
    """Add the increments of a row, of which ``d`` is :func:`scaled`; saturated sums and the largest
    magnitude.

    Products of bytes and powers of two are exact in 32 bits, of which vectors have most lanes.
    """
    code, limit = np.float32(x), np.int32(1 << (bits - 1))
    low, high = -limit, np.int32(limit - 1)
    saturated, largest = np.int32(0), np.int32(0)
    for j in range(len(d)):
        rounded = np.rint(code * d[j])
        increment = np.int32(min(max(rounded, np.float32(low)), np.float32(high)))
        total = np.int32(chi[j] + increment)
        new = np.int32(min(max(total, np.int32(low)), high))
        saturated = np.int32(saturated + np.int32(new != total))
        largest = np.int32(max(largest, np.int32(abs(new))))
        chi[j] = new
    return int(saturated), int(largest)


@compiled
def _shed(cores: Cores, geometry: Geometry, k: int, row: int, i: Any) -> None:
    """Take the pulses of a row out of chi and give them to the devices."""
    chi = cores.chi[k, row]
    for col in range(i.col_start, i.col_start + i.col_count):
        magnitude = abs(np.int64(chi[col]))
        if magnitude < i.threshold:
            continue
        held = magnitude // i.threshold
        count = min(held, geometry.pulse_max)
        cores.scalars[k].update_transfer_saturations += held > count
        if chi[col] < 0:
            count = -count
        chi[col] -= count * i.threshold
        pulses(cores, geometry, k, row, col, count)


class UpdateUnit(Block):
    """chi of every weight of a core.

    Attributes
    ----------
    chi : int32 array (rows, cols)
    products : chi words (``update_lanes`` weights) that outer products have visited
    chi_saturations : sums clipped to ``chi_bits``
    transfer_saturations : visits that left a threshold or more in chi
    """

    chi = Padded("chi")
    products = Number("update_products")
    chi_saturations = Number("update_chi_saturations")
    transfer_saturations = Number("update_transfer_saturations")
