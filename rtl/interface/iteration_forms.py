# SPDX-License-Identifier: Apache-2.0
"""Which vectors of an object an iteration needs, and which it needs last."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import TableWrite, WindowPlace
from phasecore.rtl.interface.object_memory import DescriptorMemory, ObjectMemory
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["BALANCE", "COUNT_BITS", "IterationForms"]

COUNT_BITS = 21
"""Bits of a count of vectors: a frame has at most 1023 x 1023, and a ring more may be there."""

BALANCE = signed(COUNT_BITS + 1)
"""A difference of counts: a vector that no iteration needs may be dead before it arrives."""

_LINE = signed(16)
"""Row or column of the object that an iteration sees: at most 1023 strides of 15 on."""


class _Place(data.StructLayout):
    """Iteration of an object, vectors of the frame that nobody needs any more, and all of it."""

    def __init__(self) -> None:
        super().__init__({"row": 10, "col": 10, "dead": COUNT_BITS, "size": 20})


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
    room : In(BALANCE)
        Vectors of the object for which there is room.
    over, turn : Out(1)
        The iteration is the frame's last, or its row's.
    next_row, next_col : Out(signed 12)
        First pixel that the next iteration sees.
    freed, next_room, lacks : Out, Out(BALANCE), Out(BALANCE)
        Vectors that become free with the iteration's end, the room that there is then, and vectors
        that the next one lacks.
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
                "room": In(BALANCE),
                "over": Out(1),
                "turn": Out(1),
                "next_row": Out(place["row"].shape),
                "next_col": Out(place["col"].shape),
                "freed": Out(COUNT_BITS),
                "next_room": Out(BALANCE),
                "lacks": Out(BALANCE),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ring, sizes, out, window = (self._descriptor(m, word) for word in (2, 3, 4, 5))
        m.submodules.places = places = ObjectMemory(_Place(), self.config.objects)
        m.d.comb += [
            places.write.eq(self.store),
            places.w_index.eq(self.index),
            places.read.eq(self.take),
            places.index.eq(self.pick),
        ]
        s, next_place, size = places.entry, places.given, places.entry.size
        row, col, first_row = Signal(10), Signal(10), self.fresh | self.over
        m.d.comb += [
            self.turn.eq(s.col + 1 >= out.out_width),
            self.over.eq(self.turn & (s.row + 1 >= out.out_height) & ~self.fresh),
            row.eq(Mux(first_row, 0, s.row + self.turn)),
            col.eq(Mux(self.fresh | self.turn, 0, s.col + 1)),
        ]
        # The first lines that this iteration needs, and the last ones of the next.
        top, right, bottom, end = (
            Signal(_LINE, name=name) for name in ("top", "right", "bottom", "end")
        )
        this_top, next_top, this_right, next_left = (
            Signal(_LINE, name=name) for name in ("this_top", "next_top", "this_right", "next_left")
        )
        m.d.comb += [
            this_top.eq(s.row * window.stride_row - out.padding_row),
            this_right.eq(s.col * window.stride_col - out.padding_col + window.stride_col),
            next_top.eq(
                Mux(first_row, -out.padding_row, this_top + Mux(self.turn, window.stride_row, 0))
            ),
            next_left.eq(Mux(self.fresh | self.turn, -out.padding_col, this_right)),
        ]
        m.d.sync += [
            top.eq(this_top),
            right.eq(this_right),
            bottom.eq(next_top + window.kernel_height - 1),
            end.eq(next_left + window.kernel_width - 1),
            self.next_row.eq(next_top),
            self.next_col.eq(next_left),
        ]
        height, width = sizes.height, sizes.width
        above, below = Signal(BALANCE), Signal(BALANCE)
        # What is above the object, or below its last line, is not looked at: few bits are enough.
        rows_above, lowest = Signal(10), Signal(signed(11))
        m.d.comb += [
            rows_above.eq(Mux(self.fresh | (top > height), height, top)),
            lowest.eq(Mux(bottom < height - 1, bottom, height - 1)),
        ]
        edge, needed_col = Signal(10), Signal(signed(11))
        m.d.sync += [
            above.eq(rows_above * width),
            below.eq(lowest * width),
            edge.eq(Mux(right < 0, 0, Mux(right > width, width, right))),
            needed_col.eq(Mux(end < width - 1, end, width - 1)),
        ]
        reached, dead, before = Signal(BALANCE), Signal(COUNT_BITS), Signal(COUNT_BITS)
        m.d.comb += [
            reached.eq(Mux(top < 0, 0, above + edge)),
            dead.eq(Mux(self.over | (reached > size), size, reached)),
            before.eq(Mux(self.fresh, 0, s.dead)),
            self.freed.eq(Mux(self.fresh, 0, dead - before)),
            self.next_room.eq(self.room + self.freed),
            # What is dead has arrived, or counts as such until the frame is over.
            self.lacks.eq(
                below + needed_col + 1 - (ring.depth - self.room) - before + Mux(self.over, size, 0)
            ),
            next_place.row.eq(row),
            next_place.col.eq(col),
            next_place.dead.eq(Mux(first_row, 0, dead)),
            next_place.size.eq(Mux(self.fresh, above, size)),
        ]
        return m

    def _descriptor(self, m: Module, word: int) -> data.View:
        """A word of the descriptor of the object in work."""
        m.submodules[f"descriptors_{word}"] = words = DescriptorMemory(word, self.config.objects)
        m.d.comb += [
            words.table.eq(self.table), words.read.eq(self.take), words.index.eq(self.pick),
        ]  # fmt: skip
        return words.entry
