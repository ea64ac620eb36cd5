# SPDX-License-Identifier: Apache-2.0
"""Credits of routes against counters that change at once, two routes of at most two members."""

from amaranth.hdl import Assert, Assume, Cover, Module, Mux, ResetSignal, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import connect, flipped

from phasecore.rtl.core.interfaces import descriptor_word
from phasecore.rtl.interface.route_credits import RouteCredits
from phasecore.rtl.spec.instructions import CREDITS_MAX, ROUTE

__all__ = ["CreditsContract"]

_ROUTES = MEMBERS = 2


class CreditsContract(wiring.Component):
    """RouteCredits whose descriptors are written, and whose credits come and go, at any time.

    No counter is ever below zero. What is sendable has a credit of every member; if nothing is
    being counted, what has them is sendable. An excess is told, and nothing else is.
    """

    def __init__(self) -> None:
        self._component = RouteCredits(_ROUTES, MEMBERS)
        super().__init__(self._component.signature)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.component = component = self._component
        connect(m, flipped(self), component)
        consumers = [Signal(5, name=f"consumers_{route}") for route in range(_ROUTES)]
        word = data.View(descriptor_word(ROUTE, 1), self.table.data)
        written = self.table.en & self.table.route & (self.table.word == 1)
        m.d.comb += [
            Assume(~ResetSignal()),
            Assume(self.index < _ROUTES),
            Assume(self.credit.route < _ROUTES),
            # The table's, which knows the routes that are enabled.
            Assume(~self.credit_en | self.member_known),
            Assume(~self.pay | (self.sendable & (self.possible >> self.index)[0])),
            Assume((word.consumers >= 1) & (word.consumers <= MEMBERS)),
            # Values at the ends, for the solver's sake.
            Assume((word.credits < 2) | (word.credits >= CREDITS_MAX - 1)),
            Assume(self.credit.count < 3),
            Cover(self.excess),
        ]
        all_there, excess, was_excess = Signal(), Signal(), Signal()
        m.d.sync += was_excess.eq(excess)
        for route, count in enumerate(consumers):
            with m.If(written & (self.table.index == route)):
                m.d.sync += count.eq(word.consumers)
            there = self._members(m, route, count, excess)
            with m.If(self.index == route):
                m.d.comb += all_there.eq(there)
        m.d.comb += [
            Assert(~self.sendable | all_there),
            Assert(self.busy | (self.sendable == all_there)),
            Assert(self.excess == was_excess),
        ]
        return m

    def _members(self, m: Module, route: int, count: Signal, excess: Signal) -> Signal:
        """Counters of a route; whether all that it has are above zero."""
        there, given = Signal(name=f"there_{route}"), Signal(name=f"given_{route}")
        start, kept = Signal(12, name=f"start_{route}"), Signal(12, name=f"kept_{route}")
        word = data.View(descriptor_word(ROUTE, 1), self.table.data)
        m.d.comb += [
            there.eq(1),
            given.eq(self.table.en & self.table.route & (self.table.index == route)),
            start.eq(Mux(self.table.word == 1, word.credits, kept)),
        ]
        with m.If(given):
            m.d.sync += kept.eq(start)
        for member in range(MEMBERS):
            credits = Signal(12, name=f"credits_{route}_{member}")
            total, paid = Signal(13), Signal()
            come = self.credit_en & (self.credit.route == route) & (self.credit.member == member)
            m.d.comb += [
                paid.eq(self.pay & (self.index == route) & (member < count)),
                total.eq(credits + Mux(come, self.credit.count, 0)),
                Assert(~paid | (credits != 0)),
            ]
            # A payment is of the counter as it is; what comes with it may still be too much.
            m.d.sync += credits.eq(Mux(total > CREDITS_MAX, CREDITS_MAX, total) - paid)
            with m.If(given):
                m.d.sync += credits.eq(start)
            with m.If(come & (total > CREDITS_MAX)):
                m.d.comb += excess.eq(~given)
            with m.If((member < count) & (credits == 0)):
                m.d.comb += there.eq(0)
            m.d.comb += Cover(self.sendable & come & paid)
        return there
