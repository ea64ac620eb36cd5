# SPDX-License-Identifier: Apache-2.0
"""Local control: when an iteration may begin, and what its end gives back."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.core.interfaces import (
    CreditGrant,
    ObjectLookup,
    TableWrite,
    WindowPlace,
    descriptor_word,
)
from phasecore.rtl.interface.iteration_forms import BALANCE, COUNT_BITS, IterationForms
from phasecore.rtl.interface.read_pointers import ReadPointers
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import OBJECT
from phasecore.rtl.spec.messages import GRANT_MAX

__all__ = ["CreditPayer", "LocalControl", "ObjectBalance"]

_START = signed(13)
"""Depth of a ring without the vectors that are in it at first."""


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
    lookup, place : In(ObjectLookup), Out(WindowPlace)
        Where the window of an object is that is ready, in the next cycle.
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
                "lookup": In(ObjectLookup()),
                "place": Out(WindowPlace(config)),
                "busy": Out(1),
                "refused": Out(1),
                "counted": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        objects, table, release = self.config.objects, self.table, self.release
        m.submodules.forms = forms = IterationForms(self.config)
        m.submodules.payer = payer = CreditPayer()
        connect(m, payer.grants, flipped(self.grants))
        index, pick = (Signal.like(forms.index) for _ in range(2))
        waiting, stale, complete = Signal(objects), Signal(objects), Signal(objects)
        written, wanted, picked = Signal(objects), Signal(objects), Signal(objects)
        working, store, fresh, ending, spoiled, cursor = (Signal() for _ in range(6))
        # Whether an object is ready counts when the RELEASE is taken.
        released, due, was_due, start = *(Signal(objects) for _ in range(3)), Signal(_START)
        accepted = release.valid & release.ready
        m.d.comb += [
            due.eq(Mux(accepted, complete, was_due)),
            released.eq(Mux(accepted, release.payload, 0)),
            written.eq(Mux(table.en & ~table.route, 1 << table.index, 0)),
            wanted.eq(waiting | stale | released),
            spoiled.eq((stale & (1 << index)).any()),
            self.ready.eq(complete & ~waiting & ~stale & ~Mux(working, 1 << index, 0)),
        ]
        for position in reversed(range(objects)):
            with m.If(wanted[position]):
                m.d.comb += pick.eq(position)
        with m.FSM() as fsm:
            with m.State("TAKE"), m.If(wanted.any() & ~payer.owing):
                m.d.comb += picked.eq(1 << pick)
                m.d.sync += [
                    index.eq(pick), fresh.eq((stale & picked).any()),
                    ending.eq((due & picked).any()),
                ]  # fmt: skip
                m.next = "LINES"
            with m.State("LINES"):
                m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                m.next = "STORE"
            with m.State("STORE"):
                m.d.comb += [
                    store.eq((fresh | ending) & ~spoiled),
                    self.refused.eq(~(fresh | ending | spoiled)),
                ]
                with m.If(~self.refused | self.counted):
                    m.next = "TAKE"
        m.d.comb += [
            working.eq(~fsm.ongoing("TAKE")),
            self.busy.eq(working | (waiting | stale).any() | payer.owing),
            release.ready.eq(~self.busy),
        ]
        m.d.sync += [
            waiting.eq((waiting | released) & ~picked & ~written),
            stale.eq((stale & ~picked) | written),
            was_due.eq(due),
        ]
        self._objects(m, forms, index, store, complete, cursor, start)
        m.d.comb += [
            forms.take.eq(picked.any()), forms.pick.eq(pick), forms.fresh.eq(fresh),
            forms.store.eq(store), forms.index.eq(index),
            payer.load.eq(store & ~cursor), payer.object.eq(index), payer.count.eq(forms.freed),
        ]  # fmt: skip
        return m

    def _objects(
        self, m: Module, forms: IterationForms, index: Signal, store: Signal, complete: Signal,
        cursor: Signal, start: Signal,
    ) -> None:  # fmt: skip
        """A balance for each object; the forms see that of the one in work, pointers go along."""
        self._follow(m, forms)
        table = self.table
        words = [data.View(descriptor_word(OBJECT, word), table.data) for word in (0, 2)]
        m.d.comb += start.eq(words[1].depth - words[1].arrived)
        for number in range(self.config.objects):
            m.submodules[f"object_{number}"] = balance = ObjectBalance(number, self.config.objects)
            m.d.comb += [
                balance.given.eq(table.en & ~table.route & (table.index == number)),
                *(
                    written.eq(balance.given & (table.word == word))
                    for written, word in ((balance.head_written, 0), (balance.ring_written, 2))
                ),
                *(balance.head[name].eq(words[0][name]) for name in ObjectBalance.HEAD.members),
                balance.start.eq(start),
                balance.arrived.eq(self.arrived),
                balance.store.eq(store & (index == number)),
                balance.next_room.eq(forms.next_room),
                balance.lacks.eq(forms.lacks),
                self.full[number].eq(balance.full),
                complete[number].eq(balance.complete),
            ]
            with m.If(index == number):
                m.d.comb += [forms.room.eq(balance.room), cursor.eq(balance.cursor)]

    def _follow(self, m: Module, forms: IterationForms) -> None:
        """The pointers go on with the iterations."""
        m.submodules.pointers = pointers = ReadPointers(self.config)
        connect(m, flipped(self.lookup), pointers.lookup)
        same = ("take", "pick", "index", "fresh", "over", "turn", "store")
        m.d.comb += [
            *(unit.table.eq(self.table) for unit in (forms, pointers)),
            *(getattr(pointers, name).eq(getattr(forms, name)) for name in same),
            pointers.row.eq(forms.next_row),
            pointers.col.eq(forms.next_col),
            self.place.eq(pointers.place),
        ]


class ObjectBalance(wiring.Component):
    """Vectors of one object for which there is room, and those that its iteration lacks.

    Parameters
    ----------
    number : of the object
    objects : of the core

    Members
    -------
    given : In(1)
        A word of the descriptor is written, and the object begins anew.
    head_written, head, ring_written, start : In(1), In(HEAD), In(1), In(signed 13)
        It is the word with these fields, or the one that says how much room there is at first.
    arrived : In(objects)
        Strobes: a vector of an object is there.
    store, next_room, lacks : In(1), In(BALANCE), In(BALANCE)
        The next iteration begins: the room that there is then, vectors that it lacks.
    room : Out(BALANCE)
        Vectors for which there is room.
    cursor : Out(1)
        As in the descriptor.
    full, complete : Out(1), Out(1)
        There is no room for another vector; the iteration lacks nothing.
    """

    HEAD = data.StructLayout({"enable": 1, "source": 4, "cursor": 1})

    def __init__(self, number: int, objects: int) -> None:
        self.number = number
        super().__init__(
            {
                "given": In(1),
                "head_written": In(1),
                "head": In(self.HEAD),
                "ring_written": In(1),
                "start": In(_START),
                "arrived": In(objects),
                "store": In(1),
                "next_room": In(BALANCE),
                "lacks": In(BALANCE),
                "room": Out(BALANCE),
                "cursor": Out(1),
                "full": Out(1),
                "complete": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        head, start = Signal(self.HEAD), Signal(_START)
        lacking, arrived = Signal(BALANCE), Signal()
        followed = (self.arrived & (1 << head.source)).any()
        m.d.comb += [
            arrived.eq(Mux(head.cursor, followed, self.arrived[self.number])),
            self.cursor.eq(head.cursor),
            self.full.eq(~head.enable | (self.room <= 0)),
            self.complete.eq(head.enable & (lacking <= 0)),
        ]
        m.d.sync += [
            self.room.eq(Mux(self.store, self.next_room, self.room) - arrived),
            lacking.eq(Mux(self.store, self.lacks, lacking) - arrived),
        ]
        with m.If(self.given):
            m.d.sync += self.room.eq(Mux(self.ring_written, self.start, start))
        with m.If(self.head_written):
            m.d.sync += head.eq(self.head)
        with m.If(self.ring_written):
            m.d.sync += start.eq(self.start)
        return m


class CreditPayer(wiring.Component):
    """Offers the credits of an object, at most 255 at a time, until all are taken.

    Members
    -------
    load, object, count : In(1), In(4), In
        The object that is owed credits, and how many.
    owing : Out(1)
        Credits are left.
    grants : Out(stream of CreditGrant)
    """

    grants: stream.Interface

    def __init__(self) -> None:
        super().__init__(
            {
                "load": In(1),
                "object": In(4),
                "count": In(COUNT_BITS),
                "owing": Out(1),
                "grants": Out(stream.Signature(CreditGrant())),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        payload = self.grants.payload
        owed, owner = Signal(COUNT_BITS), Signal(4)
        m.d.comb += [
            self.owing.eq(owed != 0),
            self.grants.valid.eq(self.owing),
            payload.object.eq(owner),
            payload.count.eq(Mux(owed > GRANT_MAX, GRANT_MAX, owed)),
        ]
        with m.If(self.grants.valid & self.grants.ready):
            m.d.sync += owed.eq(owed - payload.count)
        with m.If(self.load):
            m.d.sync += [owed.eq(self.count), owner.eq(self.object)]
        return m
