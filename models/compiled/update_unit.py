# SPDX-License-Identifier: Apache-2.0
"""Outer product into chi, threshold transfer; see ``models/update_unit.py``."""

from typing import Any

from models.arithmetic import Int
from models.compiled.arithmetic import clip
from models.compiled.jit import compiled
from models.compiled.programmer import pulses
from models.compiled.state import Cores, Geometry
from models.update_unit import RIGHT_SHIFT_MAX

__all__ = ["outer", "transfer"]


@compiled
def outer(cores: Cores, geometry: Geometry, k: int, i: Any) -> None:
    """OUTER with the fields ``i``."""
    scalars, cols = cores.scalars[k], slice(i.col_start, i.col_start + i.col_count)
    x, d = cores.slots[k, i.slot], cores.slots[k, i.error, cols]
    shift = cores.exponents[k, i.error] + i.chi_shift
    last = i.col_start + i.col_count - 1
    words = last // geometry.update_lanes - i.col_start // geometry.update_lanes + 1
    for row in range(i.row_start, i.row_start + i.row_count):
        if not x[row]:
            continue
        chi = cores.chi[k, row, cols]
        saturated, largest = _add(chi, x[row], d, shift, geometry.chi_bits)
        scalars.update_products += words
        scalars.update_chi_saturations += saturated
        if i.transfer and largest >= i.threshold:
            _shed(cores, geometry, k, row, i)


@compiled
def transfer(cores: Cores, geometry: Geometry, k: int, i: Any) -> None:
    """TRANSFER with the fields ``i``."""
    for row in range(i.row_start, i.row_start + i.row_count):
        _shed(cores, geometry, k, row, i)


@compiled
def _add(chi: Int, x: int, d: Int, shift: int, bits: int) -> tuple[int, int]:
    """Add a row's increments; saturated sums and the largest magnitude."""
    high = (1 << (bits - 1)) - 1
    low = -high - 1
    # Any product but 0 leaves chi when it is shifted left by as much as its bits.
    left, right = max(min(shift, bits), 0), max(-shift, 0)
    half = (1 << (right - 1)) - 1 if right else 0
    saturated = largest = 0
    if right > RIGHT_SHIFT_MAX:
        x = right = half = 0
    for j in range(len(d)):
        product = x * d[j]
        odd = product >> right & 1 if right else 0
        increment = clip((product + half + odd) >> right << left, low, high)
        total = chi[j] + increment
        kept = clip(total, low, high)
        saturated += kept != total
        largest = max(largest, abs(kept))
        chi[j] = kept
    return saturated, largest


@compiled
def _shed(cores: Cores, geometry: Geometry, k: int, row: int, i: Any) -> None:
    """Take the pulses of a row out of chi and give them to the devices."""
    chi = cores.chi[k, row]
    for col in range(i.col_start, i.col_start + i.col_count):
        magnitude = abs(chi[col])
        if magnitude < i.threshold:
            continue
        held = magnitude // i.threshold
        count = min(held, geometry.pulse_max)
        cores.scalars[k].update_transfer_saturations += held > count
        if chi[col] < 0:
            count = -count
        chi[col] -= count * i.threshold
        pulses(cores, geometry, k, row, col, count)
