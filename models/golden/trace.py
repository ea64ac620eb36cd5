# SPDX-License-Identifier: Apache-2.0
"""Log of what the hardware shows from outside, written by the kernels where a run asks for it.

A log is a row per event in order of execution; rows of all cores follow each other. Kernels cannot
allocate, so the scheduler sees to it that there is room before an instruction begins.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore.models.engine.jit import compiled
from phasecore.models.golden.arithmetic import Int
from phasecore.models.golden.state import Cores, Geometry
from phasecore.rtl.spec.instructions import Opcode

__all__ = [
    "Trace", "has_room", "has_room_for", "larger", "log_code", "log_device", "log_vector", "no_log",
    "traces",
]  # fmt: skip

_CODE, _VECTOR, _DEVICE = range(3)
_COLUMNS = 5
"""Core, kind of event and three numbers: of a code its value, 0, 0; of a vector element slot, line
and value; of a pulse device index, 1 for RESET, and conductance code after it."""

_ROOM = 1 << 16
"""Events for which there is room at first."""

_OUTER, _TRANSFER = int(Opcode.OUTER), int(Opcode.TRANSFER)
_REFRESH, _PROGRAM = int(Opcode.REFRESH), int(Opcode.PROGRAM)


def _none() -> Int:
    return np.zeros((0, 3), dtype=np.int64)


@dataclass
class Trace:
    """What the hardware's observable results are compared with, in program order."""

    codes: Int = field(default_factory=lambda: _none()[:, 0])
    """ADC codes of every read-out, shape (n,)."""

    vectors: Int = field(default_factory=_none)
    """Slot, line and value of every element of a vector that was written, shape (n, 3)."""

    devices: Int = field(default_factory=_none)
    """Device index, 1 for RESET, conductance code after it, of every pulse, shape (n, 3)."""

    def extended(self, later: "Trace") -> "Trace":
        """This trace and a later one."""
        return Trace(
            np.concatenate([self.codes, later.codes]),
            np.concatenate([self.vectors, later.vectors]),
            np.concatenate([self.devices, later.devices]),
        )


def no_log() -> NDArray[np.int32]:
    """Log of a run that is not traced: kernels write nothing where there is no row."""
    return np.empty((0, _COLUMNS), dtype=np.int32)


def larger(log: NDArray[np.int32], used: int) -> NDArray[np.int32]:
    """The first ``used`` events, with twice the room."""
    room = np.empty((max(2 * len(log), _ROOM), _COLUMNS), dtype=np.int32)
    room[:used] = log[:used]
    return room


def traces(log: NDArray[np.int32], cores: int) -> list[Trace]:
    """Events of a log by core."""
    found = []
    for k in range(cores):
        own = log[log[:, 0] == k].astype(np.int64)
        codes, vectors, devices = (own[own[:, 1] == kind, 2:] for kind in range(3))
        found.append(Trace(codes[:, 0], vectors, devices))
    return found


@compiled
def has_room(cores: Cores, geometry: Geometry, i: Any) -> bool:
    """The log has room for all that an instruction may log, or is not written."""
    if not len(cores.log):
        return True
    rows, cols = i.row_count, i.col_count
    most = 2 * geometry.lines
    if i.opcode == _OUTER or i.opcode == _TRANSFER:
        most = rows * cols * geometry.pulse_max
    elif i.opcode == _REFRESH:
        most = rows * cols * (2 * geometry.devices + geometry.verify_iterations)
    elif i.opcode == _PROGRAM:
        most = cols * (2 * geometry.devices + geometry.verify_iterations)
    return has_room_for(cores, geometry, most)


@compiled
def has_room_for(cores: Cores, geometry: Geometry, events: int) -> bool:
    """The log has room for ``events`` and for a vector to every core, or is not written."""
    room = len(cores.log) - cores.logged[0]
    return len(cores.log) == 0 or events + len(cores.scalars) * geometry.lines <= room


@compiled
def log_code(cores: Cores, k: int, code: int) -> None:
    """An ADC code that is read out."""
    _log(cores, k, _CODE, code, 0, 0)


@compiled
def log_vector(cores: Cores, k: int, slot: int, line: int, value: int) -> None:
    """An element of a vector that is written."""
    _log(cores, k, _VECTOR, slot, line, value)


@compiled
def log_device(cores: Cores, k: int, index: int, reset: int, after: int) -> None:
    """A pulse."""
    _log(cores, k, _DEVICE, index, reset, after)


@compiled
def _log(cores: Cores, k: int, kind: int, first: int, second: int, third: int) -> None:
    if not len(cores.log):
        return
    row = cores.log[cores.logged[0]]
    row[0], row[1], row[2], row[3], row[4] = k, kind, first, second, third
    cores.logged[0] += 1
