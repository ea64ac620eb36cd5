# SPDX-License-Identifier: Apache-2.0
"""Which vectors of an object an iteration needs, and which it needs last."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import (
    COORDINATE,
    TableWrite,
    WindowPlace,
    descriptor_word,
)
from phasecore.rtl.interface.object_memory import ObjectMemory, add_descriptors
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import OBJECT

__all__ = ["BALANCE", "COUNT_BITS", "IterationForms", "LinesSeen"]

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


class LinesSeen(wiring.Component):
    """Rows and columns of the object that an iteration, and the one after it, begin and end with.

    Members
    -------
    row, col : In(10)
        The iteration.
    out, window : In(words 4 and 5 of the object's descriptor)
    turn, first_row, first_col : In(1)
        The next iteration is in another row; in the first one of a frame; the first of its row.
    top, right : Out(signed 16)
        First row of this iteration, first column of the one to the right of it; a cycle later.
    bottom, end : Out(signed 16)
        Last row and column of the next one; a cycle later.
    next_top, next_left : Out(signed 12)
        First row and column of the next one; a cycle later.
    """

    def __init__(self) -> None:
        words = {"out": descriptor_word(OBJECT, 4), "window": descriptor_word(OBJECT, 5)}
        super().__init__(
            {
                "row": In(10),
                "col": In(10),
                **{
                    name: In(data.StructLayout({key: field.shape for key, field in word}))
                    for name, word in words.items()
                },
                "turn": In(1),
                "first_row": In(1),
                "first_col": In(1),
                "top": Out(_LINE),
                "right": Out(_LINE),
                "bottom": Out(_LINE),
                "end": Out(_LINE),
                "next_top": Out(COORDINATE),
                "next_left": Out(COORDINATE),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        out, window = self.out, self.window
        top, right = Signal(_LINE), Signal(_LINE)
        next_top, next_left = Signal(_LINE), Signal(_LINE)
        m.d.comb += [
            top.eq(self.row * window.stride_row - out.padding_row),
            right.eq(self.col * window.stride_col - out.padding_col + window.stride_col),
            next_top.eq(
                Mux(self.first_row, -out.padding_row, top + Mux(self.turn, window.stride_row, 0))
            ),
            next_left.eq(Mux(self.first_col, -out.padding_col, right)),
        ]
        m.d.sync += [
            self.top.eq(top),
            self.right.eq(right),
            self.bottom.eq(next_top + window.kernel_height - 1),
            self.end.eq(next_left + window.kernel_width - 1),
            self.next_top.eq(next_top),
            self.next_left.eq(next_left),
        ]
        return m


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
        ring, sizes, out, window = add_descriptors(
            m, (2, 3, 4, 5), self.config.objects, table=self.table, read=self.take, index=self.pick
        )
        m.submodules.places = places = ObjectMemory(_Place(), self.config.objects)
        m.d.comb += [
            places.write.eq(self.store), places.w_index.eq(self.index),
            places.read.eq(self.take), places.index.eq(self.pick),
        ]  # fmt: skip
        s, next_place, size = places.entry, places.given, places.entry.size
        row, col = Signal(10), Signal(10)
        first_row, first_col = self.fresh | self.over, self.fresh | self.turn
        m.submodules.lines = lines = LinesSeen()
        m.d.comb += [
            self.turn.eq(s.col + 1 >= out.out_width),
            self.over.eq(self.turn & (s.row + 1 >= out.out_height) & ~self.fresh),
            row.eq(Mux(first_row, 0, s.row + self.turn)),
            col.eq(Mux(first_col, 0, s.col + 1)),
            [lines.row.eq(s.row), lines.col.eq(s.col)],
            [lines.window.eq(window), lines.out.eq(out)],
            lines.turn.eq(self.turn),
            lines.first_row.eq(first_row),
            lines.first_col.eq(first_col),
            self.next_row.eq(lines.next_top),
            self.next_col.eq(lines.next_left),
        ]
        top, right, bottom, end = lines.top, lines.right, lines.bottom, lines.end
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
