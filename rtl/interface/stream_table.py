# SPDX-License-Identifier: Apache-2.0
"""Stream descriptors and their credits."""

from amaranth.hdl import Const, Module, Mux, Signal, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import CreditGrant, TableWrite, descriptor_word, table_depth
from phasecore.rtl.spec.instructions import STREAM
from phasecore.rtl.spec.noc import FabricConfig

__all__ = ["StreamTable"]


class StreamTable(wiring.Component):
    """Table of ``streams`` descriptors, written word by word; a write restarts the credits.

    A stream is enabled if its descriptor says so and its virtual channel exists.

    Members
    -------
    table : In(TableWrite)
    index : In(4)
        Stream that is asked for.
    enabled, route : Out(1), Out(first word of the descriptor)
        Of that stream.
    sendable, pay : Out(1), In(1)
        The stream has the credits for a vector; take them. Not in a cycle with ``credit_en``.
    credit_en, credit : In(1), In(CreditGrant)
        The stream ``credit.object`` gets credits; at most 255 stay.
    credit_known, credit_excess : Out(1), Out(1)
        ``credit`` is for a stream that is enabled; it would have more than 255.
    """

    def __init__(self, streams: int, fabric: FabricConfig):
        self.streams, self.fabric = streams, fabric
        super().__init__(
            {
                "table": In(TableWrite()),
                "index": In(4),
                "enabled": Out(1),
                "route": Out(descriptor_word(STREAM, 0)),
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
        table, depth = self.table, table_depth(self.streams)
        routes, counts = descriptor_word(STREAM, 0), descriptor_word(STREAM, 1)
        m.submodules.routes = route_table = memory.Memory(shape=routes, depth=depth, init=[])
        m.submodules.counts = count_table = memory.Memory(shape=counts, depth=depth, init=[])
        m.submodules.credits = credits = memory.Memory(shape=unsigned(8), depth=depth, init=[])
        given = Signal()
        m.d.comb += given.eq(table.en & table.stream & (table.index < self.streams))
        for word, target in enumerate((route_table, count_table)):
            write = target.write_port()
            m.d.comb += [
                write.addr.eq(table.index),
                write.data.as_value().eq(table.data),
                write.en.eq(given & (table.word == word)),
            ]
        route = route_table.read_port(domain="comb")
        count, returned = count_table.read_port(domain="comb"), count_table.read_port(domain="comb")
        own, other = credits.read_port(domain="comb"), credits.read_port(domain="comb")
        m.d.comb += [port.addr.eq(self.index) for port in (route, count, own)]
        m.d.comb += [port.addr.eq(self.credit.object) for port in (returned, other)]

        # One bit per possible index, so that no index is outside.
        enabled, changed = Signal(16), Signal(16)
        have, before, after = Signal(8), Signal(8), Signal(9)
        asked, paid = Const(1, 16) << self.index, Const(1, 16) << self.credit.object
        m.d.comb += [
            # Until it first changes, the count is the descriptor's.
            have.eq(Mux((changed & asked).any(), own.data, count.data.credits)),
            before.eq(Mux((changed & paid).any(), other.data, returned.data.credits)),
            after.eq(before + self.credit.count),
            self.enabled.eq((enabled & asked).any()),
            self.route.eq(route.data),
            self.sendable.eq((have >= count.data.needed) & ~self.credit_en),
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
                write.data.eq(have - count.data.consumers),
            ]
            m.d.sync += changed.eq(changed | asked)
        with m.If(given):
            m.d.sync += changed.bit_select(table.index, 1).eq(0)
        word = routes(table.data)
        with m.If(given & (table.word == 0)):
            m.d.sync += enabled.bit_select(table.index, 1).eq(
                word.enable & (word.vc < self.fabric.virtual_channels)
            )
        return m
