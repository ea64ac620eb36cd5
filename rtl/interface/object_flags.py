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
        Enabled, and its ring, if it has one, is in its memory.
    partial, cursor, sums : Out(objects)
        As in the descriptor.
    in_slots : Out(objects)
        Its ring begins in a slot.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        names = ("known", "partial", "cursor", "sums", "in_slots")
        masks = {name: Out(config.objects) for name in names}
        super().__init__({"table": In(TableWrite()), **masks})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, table = self.config, self.table
        objects = config.objects
        enabled, one = Signal(objects), Signal(objects)
        # Its ring would be in the vector memory, and in the accumulators.
        fits, fits_sums = Signal(objects), Signal(objects)
        head = data.View(descriptor_word(OBJECT, 0), table.data)
        ring = data.View(descriptor_word(OBJECT, 1), table.data)
        end = ring.base + ring.size
        inside = (ring.size != 0) & (end <= config.memory_words)
        inside_sums = (ring.size != 0) & (end <= config.accumulator_words)
        m.d.comb += [
            one.eq(Mux(table.en & ~table.route, 1 << table.index, 0)),
            self.known.eq(enabled & ((fits & ~self.sums) | (fits_sums & self.sums) | self.partial)),
        ]
        for word, values in (
            (0, (
                (enabled, head.enable), (self.partial, head.partial), (self.cursor, head.cursor),
                (self.sums, head.sums),
            )),
            (1, (
                (fits, inside), (fits_sums, inside_sums),
                (self.in_slots, ring.base < config.slot_words),
            )),
        ):  # fmt: skip
            with m.If(table.word == word):
                m.d.sync += [mask.eq((mask & ~one) | Mux(value, one, 0)) for mask, value in values]
        return m
