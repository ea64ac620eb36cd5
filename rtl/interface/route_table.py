# SPDX-License-Identifier: Apache-2.0
"""Route descriptors and their credits."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import TableWrite
from phasecore.rtl.interface.descriptor_table import DescriptorTable
from phasecore.rtl.interface.head import Destination
from phasecore.rtl.interface.route_credits import MemberCredits, RouteCredits
from phasecore.rtl.spec.noc import NocConfig

__all__ = ["RouteTable"]


class RouteTable(wiring.Component):
    """Table of ``routes`` descriptors, written word by word; a write restarts the credits.

    A route is enabled if its descriptor says so, its virtual channel exists and it has 1..16
    consumers.

    Members
    -------
    table : In(TableWrite)
    index : In(4)
        Route that is asked for.
    enabled, route : Out(1), Out(Destination)
        Of that route.
    sendable, pay : Out(1), In(1)
        Every consumer of the route has a credit for a vector; take them.
    credit_en, credit : In(1), In(MemberCredits)
        A member of a route gets credits; at most 4,095 stay.
    credit_known : Out(1)
        ``credit`` is for a member of a route that is enabled.
    credit_excess : Out(1)
        The member of the cycle before would have more than 4,095.
    busy : Out(1)
        Credits are being counted.
    """

    def __init__(self, routes: int, noc: NocConfig):
        self.routes, self.noc = routes, noc
        super().__init__(
            {
                "table": In(TableWrite()),
                "index": In(4),
                "enabled": Out(1),
                "route": Out(Destination()),
                "sendable": Out(1),
                "pay": In(1),
                "credit_en": In(1),
                "credit": In(MemberCredits()),
                "credit_known": Out(1),
                "credit_excess": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.routes = routes = DescriptorTable(
            route=True, word=0, entries=self.routes, kept=Destination()
        )
        m.submodules.credits = credits = RouteCredits(self.routes)
        # One bit per possible index, so that no index is outside.
        chosen, enabled = Signal(16), Signal(16)
        m.d.comb += [
            routes.table.eq(self.table),
            routes.index[0].eq(self.index),
            credits.table.eq(self.table),
            credits.index.eq(self.index),
            credits.pay.eq(self.pay),
            credits.credit_en.eq(self.credit_en),
            credits.credit.eq(self.credit),
            enabled.eq(chosen & credits.possible),
            self.enabled.eq(enabled.bit_select(self.index, 1)),
            self.route.eq(routes.entry[0]),
            self.sendable.eq(credits.sendable),
            self.credit_known.eq(enabled.bit_select(self.credit.route, 1) & credits.member_known),
            self.credit_excess.eq(credits.excess),
            self.busy.eq(credits.busy),
        ]
        word = data.View(routes.source, self.table.data)
        with m.If(routes.written):
            m.d.sync += chosen.bit_select(self.table.index, 1).eq(
                word.enable & (word.vc < self.noc.virtual_channels)
            )
        return m
