# SPDX-License-Identifier: Apache-2.0
"""The queue against a shift register: nothing lost, nothing doubled, order kept."""

from amaranth.hdl import Assert, Assume, Cover, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.lib.queue import Queue

__all__ = ["QueueContract"]


class QueueContract(wiring.Component):
    """A queue beside a plain one: entries in a row of registers, the oldest in register 0.

    What is taken and offered must agree in every cycle. The equality of all stored entries is
    asserted, too, so that the proof is inductive.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, width: int, *, depth: int, refill: bool = False):
        self.queue = Queue(width, depth=depth, refill=refill)
        super().__init__(
            {
                "i": In(stream.Signature(width)),
                "o": Out(stream.Signature(width)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queue = queue = self.queue
        depth = queue.depth
        connect(m, flipped(self.i), queue.i)
        connect(m, queue.o, flipped(self.o))
        m.d.comb += Assume(~ResetSignal())

        entries = [Signal(self.i.payload.shape(), name=f"entry_{index}") for index in range(depth)]
        count = Signal(range(depth + 1))
        full = Signal()
        put = self.i.valid & self.i.ready
        get = self.o.valid & self.o.ready
        left = Signal.like(count)
        room = (count != depth) | (self.o.ready if queue.refill else 0)
        m.d.comb += left.eq(count - get)
        m.d.sync += [count.eq(left + put), full.eq(full | (count == depth))]
        for index, entry in enumerate(entries):
            older = entries[index + 1] if index + 1 < depth else entry
            kept = Mux(get, Value.cast(older), Value.cast(entry))
            m.d.sync += Value.cast(entry).eq(
                Mux(put & (left == index), Value.cast(self.i.payload), kept)
            )
            stored = queue.storage.read_port(domain="comb")
            m.d.comb += stored.addr.eq((queue.head + index) % depth)
            with m.If(index < count):
                m.d.comb += Assert(Value.cast(stored.data) == Value.cast(entry))

        m.d.comb += [
            Assert(count <= depth),
            Assert(queue.level == count),
            Assert(queue.head < depth),
            Assert(self.i.ready == room),
            Assert(self.o.valid == (count != 0)),
            Cover(full & ~self.o.valid),
        ]
        with m.If(self.o.valid):
            m.d.comb += Assert(Value.cast(self.o.payload) == Value.cast(entries[0]))
        return m
