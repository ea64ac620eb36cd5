# SPDX-License-Identifier: Apache-2.0
"""Credits of the routes, for every consumer its own."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import TableWrite
from phasecore.rtl.interface.credit_counters import CreditCounters, CreditStart
from phasecore.rtl.interface.descriptor_table import DescriptorTable
from phasecore.rtl.spec.instructions import MEMBERS
from phasecore.rtl.spec.messages import GRANT_MAX

__all__ = ["MemberCredits", "RouteCredits"]


class MemberCredits(data.StructLayout):
    """``count`` credits of consumer ``member`` for route ``route``, as of a CREDIT message."""

    def __init__(self) -> None:
        super().__init__({"route": 4, "member": 8, "count": range(GRANT_MAX + 1)})


class RouteCredits(wiring.Component):
    """Takes a credit of every member of a route for a vector, and counts those that come back.

    One counter is changed per cycle; credits go first. A payment takes a cycle per member, in which
    no route is sendable. A written descriptor puts the route's counters to its ``credits``, and
    ends a payment of the route.

    Parameters
    ----------
    routes : that have credits
    members : most consumers of a route, a power of two

    Members
    -------
    table : In(TableWrite)
    index : In(4)
        Route that is asked for.
    possible : Out(16)
        Routes whose descriptors have 1..``members`` consumers.
    sendable, pay : Out(1), In(1)
        All members of the route have credits, and no payment is left to do; take one of each.
    credit_en, credit : In(1), In(MemberCredits)
        A member of a route gets credits; at most 4,095 stay.
    member_known : Out(1)
        ``credit`` is for a member that the route has.
    excess : Out(1)
        The member of the cycle before would have more than 4,095.
    busy : Out(1)
        A counter is being changed.
    """

    def __init__(self, routes: int, members: int = MEMBERS):
        self.routes, self.members = routes, members
        super().__init__(
            {
                "table": In(TableWrite()),
                "index": In(4),
                "possible": Out(16),
                "sendable": Out(1),
                "pay": In(1),
                "credit_en": In(1),
                "credit": In(MemberCredits()),
                "member_known": Out(1),
                "excess": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        table, credit = self.table, self.credit
        m.submodules.starts = starts = DescriptorTable(
            route=True, word=1, entries=self.routes, kept=CreditStart(), reads=3
        )
        m.submodules.counters = counters = CreditCounters(self.routes, self.members)
        change = counters.change
        # Members of route ``payer`` that have yet to pay; the last one pays first.
        left, payer, paying = Signal(range(self.members + 1)), Signal(4), Signal()
        m.d.comb += [
            paying.eq(left != 0),
            starts.table.eq(table),
            starts.index[0].eq(self.index),
            starts.index[1].eq(credit.route),
            starts.index[2].eq(counters.changing),
            counters.start.eq(starts.entry[0]),
            counters.change_start.eq(starts.entry[2]),
            counters.index.eq(self.index),
            counters.restart.eq(starts.given),
            counters.restarted.eq(table.index),
            counters.change_en.eq(self.credit_en | paying),
            change.route.eq(Mux(self.credit_en, credit.route, payer)),
            change.member.eq(Mux(self.credit_en, credit.member, left - 1)),
            change.pay.eq(~self.credit_en),
            change.owes.eq(self.credit_en & (credit.route == payer) & (credit.member < left)),
            change.count.eq(credit.count),
            self.member_known.eq(credit.member < starts.entry[1].consumers),
            self.sendable.eq(~paying & ~counters.empty),
            self.excess.eq(counters.excess),
            self.busy.eq(paying | counters.busy),
        ]
        with m.If(self.pay):
            m.d.sync += [left.eq(starts.entry[0].consumers), payer.eq(self.index)]
        with m.Elif(paying & ~self.credit_en):
            m.d.sync += left.eq(left - 1)
        with m.If(starts.given & (table.index == Mux(self.pay, self.index, payer))):
            m.d.sync += left.eq(0)
        word = data.View(starts.source, table.data)
        with m.If(starts.written):
            m.d.sync += self.possible.bit_select(table.index, 1).eq(
                (word.consumers != 0) & (word.consumers <= self.members)
            )
        return m
