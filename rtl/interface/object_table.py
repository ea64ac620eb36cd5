# SPDX-License-Identifier: Apache-2.0
"""What a receiver knows of its objects: descriptors, places in rings, lines received."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.core.interfaces import TableWrite
from phasecore.rtl.interface.descriptor_table import DescriptorTable
from phasecore.rtl.interface.head import EIGHT, FOUR
from phasecore.rtl.interface.object_flags import ObjectFlags
from phasecore.rtl.interface.ring_places import RingPlaces
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["ObjectTable"]


class ObjectTable(wiring.Component):
    """Descriptors of objects; a write to any word of one starts its counts again.

    Members
    -------
    table : In(TableWrite)
    object : In(4)
        Which object the next members are about.
    known, partial, replace : Out(1)
        It takes messages; of partial sums; these take the accumulators' place.
    pitch : Out(8)
        Flits that a vector of it may have.
    unit, address, part : In(8), Out, Out
        Flit of its present vector; the word of the vector memory that takes it, and its place
        there.
    begins : Out
        Word that takes the vector's first flit.
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
                "partial": Out(1),
                "replace": Out(1),
                "pitch": Out(8),
                "unit": In(8),
                "address": Out(config.vector_address_bits),
                "part": Out(exact_log2(config.post_lanes // EIGHT)),
                "begins": Out(config.vector_address_bits),
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
        table, objects = self.table, self.config.objects
        m.submodules.flags = flags = ObjectFlags(self.config)
        m.submodules.heads = heads = DescriptorTable(
            route=False, word=0, entries=objects, kept=data.StructLayout({"replace": 1})
        )
        one, restart = Signal(objects), Signal(objects)
        counts = Signal(data.ArrayLayout(self.received_lines.shape(), objects))
        m.d.comb += [
            flags.table.eq(table),
            heads.table.eq(table),
            heads.index[0].eq(self.object),
            self.replace.eq(heads.entry[0].replace),
            one.eq(1 << self.object),
            self.known.eq((flags.known & ~flags.cursor & one).any()),
            self.partial.eq((flags.partial & one).any()),
            self.room.eq(~(self.full & one).any()),
            restart.eq(Mux(heads.given, 1 << table.index, 0)),
            self.arrived.eq(Mux(self.vector_ends, one, 0)),
            self.received_lines.eq(counts[self.merge_object]),
        ]
        m.submodules.places = places = RingPlaces(self.config)
        m.d.comb += [
            places.table.eq(table),
            places.restart.eq(restart),
            places.arrived.eq(self.arrived),
            places.object.eq(self.object),
            places.unit.eq(self.unit),
            *(
                getattr(self, name).eq(getattr(places, name))
                for name in ("pitch", "address", "part", "begins")
            ),
        ]
        for index in range(objects):
            count, base = counts[index], Signal.like(self.received_lines, name=f"base_{index}")
            again = restart[index] | (self.merge_done & (self.merge_object == index))
            more = self.lines & one[index]
            m.d.comb += base.eq(Mux(again, 0, count))
            m.d.sync += count.eq(base + (more & (base != self.config.lines // FOUR)))
        return m
