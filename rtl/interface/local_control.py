# SPDX-License-Identifier: Apache-2.0
"""Local control: when an iteration may begin, and what its end gives back."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.core.interfaces import CreditGrant, TableWrite, descriptor_word
from phasecore.rtl.interface.iteration_forms import BALANCE, COUNT_BITS, IterationForms
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import OBJECT

__all__ = ["CreditPayer", "LocalControl", "ObjectBalance"]

MOST_CREDITS = 255


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
        objects, table, release = self.config.objects, self.table, self.release
        m.submodules.forms = forms = IterationForms(self.config)
        m.submodules.payer = payer = CreditPayer()
        connect(m, payer.grants, flipped(self.grants))
        index, pick = (Signal.like(forms.index) for _ in range(2))
        waiting, stale, complete = Signal(objects), Signal(objects), Signal(objects)
        written, wanted, picked = Signal(objects), Signal(objects), Signal(objects)
        working, store, fresh, ending, spoiled = (Signal() for _ in range(5))
        # Whether an object is ready counts when the RELEASE is taken.
        released, due, was_due = Signal(objects), Signal(objects), Signal(objects)
        accepted = release.valid & release.ready
        m.d.sync += was_due.eq(due)
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
        ]
        self._objects(m, forms, index, store, complete)
        m.d.comb += [
            forms.table.eq(table), forms.take.eq(picked.any()), forms.pick.eq(pick),
            forms.fresh.eq(fresh), forms.store.eq(store), forms.index.eq(index),
            payer.load.eq(store), payer.object.eq(index), payer.count.eq(forms.freed),
        ]  # fmt: skip
        return m

    def _objects(
        self, m: Module, forms: IterationForms, index: Signal, store: Signal, complete: Signal
    ) -> None:
        """A balance for each object; the forms see that of the one in work."""
        table = self.table
        word = data.View(descriptor_word(OBJECT, 0), table.data)
        for number in range(self.config.objects):
            m.submodules[f"object_{number}"] = balance = ObjectBalance()
            m.d.comb += [
                balance.given.eq(table.en & ~table.route & (table.index == number)),
                balance.written.eq(balance.given & (table.word == 0)),
                *(balance.word[name].eq(word[name]) for name in ObjectBalance.RING.members),
                balance.arrived.eq(self.arrived[number]),
                balance.store.eq(store & (index == number)),
                balance.freed.eq(forms.freed),
                balance.lacks.eq(forms.lacks),
                self.full[number].eq(balance.full),
                complete[number].eq(balance.complete),
            ]
            with m.If(index == number):
                m.d.comb += forms.present.eq(balance.present)


class ObjectBalance(wiring.Component):
    """Vectors of one object that are there, and that its iteration lacks.

    Members
    -------
    given, written, word : In(1), In(1), In(ring fields)
        A word of the descriptor is written, and the object begins anew; it is the first word.
    arrived : In(1)
        Strobe: a vector is there.
    store, freed, lacks : In(1), In, In(BALANCE)
        The next iteration begins: vectors that are free now, vectors that it lacks.
    present : Out(BALANCE)
        Vectors that are there.
    full, complete : Out(1), Out(1)
        There is no room for another vector; the iteration lacks nothing.
    """

    RING = data.StructLayout({"enable": 1, "depth": 5, "arrived": 5})

    def __init__(self) -> None:
        super().__init__(
            {
                "given": In(1),
                "written": In(1),
                "word": In(self.RING),
                "arrived": In(1),
                "store": In(1),
                "freed": In(COUNT_BITS),
                "lacks": In(BALANCE),
                "present": Out(BALANCE),
                "full": Out(1),
                "complete": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ring, present, lacking = Signal(self.RING), self.present, Signal(BALANCE)
        m.d.comb += [
            self.full.eq(~ring.enable | (present >= Cat(ring.depth, 0).as_signed())),
            self.complete.eq(ring.enable & (lacking <= 0)),
        ]
        m.d.sync += [
            present.eq(present + self.arrived - Mux(self.store, self.freed, 0)),
            lacking.eq(Mux(self.store, self.lacks, lacking) - self.arrived),
        ]
        with m.If(self.given):
            start = Mux(self.written, self.word.arrived, ring.arrived)
            m.d.sync += present.eq(Cat(start, 0).as_signed())
        with m.If(self.written):
            m.d.sync += ring.eq(self.word)
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
            payload.count.eq(Mux(owed > MOST_CREDITS, MOST_CREDITS, owed)),
        ]
        with m.If(self.grants.valid & self.grants.ready):
            m.d.sync += owed.eq(owed - payload.count)
        with m.If(self.load):
            m.d.sync += [owed.eq(self.count), owner.eq(self.object)]
        return m
