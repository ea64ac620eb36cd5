# SPDX-License-Identifier: Apache-2.0
"""Queue of programming pulses between the update unit and the programmer."""

from amaranth.hdl import Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import Pulse
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["PulseQueue"]


class PulseQueue(wiring.Component):
    """First-in first-out buffer of ``config.queue_depth`` entries.

    An entry can leave one cycle after it came. A full queue takes nothing, also in a cycle in
    which an entry leaves.

    Members
    -------
    i, o : streams of Pulse
    level : entries held, 0..queue_depth
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, config: CoreConfig):
        self.config = config
        self.storage = memory.Memory(shape=Pulse(config), depth=config.queue_depth, init=[])
        self.head = Signal(range(config.queue_depth))
        super().__init__(
            {
                "i": In(stream.Signature(Pulse(config))),
                "o": Out(stream.Signature(Pulse(config))),
                "level": Out(range(config.queue_depth + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.storage = self.storage
        write = self.storage.write_port()
        read = self.storage.read_port(domain="comb")
        put, get = Signal(), Signal()
        tail = Signal.like(self.head)
        m.d.comb += [
            self.i.ready.eq(self.level != self.config.queue_depth),
            self.o.valid.eq(self.level != 0),
            put.eq(self.i.valid & self.i.ready),
            get.eq(self.o.valid & self.o.ready),
            # depth is a power of two: the sum wraps
            tail.eq(self.head + self.level),
            write.en.eq(put),
            write.addr.eq(tail),
            write.data.eq(self.i.payload),
            read.addr.eq(self.head),
            self.o.payload.eq(read.data),
        ]
        m.d.sync += [self.head.eq(self.head + get), self.level.eq(self.level + put - get)]
        return m
