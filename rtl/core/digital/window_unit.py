# SPDX-License-Identifier: Apache-2.0
"""Window unit: GATHER copies the window of an object into a slot."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.core.digital.window_assembler import WindowAssembler
from phasecore.rtl.core.digital.window_walk import WindowWalk
from phasecore.rtl.core.interfaces import UnitStatus, VectorRead, VectorWrite, WindowCommand
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["WindowUnit"]


class WindowUnit(wiring.Component):
    """Copies pixels of a window (im2col), or the largest of them, into lines of a slot.

    One chunk of a pixel per cycle is read, turned to its lanes and put into a word of the slot,
    which is written when it is complete. Padding costs a cycle, and no read.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    i : In(stream of WindowCommand)
        Taken while not busy.
    read : Out(VectorRead)
    write : Out(VectorWrite)
    status : Out(UnitStatus)
        Busy until the last word is written, into the slot that it writes; reads the slots that
        its ring covers until the last word has been read.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(WindowCommand(config))),
                "read": Out(VectorRead(config)),
                "write": Out(VectorWrite(config)),
                "status": Out(UnitStatus(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.walk = walk = WindowWalk(self.config)
        m.submodules.assembler = assembler = WindowAssembler(self.config)
        connect(m, flipped(self.i), walk.i)
        connect(m, assembler.write, flipped(self.write))
        command, chunk = walk.command, walk.o.payload
        m.d.comb += [
            self.read.valid.eq(walk.o.valid & chunk.read & assembler.ready),
            self.read.address.eq(chunk.address),
            walk.o.ready.eq(assembler.ready & (self.read.ready | ~chunk.read)),
            walk.idle.eq(~assembler.busy),
            assembler.begin.eq(self.i.valid & self.i.ready),
            assembler.block.eq(self.i.payload.block),
            assembler.slot.eq(command.slot),
            assembler.largest.eq(command.largest),
            assembler.chunk.eq(chunk),
            assembler.take.eq(walk.o.valid & walk.o.ready),
            assembler.data.eq(self.read.data),
            self.status.busy.eq(walk.active | assembler.busy),
        ]
        with m.If(self.status.busy):
            m.d.comb += self.status.writes.eq(1 << command.slot)
        with m.If(walk.active):
            m.d.comb += self.status.reads.eq(command.sources)
        return m
