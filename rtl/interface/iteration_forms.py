# SPDX-License-Identifier: Apache-2.0
"""Which vectors of an object an iteration needs, and which it needs last."""

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import TableWrite, WindowPlace, table_depth
from phasecore.rtl.interface.descriptor_table import DescriptorTable
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["BALANCE", "COUNT_BITS", "IterationForms"]

COUNT_BITS = 21
"""Bits of a count of vectors: a frame has at most 1023 x 1023, and a ring more may be there."""

BALANCE = signed(COUNT_BITS + 1)
"""A difference of counts: a vector that no iteration needs may be dead before it arrives."""

_LINE = signed(16)
"""Row or column of the object that an iteration sees: at most 1023 strides of 15 on."""


class _Place(data.StructLayout):
    """Iteration of an object and vectors of the frame that nobody needs any more."""

    def __init__(self) -> None:
        super().__init__({"row": 10, "col": 10, "dead": COUNT_BITS})


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
    over, turn : Out(1)
        The iteration is the frame's last, or its row's.
    next_row, next_col : Out(signed 12)
        First pixel that the next iteration sees.
    freed, lacks : Out, Out(BALANCE)
        Vectors that become free with the iteration's end; those that the next one still lacks.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        index, place = range(max(2, config.objects)), WindowPlace(config)
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
                "turn": Out(1),
                "next_row": Out(place["row"].shape),
                "next_col": Out(place["col"].shape),
                "freed": Out(COUNT_BITS),
                "lacks": Out(BALANCE),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words = [self._descriptor(m, word) for word in (3, 4, 5)]
        place, next_place = self._memory(m, "places", _Place(), self.store)
        frame, next_frame = self._memory(m, "frames", 20, self.store & self.fresh)
        sizes, out, window = (Signal(word.shape()) for word in words)
        s, size = Signal(_Place()), Signal(20)
        with m.If(self.take):
            m.d.sync += [
                *(here.eq(word) for here, word in zip((sizes, out, window), words, strict=True)),
                s.eq(place), size.eq(frame),
            ]  # fmt: skip
        row, col = Signal(10), Signal(10)
        m.d.comb += [
            self.turn.eq(s.col + 1 >= out.out_width),
            self.over.eq(self.turn & (s.row + 1 >= out.out_height) & ~self.fresh),
            row.eq(Mux(self.fresh | self.over, 0, s.row + self.turn)),
            col.eq(Mux(self.fresh | self.turn, 0, s.col + 1)),
        ]
        # The first lines that this iteration needs, and the last ones of the next.
        top, right, bottom, end = (
            Signal(_LINE, name=name) for name in ("top", "right", "bottom", "end")
        )
        next_top, next_left = (
            row * window.stride_row - out.padding_row, col * window.stride_col - out.padding_col,
        )  # fmt: skip
        m.d.sync += [
            top.eq(s.row * window.stride_row - out.padding_row),
            right.eq(s.col * window.stride_col - out.padding_col + window.stride_col),
            bottom.eq(next_top + window.kernel_height - 1),
            end.eq(next_left + window.kernel_width - 1),
            self.next_row.eq(next_top),
            self.next_col.eq(next_left),
        ]
        height, width = sizes.height, sizes.width
        above, below = Signal(BALANCE), Signal(BALANCE)
        edge, needed_col = Signal(10), Signal(signed(11))
        m.d.sync += [
            above.eq(Mux(self.fresh | (top > height), height, top) * width),
            below.eq(Mux(bottom < height - 1, bottom, height - 1) * width),
            edge.eq(Mux(right < 0, 0, Mux(right > width, width, right))),
            needed_col.eq(Mux(end < width - 1, end, width - 1)),
        ]
        reached, dead, before = Signal(BALANCE), Signal(COUNT_BITS), Signal(COUNT_BITS)
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
