# SPDX-License-Identifier: Apache-2.0
"""Programmer: blind pulses, selective refresh, program-and-verify."""

from typing import Any

from phasecore.models.engine.jit import compiled
from phasecore.models.golden.adc_interface import read_out
from phasecore.models.golden.crossbar import list_driven, prepare, window
from phasecore.models.golden.device.physics import reset_device, set_device
from phasecore.models.golden.fixed_point import count_nonzero, saturate_code
from phasecore.models.golden.state import Block, Cores, Geometry, Number, View

__all__ = ["Programmer", "program", "pulses", "refresh"]

POSITIVE, NEGATIVE = 1, 2
"""Polarity masks of a row read."""


@compiled
def pulses(cores: Cores, geometry: Geometry, k: int, row: int, col: int, count: int) -> None:
    """``count`` blind pulses (depressions if negative) on one weight."""
    cores.dirty[k, row] = True
    for _ in range(abs(count)):
        _pulse(cores, geometry, k, row, col, int(count < 0))


@compiled
def refresh(cores: Cores, geometry: Geometry, k: int, i: Any) -> None:
    """REFRESH with the fields ``i``."""
    for row in range(i.row_start, i.row_start + i.row_count):
        if not (i.all_rows or cores.dirty[k, row]):
            continue
        for polarity in (POSITIVE, NEGATIVE):
            _read_row(cores, geometry, k, row, polarity)
        worn = _find_worn(cores, k, i)
        if worn:
            cores.scalars[k].programmer_refreshed += worn
            _rebuild(cores, geometry, k, row)
        cores.dirty[k, row] = False


@compiled
def _find_worn(cores: Cores, k: int, i: Any) -> int:
    """Make the worn columns of the row that has been read pending, with their targets."""
    scalars, above, below = cores.scalars[k], cores.read[POSITIVE], cores.read[NEGATIVE]
    count = 0
    cores.pending[:] = False
    for col in range(i.col_start, i.col_start + i.col_count):
        larger, smaller = max(above[col], below[col]), min(above[col], below[col])
        if larger > scalars.refresh_high and smaller > scalars.refresh_low:
            cores.pending[col] = True
            cores.targets[col] = above[col] - below[col]
            count += 1
    return count


@compiled
def program(cores: Cores, geometry: Geometry, k: int, i: Any) -> None:
    """PROGRAM with the fields ``i``."""
    cores.pending[:] = False
    for col in range(i.col_start, i.col_start + i.col_count):
        cores.pending[col] = True
        cores.targets[col] = saturate_code(cores.slots[k, i.slot, col])
    _rebuild(cores, geometry, k, i.row)


@compiled
def _rebuild(cores: Cores, geometry: Geometry, k: int, row: int) -> None:
    """RESET both polarities of the pending columns, then SET one of them up to its target."""
    scalars, pending, targets = cores.scalars[k], cores.pending, cores.targets
    for col in range(geometry.cols):
        if not pending[col]:
            continue
        for negative in range(2):
            for device in range(geometry.devices):
                reset_device(cores, geometry, k, row, col, negative, device)
        scalars.programmer_reset_pulses += 2 * geometry.devices
        pending[col] = targets[col] != 0
    for _ in range(geometry.verify_iterations):
        for polarity in (POSITIVE, NEGATIVE):
            _verify(cores, geometry, k, row, polarity)
        if not count_nonzero(pending):
            return
        for col in range(geometry.cols):
            if pending[col]:
                _pulse(cores, geometry, k, row, col, int(targets[col] < 0))
    scalars.programmer_unverified += count_nonzero(pending)


@compiled
def _verify(cores: Cores, geometry: Geometry, k: int, row: int, polarity: int) -> None:
    """Columns of one polarity that have reached their targets are no longer pending."""
    pending, sign = cores.pending, 1 if polarity == POSITIVE else -1
    waits = False
    for col in range(geometry.cols):
        waits |= pending[col] and sign * cores.targets[col] > 0
    if not waits:
        return
    _read_row(cores, geometry, k, row, polarity)
    for col in range(geometry.cols):
        target = sign * cores.targets[col]
        if pending[col] and target > 0:
            pending[col] = cores.read[polarity, col] < target


@compiled
def _pulse(cores: Cores, geometry: Geometry, k: int, row: int, col: int, negative: int) -> None:
    """One SET pulse on the device that the selection counter of its kind names."""
    device = cores.selection[k, negative]
    cores.selection[k, negative] = (device + 1) % geometry.devices
    set_device(cores, geometry, k, row, col, negative, device)
    cores.scalars[k].programmer_set_pulses += 1


@compiled
def _read_row(cores: Cores, geometry: Geometry, k: int, row: int, polarity: int) -> None:
    """Conductance codes of one polarity of a row, by column, into ``cores.read``."""
    scalars, codes = cores.scalars[k], cores.read[polarity]
    cores.x[:] = 0
    cores.x[row] = 127 >> (8 - geometry.read_precision)
    prepare(
        scalars, geometry.read_precision, geometry.read_lsb_log2, 0, polarity, 0, 0, geometry.lines
    )
    list_driven(cores, k)
    window(cores, geometry, k)
    # Row reads look at devices, not at results: their clipped codes are not counted.
    read_out(cores, geometry, k, scalars.first, geometry.lines, codes)
    if polarity == NEGATIVE:
        for line in range(geometry.lines):
            codes[line] = -codes[line]


class Programmer(Block):
    """Counters and flags of a core's programmer.

    Attributes
    ----------
    selection : int64 array (2,), devices that take the next potentiation and the next depression
    dirty : bool array (rows,), rows pulsed since their last refresh
    set_pulses, reset_pulses : devices pulsed
    refreshed : worn pairs RESET
    unverified : columns that took their last pulse without having reached their target
    """

    selection, dirty = View("selection"), View("dirty")
    set_pulses, reset_pulses = Number("programmer_set_pulses"), Number("programmer_reset_pulses")
    refreshed, unverified = Number("programmer_refreshed"), Number("programmer_unverified")
