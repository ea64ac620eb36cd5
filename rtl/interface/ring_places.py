# SPDX-License-Identifier: Apache-2.0
"""Where in its ring every object's next vector goes."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.core.interfaces import TableWrite, descriptor_word
from phasecore.rtl.interface.descriptor_table import DescriptorTable
from phasecore.rtl.interface.head import EIGHT
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import OBJECT

__all__ = ["RingPlaces"]


class Ring(data.StructLayout):
    """Fields of an object descriptor that say where its vectors go."""

    def __init__(self) -> None:
        word = descriptor_word(OBJECT, 1)
        super().__init__({name: word[name].shape for name in ("base", "size", "pitch")})


class RingPlaces(wiring.Component):
    """A place per object, counted in flits of bytes from the ring's first word on.

    Members
    -------
    table : In(TableWrite)
    restart, arrived : In(objects)
        Strobes: the object begins anew; a vector is complete, and the place goes on.
    object : In(4)
        Which object the next members are about.
    pitch : Out(8)
        Flits that a vector of it may have.
    unit, address, part : In(8), Out, Out
        Flit of its present vector; the word of the vector memory that takes it, and its place
        there.
    begins : Out
        Word that takes the vector's first flit.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "table": In(TableWrite()),
                "restart": In(config.objects),
                "arrived": In(config.objects),
                "object": In(4),
                "pitch": Out(8),
                "unit": In(8),
                "address": Out(config.vector_address_bits),
                "part": Out(exact_log2(config.post_lanes // EIGHT)),
                "begins": Out(config.vector_address_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        flits = exact_log2(config.post_lanes // EIGHT)
        m.submodules.rings = rings = DescriptorTable(
            route=False, word=1, entries=config.objects, kept=Ring()
        )
        bits = config.vector_address_bits + flits
        own = Signal(data.ArrayLayout(bits, config.objects))
        ring, place, size = rings.entry[0], Signal(bits), Signal(bits + 1)
        flit, following = Signal(bits), Signal(bits)

        def on_ring(total: Value) -> Value:
            return Mux(total >= size, total - size, total)

        m.d.comb += [
            rings.table.eq(self.table),
            rings.index[0].eq(self.object),
            self.pitch.eq(ring.pitch),
            size.eq(ring.size << flits),
            place.eq(own[self.object]),
            flit.eq(on_ring(place + self.unit)),
            following.eq(on_ring(place + ring.pitch)),
            self.address.eq(ring.base + (flit >> flits)),
            self.part.eq(flit),
            self.begins.eq(ring.base + (place >> flits)),
        ]
        for index in range(config.objects):
            with m.If(self.arrived[index]):
                m.d.sync += own[index].eq(following)
            with m.If(self.restart[index]):
                m.d.sync += own[index].eq(0)
        return m
