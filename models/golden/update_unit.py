# SPDX-License-Identifier: Apache-2.0
"""Update unit: chi memory, outer product, threshold transfer."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore.models.engine.jit import compiled
from phasecore.models.golden.fixed_point import copy
from phasecore.models.golden.programmer import pulses
from phasecore.models.golden.state import Block, Cores, Geometry, Number, View

__all__ = ["UpdateUnit", "add_increments", "outer", "transfer"]

RIGHT_SHIFT_MAX = 16
"""A product of two bytes shifted right by more is 0."""

Words = NDArray[np.int32]


@compiled
def outer(cores: Cores, geometry: Geometry, k: int, i: Any) -> None:
    """OUTER with the fields ``i``."""
    scalars, cols = cores.scalars[k], slice(i.col_start, i.col_start + i.col_count)
    x, d = cores.slots[k, i.slot], cores.deltas[cols]
    copy(d, cores.slots[k, i.delta, cols])
    shift = cores.exponents[k, i.delta] + i.chi_shift
    visited = saturated = 0
    for row in range(i.row_start, i.row_start + i.row_count):
        if not x[row]:
            continue
        clipped, largest = add_increments(
            cores.chi[k, row, cols], x[row], d, shift, geometry.chi_bits
        )
        visited += 1
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
def add_increments(chi: Words, x: int, d: Words, shift: int, bits: int) -> tuple[int, int]:
    """Add the increments of a row; saturated sums and the largest magnitude.

    Every number fits in 32 bits, which the casts say, since vectors then have twice the lanes.
    """
    code = np.int32(0 if shift < -RIGHT_SHIFT_MAX else x)
    # Any product but 0 leaves chi when it is shifted left by as much as its bits.
    left, right = np.int32(max(min(shift, bits), 0)), np.int32(min(max(-shift, 0), RIGHT_SHIFT_MAX))
    high = np.int32((1 << (bits - 1)) - 1)
    low = np.int32(-high - 1)
    # The smallest product that is saturated when it is shifted left.
    bound = np.int32((high >> left) + 1)
    half = np.int32((1 << right >> 1) - 1 if right else 0)
    odd = np.int32(1 if right else 0)
    saturated, largest = np.int32(0), np.int32(0)
    for j in range(len(d)):
        product = np.int32(code * d[j])
        rounded = np.int32(product + np.int32(half + np.int32(np.int32(product >> right) & odd)))
        shifted = np.int32(rounded >> right)
        kept = np.int32(min(max(shifted, np.int32(-bound)), bound))
        increment = np.int32(min(max(np.int32(kept << left), low), high))
        total = np.int32(chi[j] + increment)
        new = np.int32(min(max(total, low), high))
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

    chi = View("chi")
    products = Number("update_products")
    chi_saturations = Number("update_chi_saturations")
    transfer_saturations = Number("update_transfer_saturations")
