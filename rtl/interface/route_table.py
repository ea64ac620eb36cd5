# SPDX-License-Identifier: Apache-2.0
"""Route descriptors and their credits."""

from amaranth.hdl import Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import CreditGrant, TableWrite, table_depth
from phasecore.rtl.interface.descriptor_table import DescriptorTable
from phasecore.rtl.interface.head import Destination
from phasecore.rtl.spec.noc import NocConfig

__all__ = ["RouteTable"]


class RouteTable(wiring.Component):
    """Table of ``routes`` descriptors, written word by word; a write restarts the credits.

    A route is enabled if its descriptor says so and its virtual channel exists.

    Members
    -------
    table : In(TableWrite)
    index : In(4)
        Route that is asked for.
    enabled, route : Out(1), Out(Destination)
        Of that route.
    sendable, pay : Out(1), In(1)
        The route has the credits for a vector; take them. Not in a cycle with ``credit_en``.
    credit_en, credit : In(1), In(CreditGrant)
        The route ``credit.object`` gets credits; at most 255 stay.
    credit_known, credit_excess : Out(1), Out(1)
        ``credit`` is for a route that is enabled; it would have more than 255.
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
                "credit": In(CreditGrant()),
                "credit_known": Out(1),
                "credit_excess": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        table, depth = self.table, table_depth(self.routes)
        m.submodules.routes = routes = DescriptorTable(
            route=True, word=0, entries=self.routes, kept=Destination()
        )
        m.submodules.counts = counts = DescriptorTable(
            route=True, word=1, entries=self.routes, reads=2
        )
        m.submodules.credits = credits = memory.Memory(shape=unsigned(8), depth=depth, init=[])
        own, other = credits.read_port(domain="comb"), credits.read_port(domain="comb")
        count, returned = counts.entry
        m.d.comb += [
            routes.table.eq(table),
            counts.table.eq(table),
            *(port.eq(self.index) for port in (routes.index[0], counts.index[0], own.addr)),
            *(port.eq(self.credit.object) for port in (counts.index[1], other.addr)),
        ]

        # One bit per possible index, so that no index is outside.
        enabled, changed = Signal(16), Signal(16)
        have, before, after = Signal(8), Signal(8), Signal(9)
        asked, paid = Const(1, 16) << self.index, Const(1, 16) << self.credit.object
        m.d.comb += [
            # Until it first changes, the count is the descriptor's.
            have.eq(Mux((changed & asked).any(), own.data, count.credits)),
            before.eq(Mux((changed & paid).any(), other.data, returned.credits)),
            after.eq(before + self.credit.count),
            self.enabled.eq((enabled & asked).any()),
            self.route.eq(routes.entry[0]),
            self.sendable.eq((have >= count.needed) & ~self.credit_en),
            self.credit_known.eq((enabled & paid).any()),
            self.credit_excess.eq(after[8]),
        ]
        write = credits.write_port()
        with m.If(self.credit_en):
            m.d.comb += [
                write.en.eq(1),
                write.addr.eq(self.credit.object),
                write.data.eq(Mux(self.credit_excess, 255, after)),
            ]
            m.d.sync += changed.eq(changed | paid)
        with m.Elif(self.pay):
            m.d.comb += [
                write.en.eq(1),
                write.addr.eq(self.index),
                write.data.eq(have - count.consumers),
            ]
            m.d.sync += changed.eq(changed | asked)
        with m.If(routes.given):
            m.d.sync += changed.bit_select(table.index, 1).eq(0)
        word = data.View(routes.source, table.data)
        with m.If(routes.written):
            m.d.sync += enabled.bit_select(table.index, 1).eq(
                word.enable & (word.vc < self.noc.virtual_channels)
            )
        return m
