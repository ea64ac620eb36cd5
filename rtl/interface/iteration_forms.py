# SPDX-License-Identifier: Apache-2.0
"""Which vectors of an object an iteration needs, and which it needs last."""

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import TableWrite, table_depth
from phasecore.rtl.interface.descriptor_table import DescriptorTable
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["BALANCE", "COUNT_BITS", "IterationForms"]

COUNT_BITS = 17
"""Bits of a count of vectors: a frame has at most 255 x 255, and a ring more may be there."""

BALANCE = signed(COUNT_BITS + 1)
"""A difference of counts: a vector that no iteration needs may be dead before it arrives."""


class _Place(data.StructLayout):
    """Iteration of an object and vectors of the frame that nobody needs any more."""

    def __init__(self) -> None:
        super().__init__({"row": 8, "col": 8, "dead": COUNT_BITS})


class IterationForms(wiring.Component):
    """Closed forms of docs/chip/descriptors.md for one object at a time.

    The object is read with ``take``; two cycles later the outputs are valid until the next.

    Members
    -------
    table : In(TableWrite)
    take, pick : In(1), In
        Work on object ``pick``.
    fresh, store, index : In(1), In(1), In
        From the cycle after ``take`` on: the object begins anew; keep the next iteration of
        ``index``, the object in work.
    present : In(BALANCE)
        Vectors of the object that are there.
    over : Out(1)
        The iteration is the frame's last.
    freed, lacks : Out, Out(BALANCE)
        Vectors that become free with the iteration's end; those that the next one still lacks.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        index = range(max(2, config.objects))
        super().__init__(
            {
                "table": In(TableWrite()),
                "take": In(1),
                "pick": In(index),
                "fresh": In(1),
                "store": In(1),
                "index": In(index),
                "present": In(BALANCE),
                "over": Out(1),
                "freed": Out(COUNT_BITS),
                "lacks": Out(BALANCE),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sizes_kept, window_kept = (self._descriptor(m, word) for word in (1, 2))
        place, next_place = self._memory(m, "places", _Place(), self.store)
        frame, next_frame = self._memory(m, "frames", 16, self.store & self.fresh)
        sizes, window = Signal(sizes_kept.shape()), Signal(window_kept.shape())
        s, size = Signal(_Place()), Signal(16)
        with m.If(self.take):
            m.d.sync += [
                sizes.eq(sizes_kept), window.eq(window_kept), s.eq(place), size.eq(frame),
            ]  # fmt: skip
        row, col, last_col = Signal(8), Signal(8), Signal()
        m.d.comb += [
            last_col.eq(s.col + 1 >= sizes.out_width),
            self.over.eq(last_col & (s.row + 1 >= sizes.out_height) & ~self.fresh),
            row.eq(Mux(self.fresh | self.over, 0, s.row + last_col)),
            col.eq(Mux(self.fresh | last_col, 0, s.col + 1)),
        ]
        # The first lines that this iteration needs, and the last ones of the next.
        top, right, bottom, end = (
            Signal(signed(14), name=name) for name in ("top", "right", "bottom", "end")
        )
        m.d.sync += [
            top.eq(s.row * window.stride - window.padding),
            right.eq(s.col * window.stride - window.padding + window.stride),
            bottom.eq(row * window.stride - window.padding + window.kernel_height - 1),
            end.eq(col * window.stride - window.padding + window.kernel_width - 1),
        ]
        height, width = sizes.height, sizes.width
        above, below = Signal(signed(20)), Signal(signed(20))
        edge, needed_col = Signal(9), Signal(signed(10))
        m.d.sync += [
            above.eq(Mux(self.fresh | (top > height), height, top) * width),
            below.eq(Mux(bottom < height - 1, bottom, height - 1) * width),
            edge.eq(Mux(right < 0, 0, Mux(right > width, width, right))),
            needed_col.eq(Mux(end < width - 1, end, width - 1)),
        ]
        reached, dead, before = Signal(signed(20)), Signal(COUNT_BITS), Signal(COUNT_BITS)
        m.d.comb += [
            reached.eq(Mux(top < 0, 0, above + edge)),
            dead.eq(Mux(self.over | (reached > size), size, reached)),
            before.eq(Mux(self.fresh, 0, s.dead)),
            self.freed.eq(Mux(self.fresh, 0, dead - before)),
            # What is dead has arrived, or counts as such until the frame is over.
            self.lacks.eq(below + needed_col + 1 - self.present - before + Mux(self.over, size, 0)),
            next_place.row.eq(row),
            next_place.col.eq(col),
            next_place.dead.eq(Mux(self.fresh | self.over, 0, dead)),
            next_frame.eq(above),
        ]
        return m

    def _descriptor(self, m: Module, word: int) -> data.View:
        """A word of the descriptor of the object picked."""
        table = DescriptorTable(route=False, word=word, entries=self.config.objects)
        m.submodules[f"descriptors_{word}"] = table
        m.d.comb += [table.table.eq(self.table), table.index[0].eq(self.pick)]
        return table.entry[0]

    def _memory(self, m: Module, name: str, shape: object, enable: Value) -> tuple[Value, Value]:
        """One entry per object: that of the object picked, and what the one in work keeps."""
        store = memory.Memory(shape=shape, depth=table_depth(self.config.objects), init=[])
        m.submodules[name] = store
        write, read = store.write_port(), store.read_port(domain="comb")
        m.d.comb += [write.addr.eq(self.index), write.en.eq(enable), read.addr.eq(self.pick)]
        return read.data, write.data
