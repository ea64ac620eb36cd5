# SPDX-License-Identifier: Apache-2.0
"""Blind pulses, selective refresh, program-and-verify; see ``models/programmer.py``."""

from typing import Any

import numpy as np

from models.arithmetic import Int
from models.compiled.adc_interface import read_out
from models.compiled.arithmetic import saturate_code
from models.compiled.crossbar import prepare, window
from models.compiled.device import reset_device, set_device
from models.compiled.jit import compiled
from models.compiled.state import Cores, Geometry
from models.programmer import NEGATIVE, POSITIVE

__all__ = ["program", "pulses", "refresh"]


@compiled
def pulses(
    cores: Cores, geometry: Geometry, k: int, row: int, col: int, count: int
) -> None:
    """``count`` blind pulses (depressions if negative) on one weight."""
    cores.dirty[k, row] = True
    for _ in range(abs(count)):
        _pulse(cores, geometry, k, row, col, int(count < 0))


@compiled
def refresh(cores: Cores, geometry: Geometry, k: int, i: Any) -> None:
    """REFRESH with the fields ``i``."""
    scalars = cores.scalars[k]
    codes = np.empty((3, geometry.lines), dtype=np.int64)
    targets = np.empty(geometry.lines, dtype=np.int64)
    worn = np.empty(geometry.lines, dtype=np.bool_)
    for row in range(i.row_start, i.row_start + i.row_count):
        if not (i.all_rows or cores.dirty[k, row]):
            continue
        for polarity in (POSITIVE, NEGATIVE):
            _read_row(cores, geometry, k, row, polarity, codes[polarity])
        worn[:] = False
        for col in range(i.col_start, i.col_start + i.col_count):
            above, below = codes[POSITIVE, col], codes[NEGATIVE, col]
            is_worn = max(above, below) > scalars.refresh_high
            worn[col] = is_worn and min(above, below) > scalars.refresh_low
            targets[col] = above - below
        count = np.count_nonzero(worn)
        if count:
            scalars.programmer_refreshed += count
            _rebuild(cores, geometry, k, row, worn, targets)
        cores.dirty[k, row] = False


@compiled
def program(cores: Cores, geometry: Geometry, k: int, i: Any) -> None:
    """PROGRAM with the fields ``i``."""
    chosen = np.zeros(geometry.lines, dtype=np.bool_)
    chosen[i.col_start : i.col_start + i.col_count] = True
    targets = np.empty(geometry.lines, dtype=np.int64)
    for col in range(i.col_start, i.col_start + i.col_count):
        targets[col] = saturate_code(cores.slots[k, i.slot, col])
    _rebuild(cores, geometry, k, i.row, chosen, targets)


@compiled
def _rebuild(
    cores: Cores, geometry: Geometry, k: int, row: int, chosen: Any, targets: Int
) -> None:
    """RESET both polarities of the chosen columns, then SET one of them up to its target."""
    scalars = cores.scalars[k]
    pending = np.zeros_like(chosen)
    for col in np.flatnonzero(chosen):
        for negative in range(2):
            for device in range(geometry.devices):
                reset_device(cores, geometry, k, row, int(col), negative, device)
        scalars.programmer_reset_pulses += 2 * geometry.devices
        pending[col] = targets[col] != 0
    for _ in range(geometry.verify_iterations):
        _verify(cores, geometry, k, row, pending, targets)
        if not pending.any():
            return
        for col in np.flatnonzero(pending):
            _pulse(cores, geometry, k, row, int(col), int(targets[col] < 0))
    scalars.programmer_unverified += np.count_nonzero(pending)


@compiled
def _verify(
    cores: Cores, geometry: Geometry, k: int, row: int, pending: Any, targets: Int
) -> None:
    """Read the polarities of pending columns; those at their target are no longer pending."""
    codes = np.empty(geometry.lines, dtype=np.int64)
    for polarity in (POSITIVE, NEGATIVE):
        sign = 1 if polarity == POSITIVE else -1
        cols = np.flatnonzero(pending & (sign * targets > 0))
        if not len(cols):
            continue
        _read_row(cores, geometry, k, row, polarity, codes)
        for col in cols:
            pending[col] = codes[col] < abs(targets[col])


@compiled
def _pulse(cores: Cores, geometry: Geometry, k: int, row: int, col: int, negative: int) -> None:
    """One SET pulse on the device that the selection counter of its kind names."""
    scalars = cores.scalars[k]
    device = scalars.depression if negative else scalars.potentiation
    following = (device + 1) % geometry.devices
    if negative:
        scalars.depression = following
    else:
        scalars.potentiation = following
    set_device(cores, geometry, k, row, col, negative, device)
    scalars.programmer_set_pulses += 1


@compiled
def _read_row(
    cores: Cores, geometry: Geometry, k: int, row: int, polarities: int, codes: Int
) -> None:
    """Conductance codes of one polarity of a row, by column."""
    cores.x[:] = 0
    cores.x[row] = 127 >> (8 - geometry.read_precision)
    scalars = cores.scalars[k]
    prepare(
        scalars, geometry.read_precision, geometry.read_range, 0, polarities, 0, 0, geometry.lines
    )
    window(cores, geometry, k)
    # Row reads look at devices, not at results: their clipped codes are not counted.
    read_out(cores, geometry, k, scalars.first, geometry.lines, codes)
    if polarities == NEGATIVE:
        codes[:] = -codes
