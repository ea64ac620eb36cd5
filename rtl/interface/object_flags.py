# SPDX-License-Identifier: Apache-2.0
"""What is known of every object at any time: bits of its descriptor, and whether its ring fits."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import TableWrite, descriptor_word
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import OBJECT

__all__ = ["ObjectFlags"]


class ObjectFlags(wiring.Component):
    """One bit per object and fact, from the cycle after the descriptor's word is written.

    Members
    -------
    table : In(TableWrite)
    known : Out(objects)
        Enabled, and its ring, if it has one, is in the vector memory.
    partial, cursor : Out(objects)
        As in the descriptor.
    in_slots : Out(objects)
        Its ring begins in a slot.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        masks = {name: Out(config.objects) for name in ("known", "partial", "cursor", "in_slots")}
        super().__init__({"table": In(TableWrite()), **masks})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, table = self.config, self.table
        objects = config.objects
        enabled, fits, one = Signal(objects), Signal(objects), Signal(objects)
        head = data.View(descriptor_word(OBJECT, 0), table.data)
        ring = data.View(descriptor_word(OBJECT, 1), table.data)
        inside = (ring.size != 0) & (ring.base + ring.size <= config.memory_words)
        m.d.comb += [
            one.eq(Mux(table.en & ~table.route, 1 << table.index, 0)),
            self.known.eq(enabled & (fits | self.partial)),
        ]
        for word, values in (
            (0, ((enabled, head.enable), (self.partial, head.partial), (self.cursor, head.cursor))),
            (1, ((fits, inside), (self.in_slots, ring.base < config.slot_words))),
        ):
            with m.If(table.word == word):
                m.d.sync += [mask.eq((mask & ~one) | Mux(value, one, 0)) for mask, value in values]
        return m
