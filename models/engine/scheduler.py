# SPDX-License-Identifier: Apache-2.0
"""Programs of all cores, each as far as it can go, in turn.

Each object has one producer and each program is sequential (a Kahn process network), so results
do not depend on whose turn it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from phasecore.models.engine.jit import compiled
from phasecore.models.engine.programs import (
    HALTED,
    NO_HALT,
    WAITS,
    Decoder,
    Programs,
    Segments,
    next_instruction,
)
from phasecore.models.engine.reference import reference
from phasecore.models.golden import network_interface, trace
from phasecore.models.golden.instructions import execute, load, read
from phasecore.models.golden.noc import Noc
from phasecore.models.golden.packet_arrays import Packets, Progress, Results
from phasecore.models.golden.packets import Result
from phasecore.models.golden.state import Cores, CoreState, Geometry
from phasecore.rtl.spec.instructions import Opcode, Unit

__all__ = ["Engine", "RunResult", "waits_for_send"]

_HALT, _LOAD, _READ = int(Opcode.HALT), int(Opcode.LOAD), int(Opcode.READ)
_ACTIVATE, _DELTA, _WAIT = int(Opcode.ACTIVATE), int(Opcode.DELTA), int(Opcode.WAIT)
_SEND, _AWAIT, _RELEASE = int(Opcode.SEND), int(Opcode.AWAIT), int(Opcode.RELEASE)
_REFRESH, _PROGRAM = int(Opcode.REFRESH), int(Opcode.PROGRAM)
_CALIBRATE, _GATHER = int(Opcode.CALIBRATE), int(Opcode.GATHER)
_SCATTER, _NORMALISE = int(Opcode.SCATTER), int(Opcode.NORMALISE)
_SENDER = int(Unit.READ)


@dataclass(frozen=True)
class RunResult:
    """What a run of programs came to."""

    finished: bool
    """All have come to their ends."""
    results: list[Result]
    programs: Programs
    packets: int
    """Packets taken."""
    traces: list[trace.Trace]
    """By core, of a run that is traced."""


class Engine:
    """Runs programs on the cores of ``state``, in place."""

    def __init__(self, state: CoreState):
        self._state = state
        self._decoder = Decoder(state.config)

    def programs(
        self, words: Sequence[Sequence[int] | None], segments: Sequence[Segments]
    ) -> Programs:
        """Programs to run on every core but those with None.

        ``ValueError`` for an instruction that the hardware would refuse.
        """
        return Programs.of(self._decoder, segments, words)

    def run(self, programs: Programs, noc: Noc, packets: Packets, *, traced: bool) -> RunResult:
        """Run them from where they are."""
        state = self._state
        room, progress = Results.room(state.geometry.lines), Progress.start()
        log = trace.larger(trace.no_log(), 0) if traced else trace.no_log()
        state.cores.logged[0] = 0
        while True:
            cores = state.cores._replace(log=log)
            finished = _run(cores, state.geometry, noc, programs, packets, room, progress)
            if not progress.full[0]:
                break
            room = room.larger()
            if traced:
                log = trace.larger(log, int(cores.logged[0]))
        events = []
        if traced:
            events = trace.traces(log[: int(state.cores.logged[0])], len(programs.places))
        results = room.packets(int(progress.result[0]))
        return RunResult(finished, results, programs, int(progress.packet[0]), events)


@compiled
def _run(
    cores: Cores, geometry: Geometry, noc: Noc, programs: Programs, packets: Packets,
    results: Results, progress: Progress,
) -> bool:  # fmt: skip
    """Let all programs and the host go on; True when they have finished, False when none can.

    Call again with more room when ``progress.full`` is set.
    """
    return _take_turns(
        reference(cores), reference(geometry), reference(noc), reference(programs),
        reference(packets), reference(results), reference(progress),
    )  # fmt: skip


@compiled
def _take_turns(
    cores: Cores, geometry: Geometry, noc: Noc, programs: Programs, packets: Packets,
    results: Results, progress: Progress,
) -> bool:  # fmt: skip
    """:func:`_run`, with references."""
    progress.full[0] = 0
    while True:
        moved, left = False, False
        if noc.host >= 0:
            moved = network_interface.feed(cores, geometry, noc, packets, results, progress)
            left = progress.packet[0] + 1 < len(packets.ends)
        for k in range(len(programs.places)):
            place = programs.places[k]
            if place.status != WAITS:
                continue
            code = programs.code[programs.ends[k] : programs.ends[k + 1]]
            before = place.steps
            _advance(cores, geometry, noc, k, code, place, packets, results, progress)
            if place.status == NO_HALT:
                return False
            left |= place.status != HALTED
            moved |= place.steps != before
        if not left:
            return True
        if not moved:
            return False


@compiled
def _advance(
    cores: Cores, geometry: Geometry, noc: Noc, k: int, code: Any, place: Any,
    packets: Packets, results: Results, progress: Progress,
) -> None:  # fmt: skip
    """Let a program go on until it must wait or has finished."""
    while True:
        pc = next_instruction(code, place)
        if pc < 0:
            place.status = NO_HALT
            return
        i = code[pc]
        if not trace.has_room(cores, geometry, i):
            progress.full[0] = 1
            return
        if place.sending >= 0:
            pending = code[place.sending]
            if network_interface.send(cores, geometry, noc, k, pending, results, progress):
                place.sending = -1
                place.steps += 1
            elif waits_for_send(noc, geometry, k, i, pending):
                return
        if i.opcode == _HALT:
            place.status = HALTED
            return
        if i.opcode == _AWAIT:
            if not network_interface.all_ready(noc, k, i.objects):
                return
        elif i.opcode == _GATHER:
            if not network_interface.gather(cores, geometry, noc, k, i):
                return
        elif i.opcode == _SCATTER:
            if not network_interface.scatter(cores, geometry, noc, k, i):
                return
        elif i.opcode == _NORMALISE:
            if not network_interface.normalise(cores, geometry, noc, k, i):
                return
        elif i.opcode == _RELEASE:
            network_interface.release(noc, k, i.objects)
        elif i.opcode == _SEND:
            place.sending = pc
        elif i.opcode == _LOAD:
            if not load(cores, geometry, k, i, packets, progress):
                return
        elif i.opcode == _READ:
            if not read(cores, geometry, k, i, results, progress):
                return
        else:
            execute(cores, geometry, k, i)
        place.pc = pc + 1
        place.steps += 1


@compiled
def waits_for_send(noc: Noc, geometry: Geometry, k: int, i: Any, pending: Any) -> bool:
    """An instruction of core ``k`` must wait until a SEND has finished."""
    if i.opcode == _ACTIVATE or i.opcode == _DELTA or i.opcode == _NORMALISE:
        return pending.partial == 1 or i.destination == pending.slot
    if i.opcode == _GATHER:
        return pending.partial == 0 and i.destination == pending.slot
    if i.opcode == _WAIT:
        return i.units >> _SENDER & 1 == 1
    if i.opcode == _RELEASE:
        return network_interface.read_by_all(noc, geometry, k, i.objects)
    return (
        i.opcode == _SEND or i.opcode == _REFRESH or i.opcode == _PROGRAM
        or i.opcode == _CALIBRATE or i.opcode == _HALT
    )  # fmt: skip
