# SPDX-License-Identifier: Apache-2.0
"""Where in its ring, and in its object, the window of every object's iteration begins."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.core.interfaces import ObjectLookup, TableWrite, WindowPlace
from phasecore.rtl.interface.object_memory import ObjectMemory, add_descriptors
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["ReadPointers"]


class ReadPointers(wiring.Component):
    """Pointers that go on with the iterations of their object, by steps modulo the ring.

    Beside the pointer of the present window those of the first one of its row and of its frame
    are kept, so that none is ever multiplied. The object is read with ``take``; ``store`` comes
    three cycles later at the earliest.

    Members
    -------
    table : In(TableWrite)
    take, pick, index : In(1), In, In
        As of IterationForms.
    fresh, over, turn : In(1)
        From two cycles before ``store`` on: the next iteration is the object's first; it begins
        a frame; it begins a row.
    store, row, col : In(1), In(signed 12), In(signed 12)
        The next iteration begins, with the window at this pixel.
    lookup, place : In(ObjectLookup), Out(WindowPlace)
        Where the window of an object is that nobody works on, from the cycle after on.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        index = range(max(2, config.objects))
        place = WindowPlace(config)
        super().__init__(
            {
                "table": In(TableWrite()),
                "take": In(1),
                "pick": In(index),
                "index": In(index),
                "fresh": In(1),
                "over": In(1),
                "turn": In(1),
                "store": In(1),
                "row": In(place["row"].shape),
                "col": In(place["col"].shape),
                "lookup": In(ObjectLookup()),
                "place": Out(place),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, bits = exact_log2(self.config.post_lanes), WindowPlace(self.config)["pointer"].shape
        kept = data.StructLayout(dict.fromkeys(("pointer", "row", "frame"), bits))
        m.submodules.kept = own = ObjectMemory(kept, self.config.objects)
        ring, first, steps, frames = add_descriptors(
            m, (1, 8, 9, 10), self.config.objects, table=self.table, read=self.take, index=self.pick
        )
        present = own.entry
        size, total, following = Signal(bits + 1), Signal(bits + 1), Signal(bits)
        stored = Signal()
        m.d.comb += [
            size.eq(ring.size << lanes),
            total.eq(
                Mux(
                    self.over,
                    present.frame + frames.frame_step,
                    Mux(self.turn, present.row + steps.row_step, present.pointer + steps.col_step),
                )
            ),
            own.write.eq(self.store),
            own.w_index.eq(self.index),
            own.given.pointer.eq(following),
            own.given.row.eq(Mux(self.fresh | self.turn, following, present.row)),
            own.given.frame.eq(Mux(self.fresh | self.over, following, present.frame)),
            own.read.eq(self.take),
            own.index.eq(self.pick),
        ]
        m.d.sync += following.eq(
            Mux(self.fresh, first.origin, Mux(total >= size, total - size, total))
        )
        self._show(m, following, stored)
        return m

    def _show(self, m: Module, following: Signal, stored: Signal) -> None:
        """The place that is looked up; one that is stored in that cycle is still at hand."""
        lookup, shape = self.lookup, WindowPlace(self.config)
        m.submodules.places = places = ObjectMemory(shape, self.config.objects)
        m.d.comb += [
            places.write.eq(self.store),
            places.w_index.eq(self.index),
            places.given.pointer.eq(following),
            places.given.row.eq(self.row),
            places.given.col.eq(self.col),
            places.read.eq(lookup.en),
            places.index.eq(lookup.object),
            self.place.eq(Mux(stored, places.given, places.entry)),
        ]
        m.d.sync += stored.eq(self.store & (self.index == lookup.object))
