# SPDX-License-Identifier: Apache-2.0
"""What a receiver knows of its objects: descriptors, places in rings, lines received."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import TableWrite
from phasecore.rtl.interface.descriptor_table import DescriptorTable
from phasecore.rtl.interface.head import FOUR
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["ObjectTable", "Target"]


class Target(data.StructLayout):
    """Fields of an object descriptor that a receiver needs."""

    def __init__(self) -> None:
        super().__init__({"partial": 1, "replace": 1, "slot": 5, "depth": 5})


class ObjectTable(wiring.Component):
    """Descriptors of objects; a write to any word of one starts its counts again.

    Members
    -------
    table : In(TableWrite)
    object : In(4)
        Which object the next members are about.
    known, target : Out(1), Out(Target)
        It is enabled; its descriptor.
    slot : Out
        Present slot of its ring.
    full, room : In(objects), Out(1)
        As of MessageReceiver; the object has room.
    vector_ends, arrived : In(1), Out(objects)
        The last flit of a vector is taken: the ring goes on.
    lines : In(1)
        Four lines are received.
    merge_object, received_lines, merge_done : In(4), Out, In(1)
        Lines received for an object, in fours, at most all; its count starts again.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "table": In(TableWrite()),
                "object": In(4),
                "known": Out(1),
                "target": Out(Target()),
                "slot": Out(config.slot_bits),
                "full": In(config.objects),
                "room": Out(1),
                "vector_ends": In(1),
                "arrived": Out(config.objects),
                "lines": In(1),
                "merge_object": In(4),
                "received_lines": Out(config.line_bits - 1),
                "merge_done": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        table, objects, target = self.table, self.config.objects, self.target
        m.submodules.descriptors = descriptors = DescriptorTable(
            route=False, word=0, entries=objects, kept=Target()
        )
        enabled, restart, one = Signal(objects), Signal(objects), Signal(objects)
        rings = Signal(data.ArrayLayout(5, objects))
        ring, following = Signal(5), Signal(5)
        counts = Signal(data.ArrayLayout(self.received_lines.shape(), objects))
        m.d.comb += [
            descriptors.table.eq(table),
            descriptors.index[0].eq(self.object),
            target.eq(descriptors.entry[0]),
            one.eq(1 << self.object),
            self.known.eq((enabled & one).any()),
            self.room.eq(~(self.full & one).any()),
            restart.eq(Mux(descriptors.given, 1 << table.index, 0)),
            ring.eq(rings[self.object]),
            following.eq(Mux(ring + 1 >= target.depth, 0, ring + 1)),
            self.slot.eq(target.slot + ring),
            self.arrived.eq(Mux(self.vector_ends, one, 0)),
            self.received_lines.eq(counts[self.merge_object]),
        ]
        with m.If(descriptors.written):
            enable = data.View(descriptors.source, table.data).enable
            m.d.sync += enabled.eq((enabled & ~restart) | Mux(enable, restart, 0))
        for index in range(objects):
            count, base = counts[index], Signal.like(self.received_lines, name=f"base_{index}")
            again = restart[index] | (self.merge_done & (self.merge_object == index))
            more = self.lines & one[index]
            m.d.comb += base.eq(Mux(again, 0, count))
            m.d.sync += count.eq(base + (more & (base != self.config.lines // FOUR)))
            with m.If(self.arrived[index]):
                m.d.sync += rings[index].eq(following)
            with m.If(restart[index]):
                m.d.sync += rings[index].eq(0)
        return m
