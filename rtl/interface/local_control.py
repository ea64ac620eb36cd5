# SPDX-License-Identifier: Apache-2.0
"""Local control: when an iteration may begin, and what its end gives back."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import CreditGrant, TableWrite, descriptor_word, table_depth
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import OBJECT

__all__ = ["LocalControl"]

COUNT_BITS = 17
"""Bits of a count of vectors: a frame has at most 255 x 255, and a ring more may have come."""

BALANCE = signed(COUNT_BITS + 1)
"""A difference of counts: what an iteration never needs may be dead before it has come."""

MOST_CREDITS = 255


class _Place(data.StructLayout):
    """Iteration of an object and vectors of the frame that nobody needs any more."""

    def __init__(self) -> None:
        super().__init__({"row": 8, "col": 8, "dead": COUNT_BITS})


class LocalControl(wiring.Component):
    """Closed forms of docs/contract/local_control.md, for every object.

    Objects are worked on one at a time, the lowest first: in the fourth cycle after the RELEASE the
    object may be ready again, and its credits are offered; the next object follows when those have
    been taken. A written descriptor is worked on in the same way.

    Members
    -------
    table : In(TableWrite)
    arrived : In(objects)
        Strobe: a vector has come.
    full : Out(objects)
        There is no room for another vector, from the cycle after ``arrived``.
    ready : Out(objects)
        What the present iteration needs is there.
    release : In(stream of a mask of objects)
    grants : Out(stream of CreditGrant)
    busy : Out(1)
        Something of a RELEASE is left to do.
    refused, counted : Out(1), In(1)
        An object was released that was not ready; stays until it is counted.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "table": In(TableWrite()),
                "arrived": In(config.objects),
                "full": Out(config.objects),
                "ready": Out(config.objects),
                "release": In(stream.Signature(config.objects)),
                "grants": Out(stream.Signature(CreditGrant())),
                "busy": Out(1),
                "refused": Out(1),
                "counted": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        objects = self.config.objects
        self._index = Signal(range(max(2, objects)))
        self._working, self._store = Signal(), Signal()
        self._waiting, self._stale = Signal(objects), Signal(objects)
        self._complete = Signal(objects)
        # Vectors present, and those that the iteration still lacks (none: 0 or less).
        self._present = Signal(data.ArrayLayout(BALANCE, objects))
        self._lacking = Signal(data.ArrayLayout(BALANCE, objects))
        self._freed, self._lacks = Signal(COUNT_BITS), Signal(BALANCE)
        self._fresh, self._over = Signal(), Signal()
        self._owing = Signal()
        self._count(m)
        self._work(m)
        self._grant(m)
        return m

    def _count(self, m: Module) -> None:
        """Arrivals, and what follows from them; a written object begins anew."""
        table = self.table
        word = data.View(descriptor_word(OBJECT, 0), table.data)
        for index in range(self.config.objects):
            enable, depth, start = (
                Signal(width, name=f"{name}_{index}")
                for name, width in (("enable", 1), ("depth", 5), ("start", 5))
            )
            present, lacking = self._present[index], self._lacking[index]
            arrived = self.arrived[index]
            chosen = self._index == index
            stored = self._store & chosen
            m.d.comb += [
                self.full[index].eq(~enable | (present >= Cat(depth, 0).as_signed())),
                self._complete[index].eq(enable & (lacking <= 0)),
                self.ready[index].eq(
                    self._complete[index] & ~self._waiting[index] & ~self._stale[index]
                    & ~(self._working & chosen)
                ),
            ]  # fmt: skip
            m.d.sync += [
                present.eq(present + arrived - Mux(stored, self._freed, 0)),
                lacking.eq(Mux(stored, self._lacks, lacking) - arrived),
            ]
            with m.If(table.en & ~table.stream & (table.index == index)):
                m.d.sync += present.eq(Cat(start, 0).as_signed())
                with m.If(table.word == 0):
                    m.d.sync += [
                        enable.eq(word.enable), depth.eq(word.depth), start.eq(word.arrived),
                        present.eq(Cat(word.arrived, 0).as_signed()),
                    ]  # fmt: skip

    def _work(self, m: Module) -> None:
        """Take an object; find its lines; multiply; keep what is dead and what it lacks next."""
        objects, table, release = self.config.objects, self.table, self.release
        pick, ending, spoiled = Signal.like(self._index), Signal(), Signal()
        written, wanted, picked = Signal(objects), Signal(objects), Signal(objects)
        # Whether an object is ready counts when the RELEASE is taken.
        released, due, was_due = Signal(objects), Signal(objects), Signal(objects)
        m.d.comb += due.eq(was_due)
        m.d.sync += was_due.eq(due)
        with m.If(release.valid & release.ready):
            m.d.comb += [released.eq(release.payload), due.eq(self._complete)]
        with m.If(table.en & ~table.stream):
            m.d.comb += written.eq(1 << table.index)
        m.d.comb += wanted.eq(self._waiting | self._stale | released)
        for position in reversed(range(objects)):
            with m.If(wanted[position]):
                m.d.comb += pick.eq(position)
        m.d.comb += spoiled.eq((self._stale & (1 << self._index)).any())
        with m.FSM() as fsm:
            with m.State("TAKE"), m.If(wanted.any() & ~self._owing):
                m.d.comb += picked.eq(1 << pick)
                m.d.sync += [
                    self._index.eq(pick),
                    self._fresh.eq((self._stale & picked).any()),
                    ending.eq((due & picked).any()),
                ]
                m.next = "LINES"
            with m.State("LINES"):
                m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                m.next = "STORE"
            with m.State("STORE"):
                m.d.comb += [
                    self._store.eq((self._fresh | ending) & ~spoiled),
                    self.refused.eq(~(self._fresh | ending | spoiled)),
                ]
                with m.If(~self.refused | self.counted):
                    m.next = "TAKE"
        m.d.comb += [
            self._working.eq(~fsm.ongoing("TAKE")),
            self.busy.eq(self._working | (self._waiting | self._stale).any() | self._owing),
            release.ready.eq(~self.busy),
        ]
        m.d.sync += [
            self._waiting.eq((self._waiting | released) & ~picked & ~written),
            self._stale.eq((self._stale & ~picked) | written),
        ]
        self._forms(m, pick, take=picked.any())

    def _forms(self, m: Module, pick: Value, *, take: Value) -> None:
        """The closed forms for the object in work."""
        sizes, window = self._descriptors(m, pick, take)
        place, next_place = self._memory(m, "places", _Place(), pick, self._store)
        frame, next_frame = self._memory(m, "frames", 16, pick, self._store & self._fresh)
        s, size = Signal(_Place()), Signal(16)
        with m.If(take):
            m.d.sync += [s.eq(place), size.eq(frame)]
        row, col, last_col = Signal(8), Signal(8), Signal()
        m.d.comb += [
            last_col.eq(s.col + 1 >= sizes.out_width),
            self._over.eq(last_col & (s.row + 1 >= sizes.out_height) & ~self._fresh),
            row.eq(Mux(self._fresh | self._over, 0, s.row + last_col)),
            col.eq(Mux(self._fresh | last_col, 0, s.col + 1)),
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
            above.eq(Mux(self._fresh | (top > height), height, top) * width),
            below.eq(Mux(bottom < height - 1, bottom, height - 1) * width),
            edge.eq(Mux(right < 0, 0, Mux(right > width, width, right))),
            needed_col.eq(Mux(end < width - 1, end, width - 1)),
        ]
        reached, dead, before = Signal(signed(20)), Signal(COUNT_BITS), Signal(COUNT_BITS)
        m.d.comb += [
            reached.eq(Mux(top < 0, 0, above + edge)),
            dead.eq(Mux(self._over | (reached > size), size, reached)),
            before.eq(Mux(self._fresh, 0, s.dead)),
            self._freed.eq(Mux(self._fresh, 0, dead - before)),
            # What is dead has arrived, or counts as such until the frame is over.
            self._lacks.eq(
                below + needed_col + 1 - self._present[self._index] - before
                + Mux(self._over, size, 0)
            ),
            next_place.row.eq(row),
            next_place.col.eq(col),
            next_place.dead.eq(Mux(self._fresh | self._over, 0, dead)),
            next_frame.eq(above),
        ]  # fmt: skip

    def _descriptors(self, m: Module, pick: Value, take: Value) -> tuple[data.View, data.View]:
        """Sizes and window of the object in work."""
        table, found = self.table, []
        for word in (1, 2):
            layout = descriptor_word(OBJECT, word)
            store = memory.Memory(shape=layout, depth=table_depth(self.config.objects), init=[])
            m.submodules[f"descriptors_{word}"] = store
            write, read = store.write_port(), store.read_port(domain="comb")
            chosen = Signal(layout)
            m.d.comb += [
                write.addr.eq(table.index),
                write.en.eq(
                    table.en & ~table.stream & (table.word == word)
                    & (table.index < self.config.objects)
                ),
                Value.cast(write.data).eq(table.data),
                read.addr.eq(pick),
            ]  # fmt: skip
            with m.If(take):
                m.d.sync += chosen.eq(read.data)
            found.append(chosen)
        return found[0], found[1]

    def _memory(
        self, m: Module, name: str, shape: object, pick: Value, enable: Value
    ) -> tuple[Value, Value]:
        """One entry per object: that of the object picked, and what the one in work keeps."""
        store = memory.Memory(shape=shape, depth=table_depth(self.config.objects), init=[])
        m.submodules[name] = store
        write, read = store.write_port(), store.read_port(domain="comb")
        m.d.comb += [write.addr.eq(self._index), write.en.eq(enable), read.addr.eq(pick)]
        return read.data, write.data

    def _grant(self, m: Module) -> None:
        """Credits of what has become free."""
        payload = self.grants.payload
        owed, owner = Signal(COUNT_BITS), Signal(4)
        m.d.comb += [
            self._owing.eq(owed != 0),
            self.grants.valid.eq(self._owing),
            payload.object.eq(owner),
            payload.count.eq(Mux(owed > MOST_CREDITS, MOST_CREDITS, owed)),
        ]
        with m.If(self.grants.valid & self.grants.ready):
            m.d.sync += owed.eq(owed - payload.count)
        with m.If(self._store):
            m.d.sync += [owed.eq(self._freed), owner.eq(self._index)]
