# SPDX-License-Identifier: Apache-2.0
"""Single instructions of the units of a core."""

from typing import Any

import numpy as np

from phasecore.models.engine.jit import compiled
from phasecore.models.golden import post_processing, programmer, update_unit
from phasecore.models.golden.adc_interface import calibrate, compare
from phasecore.models.golden.arithmetic import Int
from phasecore.models.golden.crossbar import BOTH, drive_slot, list_driven, prepare, window
from phasecore.models.golden.packet_arrays import (
    Packets,
    Progress,
    Results,
    append_result,
    is_full,
    read_header,
)
from phasecore.models.golden.packets import HEADER_BYTES
from phasecore.models.golden.state import Cores, Geometry
from phasecore.models.golden.trace import log_vector
from phasecore.rtl.spec.core import CALIBRATION_WINDOWS_LOG2
from phasecore.rtl.spec.instructions import Opcode, PacketKind

__all__ = ["execute", "load", "product", "read"]

(
    _HALT, _LOAD, _READ, _FORWARD, _BACKWARD, _ACTIVATE, _DELTA, _OUTER, _TRANSFER, _REFRESH,
    _PROGRAM, _CALIBRATE, *_,
) = map(int, Opcode)  # fmt: skip
_VECTOR, _AFFINE = int(PacketKind.VECTOR), int(PacketKind.AFFINE)
_WINDOWS = 1 << CALIBRATION_WINDOWS_LOG2
_LARGEST = 127


@compiled
def execute(cores: Cores, geometry: Geometry, k: int, i: Any) -> None:
    """Carry out an instruction of a unit of core ``k``, ``i`` being its fields."""
    if i.opcode == _FORWARD or i.opcode == _BACKWARD:
        product(cores, geometry, k, i)
    elif i.opcode == _ACTIVATE:
        post_processing.activate(cores, geometry, k, i)
    elif i.opcode == _DELTA:
        post_processing.delta(cores, geometry, k, i)
    elif i.opcode == _OUTER:
        update_unit.outer(cores, geometry, k, i)
    elif i.opcode == _TRANSFER:
        update_unit.transfer(cores, geometry, k, i)
    elif i.opcode == _REFRESH:
        programmer.refresh(cores, geometry, k, i)
    elif i.opcode == _PROGRAM:
        programmer.program(cores, geometry, k, i)
    elif i.opcode == _CALIBRATE:
        _calibrate(cores, geometry, k, i.drift)


@compiled
def product(cores: Cores, geometry: Geometry, k: int, i: Any) -> None:
    """FORWARD or BACKWARD with the fields ``i``."""
    backward = int(i.opcode == _BACKWARD)
    start, count, lsb_log2 = i.row_start, i.row_count, i.forward_lsb_log2
    if backward:
        start, count, lsb_log2 = i.col_start, i.col_count, i.backward_lsb_log2
    drive_slot(cores, k, cores.slots[k, i.slot], i.precision, i.input_signs, start, count)
    prepare(
        cores.scalars[k],
        i.precision,
        lsb_log2,
        backward,
        i.polarities,
        0,
        i.live_start,
        i.live_stop,
    )
    window(cores, geometry, k)
    cores.scalars[k].exponent = cores.exponents[k, i.slot]


@compiled
def _calibrate(cores: Cores, geometry: Geometry, k: int, drift: int) -> None:
    sums, total = cores.sums, 0
    if drift:
        cores.x[:] = 0
        cores.x[: min(geometry.rows, geometry.cols)] = _LARGEST >> 8 - geometry.input_bits
        for half in range(2):
            _sum(cores, geometry, k, geometry.drift_lsb_log2, half + 1, 0, sums[half])
        for line in range(geometry.lines):
            total += sums[0, line] - sums[1, line]
    compare(cores.scalars[k], geometry, drift, total)
    cores.x[:] = 0
    for half in range(2):
        _sum(cores, geometry, k, geometry.lsb_log2_min, BOTH, half, sums[half])
    calibrate(cores, geometry, k, sums[0], sums[1])


@compiled
def _sum(
    cores: Cores, geometry: Geometry, k: int, lsb_log2: int, polarities: int, reference: int,
    sums: Int,
) -> None:  # fmt: skip
    """Counts of all lines, summed over the windows of a measurement of the calibration."""
    backward = int(geometry.rows > geometry.cols)
    prepare(
        cores.scalars[k], geometry.input_bits, lsb_log2, backward, polarities, reference, 0,
        geometry.lines,
    )  # fmt: skip
    list_driven(cores, k)
    sums[:] = 0
    for _ in range(_WINDOWS):
        window(cores, geometry, k)
        for line in range(geometry.lines):
            sums[line] += cores.counts[k, line]


@compiled
def load(
    cores: Cores, geometry: Geometry, k: int, i: Any, packets: Packets, progress: Progress
) -> bool:
    """LOAD from the next packet of the kind; False if there is none."""
    wanted = _AFFINE if i.affine else _VECTOR
    while progress.packet[0] + 1 < len(packets.ends):
        number = progress.packet[0]
        kind, _, start, length = read_header(packets, number, geometry.lines)
        payload = packets.data[packets.ends[number] + HEADER_BYTES :]
        progress.packet[0] += 1
        if kind != wanted:
            cores.scalars[k].dropped_packets += 1
            continue
        for at in range(length):
            if i.affine:
                cores.scales[k, i.slot, start + at] = payload[2 * at]
                cores.offsets[k, i.slot, start + at] = np.int8(payload[2 * at + 1])
            else:
                code = int(np.int8(payload[at]))
                cores.slots[k, i.slot, start + at] = code
                log_vector(cores, k, i.slot, start + at, code)
        if not i.affine:
            cores.exponents[k, i.slot] = 0
        return True
    return False


@compiled
def read(
    cores: Cores, geometry: Geometry, k: int, i: Any, results: Results, progress: Progress
) -> bool:
    """READ: one more result; False if there is no room."""
    if is_full(cores, geometry, results, progress):
        return False
    codes = cores.slots[k, i.slot, i.first_line : i.first_line + i.length]
    append_result(results, progress, i.slot, i.first_line, codes)
    return True
