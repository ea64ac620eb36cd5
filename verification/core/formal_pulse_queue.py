# SPDX-License-Identifier: Apache-2.0
"""The pulse queue against a shift register: nothing lost, nothing doubled, order kept."""

from amaranth.hdl import Assert, Assume, Cover, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.core.analog.pulse_queue import PulseQueue
from phasecore.rtl.core.interfaces import Pulse
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["PulseQueueContract"]


class PulseQueueContract(wiring.Component):
    """A queue beside a plain one: entries in a row of registers, the oldest in register 0.

    What is taken and offered must agree in every cycle. The equality of all stored entries is
    asserted, too, so that the proof is inductive.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(Pulse(config))),
                "o": Out(stream.Signature(Pulse(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        depth = config.queue_depth
        m.submodules.queue = queue = PulseQueue(config)
        connect(m, flipped(self.i), queue.i)
        connect(m, queue.o, flipped(self.o))
        m.d.comb += Assume(~ResetSignal())

        entries = [Signal(Pulse(config), name=f"entry_{index}") for index in range(depth)]
        count = Signal(range(depth + 1))
        full = Signal()
        put = self.i.valid & self.i.ready
        get = self.o.valid & self.o.ready
        left = Signal.like(count)
        m.d.comb += left.eq(count - get)
        m.d.sync += [count.eq(left + put), full.eq(full | (count == depth))]
        for index, entry in enumerate(entries):
            older = entries[index + 1] if index + 1 < depth else entry
            kept = Mux(get, Value.cast(older), Value.cast(entry))
            m.d.sync += Value.cast(entry).eq(
                Mux(put & (left == index), Value.cast(self.i.payload), kept)
            )
            stored = queue.storage.read_port(domain="comb")
            m.d.comb += stored.addr.eq(queue.head + index)
            with m.If(index < count):
                m.d.comb += Assert(Value.cast(stored.data) == Value.cast(entry))

        m.d.comb += [
            Assert(count <= depth),
            Assert(queue.level == count),
            Assert(self.i.ready == (count != depth)),
            Assert(self.o.valid == (count != 0)),
            Cover(full & ~self.o.valid),
        ]
        with m.If(self.o.valid):
            m.d.comb += Assert(Value.cast(self.o.payload) == Value.cast(entries[0]))
        return m
