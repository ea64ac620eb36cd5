# SPDX-License-Identifier: Apache-2.0
"""A counter for every member of every route."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.core.interfaces import descriptor_word, table_depth
from phasecore.rtl.lib.sram import Sram
from phasecore.rtl.spec.instructions import CREDITS_MAX, MEMBERS, ROUTE
from phasecore.rtl.spec.messages import GRANT_MAX

__all__ = ["CounterChange", "CreditCounters", "CreditStart"]


class CreditStart(data.StructLayout):
    """Word 1 of a route's descriptor: credits of each of its consumers."""

    def __init__(self) -> None:
        super().__init__({name: field.shape for name, field in descriptor_word(ROUTE, 1)})


class CounterChange(data.StructLayout):
    """A change of the counter of a member: with ``pay`` one credit less, else ``count`` more.

    ``owes``: a payment has yet to take a credit of it, which may be one too many until then.
    """

    def __init__(self, members: int) -> None:
        super().__init__({
            "route": 4, "member": exact_log2(members), "pay": 1, "owes": 1,
            "count": range(GRANT_MAX + 1),
        })  # fmt: skip


class CreditCounters(wiring.Component):
    """Changes a counter per cycle: reads it in the cycle of the change, writes it in the next.

    Parameters
    ----------
    routes : that have counters
    members : counters of a route, a power of two

    Members
    -------
    restart, restarted : In(1), In(4)
        The descriptor of route ``restarted`` is written; its counters are those of ``start`` again.
    change_en, change : In(1), In(CounterChange)
    changing, change_start : Out(4), In(CreditStart)
        Route of the change of the cycle before, and what its counters began with.
    index, start : In(4), In(CreditStart)
        Route that is asked for, and what its counters began with.
    empty : Out(1)
        A member of it has no credits, as of all changes up to that of the cycle before.
    excess : Out(1)
        The change of the cycle before was of credits, and more than 4,095, which stay.
    busy : Out(1)
        There was one.
    """

    def __init__(self, routes: int, members: int = MEMBERS):
        self.routes, self.members = routes, members
        super().__init__(
            {
                "restart": In(1),
                "restarted": In(4),
                "change_en": In(1),
                "change": In(CounterChange(members)),
                "changing": Out(4),
                "change_start": In(CreditStart()),
                "index": In(4),
                "start": In(CreditStart()),
                "empty": Out(1),
                "excess": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth = table_depth(self.routes)
        # A bit more than 4,095 needs, for a member that owes.
        m.submodules.store = store = Sram(
            width=(CREDITS_MAX + 1).bit_length(), depth=depth * self.members
        )
        # Members at zero by route.
        zeros = memory.Memory(shape=range(self.members + 1), depth=depth, init=[])
        m.submodules.zeros = zeros
        own, other = zeros.read_port(domain="comb"), zeros.read_port(domain="comb")
        write = zeros.write_port()
        # Counters, and routes with one, that have changed since the descriptor was written.
        touched, counted = Signal(store.depth), Signal(16)
        address, change = Signal.like(store.r_address), Signal(CounterChange(self.members))
        # The counter has not changed before; it is that of the change before.
        fresh, again, mine, at = Signal(), Signal(), Signal(), Signal.like(write.data)
        before, after = Signal(store.width), Signal(store.width + 1)
        most, written = Signal(store.width), Signal(store.width)

        def at_zero(index: Value, kept: Value, start: data.View) -> Value:
            first = Mux(start.credits == 0, start.consumers, 0)
            return Mux(counted.bit_select(index, 1), kept, first)

        m.d.comb += [
            address.eq(Cat(self.change.member, self.change.route)),
            store.r_en.eq(self.change_en), store.r_address.eq(address),
            own.addr.eq(self.index), other.addr.eq(change.route),
            before.eq(Mux(fresh, self.change_start.credits, Mux(again, written, store.r_data))),
            after.eq(Mux(change.pay, before - 1, before + change.count)),
            most.eq(CREDITS_MAX + change.owes),
            self.changing.eq(change.route),
            # A change counts at once: who waits for a credit would be a cycle later.
            mine.eq(self.busy & (change.route == self.index)),
            at.eq(Mux(mine, write.data, at_zero(self.index, own.data, self.start))),
            self.empty.eq(at != 0),
            self.excess.eq(self.busy & ~change.pay & (after > most)),
            store.w_en.eq(self.busy), store.w_mask.eq(1),
            store.w_address.eq(Cat(change.member, change.route)),
            store.w_data.eq(Mux(self.excess, most, after)),
            write.en.eq(self.busy), write.addr.eq(change.route),
            write.data.eq(
                at_zero(change.route, other.data, self.change_start)
                - (before == 0) + (store.w_data == 0)
            ),
        ]  # fmt: skip
        m.d.sync += [
            self.busy.eq(self.change_en & ~(self.restart & (self.restarted == self.change.route))),
            change.eq(self.change),
            fresh.eq(~touched.bit_select(address, 1)),
            again.eq(self.busy & (store.w_address == address)),
            written.eq(store.w_data),
        ]  # fmt: skip
        self._mark(m, touched, counted, address, change)
        return m

    def _mark(
        self, m: Module, touched: Value, counted: Value, address: Value, change: data.View
    ) -> None:
        """What has changed since the descriptor was written."""
        # Words of bits: a simulator has no comparison for each of them.
        every = (1 << self.members) - 1
        m.d.sync += [
            touched.eq(
                (touched | Mux(self.change_en, 1 << address, 0))
                & ~Mux(self.restart, every << (self.restarted * self.members), 0)
            ),
            counted.eq(
                (counted | Mux(self.busy, 1 << change.route, 0))
                & ~Mux(self.restart, 1 << self.restarted, 0)
            ),
        ]
