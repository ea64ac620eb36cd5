# SPDX-License-Identifier: Apache-2.0
"""Scoreboard: which units and slots an instruction must wait for."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.control.decoder import (
    EXCLUSIVE,
    MVMS,
    POSTS,
    ROWS,
    UPDATES,
    fields_of,
    opcode_of,
)
from phasecore.rtl.core.interfaces import UnitsStatus
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import (
    INSTRUCTION_BITS,
    DeltaSource,
    Function,
    Opcode,
    Unit,
)

__all__ = ["Scoreboard"]

NEEDS = (
    (POSTS, (Unit.POST,)),
    (UPDATES, (Unit.UPDATE,)),
    ((Opcode.LOAD,), (Unit.LOAD,)),
    ((Opcode.READ,), (Unit.READ,)),
    ((Opcode.GATHER, Opcode.SCATTER), (Unit.WINDOW,)),
    ((Opcode.NORMALISE,), (Unit.POST, Unit.WINDOW)),
    ((*EXCLUSIVE, Opcode.HALT), tuple(Unit)),
)
"""Units that must be idle."""


class Scoreboard(wiring.Component):
    """Compares an instruction with what the units do.

    Members
    -------
    word : In(64)
    issued : In(1)
        The instruction is issued in this cycle.
    calibrating : In(1)
    units : In(UnitsStatus)
    gathers : In(slots)
        Slots that GATHER reads.
    slots_released : In(1)
        RELEASE names an object whose vectors others than the window unit read.
    busy : Out(7)
        Units that are busy, as in ``Unit``.
    waiting : Out(7)
        Units that must become idle before the instruction can be issued.
    hazard : Out(1)
        A slot of the instruction is in use.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "word": In(INSTRUCTION_BITS),
                "issued": In(1),
                "calibrating": In(1),
                "units": In(UnitsStatus(config)),
                "gathers": In(config.slots),
                "slots_released": In(1),
                "busy": Out(len(Unit)),
                "waiting": Out(len(Unit)),
                "hazard": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        opcode = opcode_of(self.word)
        units = [getattr(self.units, unit.name.lower()) for unit in Unit]
        programming = self.units.programmer.busy
        needed = Signal(len(Unit))
        # REFRESH or PROGRAM goes on after an abort, and the next program waits for its end.
        rows = Signal()
        with m.If(self.issued & opcode.matches(*ROWS)):
            m.d.sync += rows.eq(1)
        with m.Elif(~programming):
            m.d.sync += rows.eq(0)
        m.d.comb += [
            self.busy.eq(Cat(unit.busy for unit in units)),
            self.waiting.eq(
                (self.busy & needed)
                | (self.calibrating << Unit.CROSSBAR)
                | ((rows & programming) << Unit.PROGRAMMER)
            ),
        ]
        # An OUTER that leaves the devices alone may go on beside a product.
        moving = Signal()
        outer = fields_of(self.word)[Opcode.OUTER]
        with m.If(self.issued & opcode.matches(*UPDATES)):
            m.d.sync += moving.eq((opcode != Opcode.OUTER) | outer.transfer)
        self._need(m, opcode, needed, moving)

        sources, destination = Signal(self.config.slots), Signal(self.config.slots)
        self._slots(m, opcode, sources, destination)
        reads = reduce(or_, (unit.reads for unit in units))
        writes = reduce(or_, (unit.writes for unit in units))
        m.d.comb += self.hazard.eq(
            ((sources & writes) | (destination & (reads | writes))).any()
            | ((opcode == Opcode.RELEASE) & self.slots_released & reads.any())
        )
        return m

    def _need(self, m: Module, opcode: Value, needed: Signal, moving: Signal) -> None:
        """Units that the instruction needs idle; the update unit is ``moving`` devices."""
        fields = fields_of(self.word)
        with m.Switch(opcode):
            with m.Case(*MVMS):
                # Besides the driver's ``ready``.
                m.d.comb += needed.eq((moving << Unit.UPDATE) | (1 << Unit.PROGRAMMER))
            with m.Case(Opcode.SEND):
                m.d.comb += needed.eq(fields[Opcode.SEND].partial << Unit.POST)
            with m.Case(Opcode.RELEASE):
                m.d.comb += needed.eq((self.slots_released << Unit.POST) | (1 << Unit.WINDOW))
            for opcodes, units in NEEDS:
                with m.Case(*opcodes):
                    m.d.comb += needed.eq(sum(1 << unit for unit in units))
            with m.Case(Opcode.WAIT):
                m.d.comb += needed.eq(fields[Opcode.WAIT].units)

    def _slots(self, m: Module, opcode: Value, sources: Signal, destination: Signal) -> None:
        """Slots that the instruction reads and writes."""
        fields = fields_of(self.word)

        def bit(slot: Value, enable: ValueLike = 1) -> Value:
            return Mux(enable, 1 << slot, 0)

        with m.Switch(opcode):
            with m.Case(Opcode.LOAD):
                load = fields[Opcode.LOAD]
                m.d.comb += destination.eq(bit(load.slot, ~load.affine))
            with m.Case(Opcode.READ):
                m.d.comb += sources.eq(bit(fields[Opcode.READ].slot))
            with m.Case(Opcode.SEND):
                send = fields[Opcode.SEND]
                m.d.comb += sources.eq(bit(send.slot, ~send.partial))
            with m.Case(Opcode.GATHER):
                gather = fields[Opcode.GATHER]
                m.d.comb += [
                    sources.eq(self.gathers), destination.eq(bit(gather.destination)),
                ]  # fmt: skip
            with m.Case(Opcode.SCATTER):
                m.d.comb += sources.eq(bit(fields[Opcode.SCATTER].slot))
            with m.Case(Opcode.NORMALISE):
                m.d.comb += destination.eq(bit(fields[Opcode.NORMALISE].destination))
            with m.Case(*MVMS):
                m.d.comb += sources.eq(bit(fields[Opcode.FORWARD].slot))
            with m.Case(Opcode.ACTIVATE):
                activate = fields[Opcode.ACTIVATE]
                m.d.comb += [
                    sources.eq(bit(activate.slot, activate.from_slot)),
                    destination.eq(bit(activate.destination, activate.function != Function.NONE)),
                ]
            with m.Case(Opcode.DELTA):
                delta = fields[Opcode.DELTA]
                m.d.comb += [
                    sources.eq(
                        bit(delta.slot, delta.source != DeltaSource.CODES) | bit(delta.output)
                    ),
                    destination.eq(bit(delta.destination)),
                ]
            with m.Case(Opcode.OUTER):
                outer = fields[Opcode.OUTER]
                m.d.comb += sources.eq(bit(outer.slot) | bit(outer.delta))
