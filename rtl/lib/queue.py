# SPDX-License-Identifier: Apache-2.0
"""First-in first-out buffer between two streams."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Queue"]


class Queue(wiring.Component):
    """Holds up to ``depth`` entries; an entry can leave one cycle after it came.

    A full queue takes nothing, also in a cycle in which an entry leaves, unless ``refill`` is set:
    then ``i.ready`` depends on ``o.ready``. (``amaranth.lib.fifo`` has neither typed streams nor
    pointers that a proof can name.)

    Parameters
    ----------
    shape : of an entry
    depth : entries, at least 2
    refill : a full queue takes an entry while one leaves

    Members
    -------
    i, o : streams of ``shape``
    level : entries held, 0..depth
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, shape: object, *, depth: int, refill: bool = False):
        if depth < 2:
            raise ValueError(f"depth must be at least 2, not {depth}")
        self.depth, self.refill = depth, refill
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "level": Out(range(depth + 1)),
            }
        )
        self.storage = memory.Memory(shape=shape, depth=depth, init=[])
        self.head = Signal(range(depth))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth, head, level = self.depth, self.head, self.level
        m.submodules.storage = self.storage
        write = self.storage.write_port()
        read = self.storage.read_port(domain="comb")
        put, get, end = Signal(), Signal(), Signal(range(2 * depth))
        m.d.comb += [
            self.o.valid.eq(level != 0),
            self.i.ready.eq((level != depth) | (self.o.ready if self.refill else 0)),
            put.eq(self.i.valid & self.i.ready),
            get.eq(self.o.valid & self.o.ready),
            end.eq(head + level),
            write.en.eq(put),
            write.addr.eq(Mux(end >= depth, end - depth, end)),
            write.data.eq(self.i.payload),
            read.addr.eq(head),
            self.o.payload.eq(read.data),
        ]
        m.d.sync += level.eq(level + put - get)
        with m.If(get):
            m.d.sync += head.eq(Mux(head == depth - 1, 0, head + 1))
        return m
