# SPDX-License-Identifier: Apache-2.0
"""Where in its ring, and in its object, the window of every object's iteration begins."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.core.interfaces import TableWrite, WindowPlace, table_depth
from phasecore.rtl.interface.descriptor_table import DescriptorTable
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
    object, place : In(4), Out(WindowPlace)
        Where the window of an object is that nobody works on (combinational).
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
                "object": In(4),
                "place": Out(place),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, bits = exact_log2(self.config.post_lanes), WindowPlace(self.config)["pointer"].shape
        kept = data.StructLayout({"row": bits, "frame": bits, "place": WindowPlace(self.config)})
        m.submodules.kept = places = memory.Memory(
            shape=kept, depth=table_depth(self.config.objects), init=[]
        )
        write = places.write_port()
        own, other = places.read_port(domain="comb"), places.read_port(domain="comb")
        words = [self._descriptor(m, word) for word in (1, 8, 9, 10)]
        ring, first, steps, frames = (Signal(word.shape()) for word in words)
        present = Signal(kept)
        with m.If(self.take):
            m.d.sync += [
                present.eq(own.data),
                *(
                    here.eq(word)
                    for here, word in zip((ring, first, steps, frames), words, strict=True)
                ),
            ]
        size, total, following = Signal(bits + 1), Signal(bits + 1), Signal(bits)
        m.d.comb += [
            size.eq(ring.size << lanes),
            total.eq(
                Mux(
                    self.over,
                    present.frame + frames.frame_step,
                    Mux(
                        self.turn, present.row + steps.row_step,
                        present.place.pointer + steps.col_step,
                    ),
                )
            ),
            write.addr.eq(self.index),
            write.en.eq(self.store),
            write.data.place.pointer.eq(following),
            write.data.place.row.eq(self.row),
            write.data.place.col.eq(self.col),
            write.data.row.eq(Mux(self.fresh | self.turn, following, present.row)),
            write.data.frame.eq(Mux(self.fresh | self.over, following, present.frame)),
            own.addr.eq(self.pick),
            other.addr.eq(self.object),
            self.place.eq(other.data.place),
        ]  # fmt: skip
        m.d.sync += following.eq(
            Mux(self.fresh, first.origin, Mux(total >= size, total - size, total))
        )
        return m

    def _descriptor(self, m: Module, word: int) -> data.View:
        """A word of the descriptor of the object picked."""
        table = DescriptorTable(route=False, word=word, entries=self.config.objects)
        m.submodules[f"descriptors_{word}"] = table
        m.d.comb += [table.table.eq(self.table), table.index[0].eq(self.pick)]
        return table.entry[0]
