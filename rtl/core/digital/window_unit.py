# SPDX-License-Identifier: Apache-2.0
"""Window unit: GATHER copies the window of an object into a slot, SCATTER adds a slot to it."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from phasecore.rtl.core.digital.window_assembler import WindowAssembler
from phasecore.rtl.core.digital.window_scatter import WindowScatter
from phasecore.rtl.core.digital.window_walk import WindowWalk
from phasecore.rtl.core.interfaces import (
    Exponents,
    ScatterChunk,
    UnitStatus,
    VectorRead,
    VectorWrite,
    WindowCommand,
)
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["WindowUnit"]


class WindowUnit(wiring.Component):
    """Copies pixels of a window (im2col), or the largest of them, into lines of a slot.

    One chunk of a pixel per cycle is read, turned to its lanes and put into a word of the slot,
    which is written when it is complete. Padding costs a cycle, and no read. SCATTER reads the
    slot, and offers each chunk, turned, to the accumulators.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    i : In(stream of WindowCommand)
        Taken while not busy.
    read : Out(VectorRead)
    write : Out(VectorWrite)
    exponents : In(Exponents)
    scatter : Out(stream of ScatterChunk)
    status : Out(UnitStatus)
        Busy until the last word is written, into the slot that it writes; reads the slots that
        its ring covers until the last word has been read. Of SCATTER busy until the last chunk has
        been taken, and reads the slot for as long.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(WindowCommand(config))),
                "read": Out(VectorRead(config)),
                "write": Out(VectorWrite(config)),
                "exponents": In(Exponents(config)),
                "scatter": Out(stream.Signature(ScatterChunk(config))),
                "status": Out(UnitStatus(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.walk = walk = WindowWalk(self.config)
        m.submodules.assembler = assembler = WindowAssembler(self.config)
        m.submodules.sums = sums = WindowScatter(self.config)
        connect(m, flipped(self.i), walk.i)
        connect(m, assembler.write, flipped(self.write))
        connect(m, sums.o, flipped(self.scatter))
        command, chunk = walk.command, walk.o.payload
        room = Signal()
        slot_word = Cat(sums.word[: exact_log2(self.config.blocks)], command.slot)
        m.d.comb += [
            room.eq(Mux(command.scatter, sums.ready | ~chunk.read, assembler.ready)),
            self.read.valid.eq(walk.o.valid & chunk.read & room),
            self.read.address.eq(Mux(command.scatter, slot_word, chunk.address)),
            walk.o.ready.eq(room & (self.read.ready | ~chunk.read)),
            walk.idle.eq(~assembler.busy & ~sums.busy),
            assembler.begin.eq(self.i.valid & self.i.ready),
            assembler.block.eq(self.i.payload.block),
            assembler.slot.eq(command.slot),
            assembler.largest.eq(command.largest),
            assembler.scatter.eq(command.scatter),
            assembler.chunk.eq(chunk),
            assembler.take.eq(walk.o.valid & walk.o.ready),
            assembler.data.eq(self.read.data),
            sums.begin.eq(assembler.begin),
            sums.block.eq(assembler.block),
            sums.unit.eq(command.unit),
            sums.exponent.eq(self.exponents[command.slot]),
            sums.chunk.eq(chunk),
            sums.take.eq(assembler.take & command.scatter),
            sums.arrived.eq(assembler.arrived & command.scatter),
            assembler.keep.eq(sums.keep),
            sums.codes.eq(assembler.write.data),
            self.status.busy.eq(walk.active | assembler.busy | sums.busy),
        ]
        with m.If(self.status.busy & command.scatter):
            m.d.comb += self.status.reads.eq(1 << command.slot)
        with m.Elif(self.status.busy):
            m.d.comb += self.status.writes.eq(1 << command.slot)
        with m.If(walk.active & ~command.scatter):
            m.d.comb += self.status.reads.eq(command.sources)
        return m
