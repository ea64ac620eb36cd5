# SPDX-License-Identifier: Apache-2.0
"""Sending half of the host bridge: stream packets become messages, credits go between them."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.chip.packet_banks import PacketBanks
from phasecore.rtl.core.control.load_unit import AxiStream
from phasecore.rtl.core.interfaces import TableWrite
from phasecore.rtl.interface.head import CreditHead, CreditRoute, Destination, keep_bytes
from phasecore.rtl.interface.packetiser import Packetiser
from phasecore.rtl.interface.route_credits import MemberCredits
from phasecore.rtl.interface.route_table import RouteTable
from phasecore.rtl.lib.link_credits import LinkCredits
from phasecore.rtl.noc.link import Link
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.instructions import PacketKind
from phasecore.rtl.spec.messages import MessageKind

__all__ = ["BridgeSender"]


class BridgeSender(wiring.Component):
    """Takes a stream packet into one buffer while it sends another, a flit per cycle.

    A packet's first flit is on the link three cycles after its last beat, if nothing else is
    sent; the first flit of a packet that waits for another comes two cycles after its last.

    Members
    -------
    axis : In(AxiStream)
        VECTOR and AFFINE packets.
    link : Out(Link)
    table : In(TableWrite)
        Descriptors of routes.
    grants : In(stream of CreditRoute)
        Sent between packets of the link, before other traffic.
    credit_en, credit, credit_known, credit_excess : In(1), In(MemberCredits), Out(1), Out(1)
        As of ``RouteTable``.
    malformed : Out(8)
        FaultCode of a stream packet that is dropped in this cycle.
    undefined, drop : Out(1), In(1)
        A packet for a route that is not enabled waits to be dropped.
    stalled : Out(1)
        A packet waits for the credits of its route.
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        super().__init__(
            {
                "axis": In(AxiStream(config.core)),
                "link": Out(Link(config.noc)),
                "table": In(TableWrite()),
                "grants": In(stream.Signature(CreditRoute())),
                "credit_en": In(1),
                "credit": In(MemberCredits()),
                "credit_known": Out(1),
                "credit_excess": Out(1),
                "malformed": Out(8),
                "undefined": Out(1),
                "drop": In(1),
                "stalled": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, noc = self.config, self.config.noc
        m.submodules.banks = banks = PacketBanks(config.core)
        m.submodules.routes = routes = RouteTable(config.host_routes, noc)
        m.submodules.packets = packets = Packetiser(config.core, noc)
        connect(m, flipped(self.axis), banks.axis)
        header, step = banks.header, Signal()
        # A packet is being sent, to the consumers that its descriptor had when it began.
        working, route = Signal(), Signal(Destination())
        affine, waits, known, load, done = Signal(), Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            self.malformed.eq(banks.malformed),
            affine.eq(header.kind == PacketKind.AFFINE),
            waits.eq(banks.full & ~working),
            known.eq(routes.enabled & (header.slot < 16)),
            self.undefined.eq(waits & ~known),
            load.eq(waits & known & (affine | routes.sendable)),
            self.stalled.eq(waits & known & ~load),
            done.eq((self.undefined & self.drop) | (step & packets.last)),
            routes.table.eq(self.table),
            routes.index.eq(header.slot),
            routes.pay.eq(load & ~affine),
            routes.credit_en.eq(self.credit_en),
            routes.credit.eq(self.credit),
            self.credit_known.eq(routes.credit_known),
            self.credit_excess.eq(routes.credit_excess),
            packets.load.eq(load),
            packets.start.eq(header.start),
            packets.length.eq(header.length),
            packets.four.eq(affine),
            packets.kind.eq(Mux(packets.fours, MessageKind.AFFINE, MessageKind.VECTOR)),
            packets.route.eq(route),
            packets.step.eq(step),
            banks.done.eq(done),
            banks.r_en.eq(load | step),
            banks.place.eq(
                Mux(load, Mux(affine, header.start >> 2, header.start >> 3), packets.unit + 1)
            ),
        ]
        with m.If(load):
            m.d.sync += [working.eq(1), route.eq(routes.route)]
        with m.Elif(done):
            m.d.sync += working.eq(0)
        self._send(m, working, packets, banks, step)
        return m

    def _send(
        self, m: Module, working: Signal, packets: Packetiser, banks: PacketBanks, step: Signal
    ) -> None:
        """What is on the link: credits, heads, data."""
        noc, link, grants = self.config.noc, self.link, self.grants
        m.submodules.credit = credit = CreditHead(noc)
        m.submodules.credits = credits = LinkCredits(noc.virtual_channels, noc.depth)
        is_grant, is_head = ~packets.inside & grants.valid, ~packets.inside & ~grants.valid
        m.d.comb += [
            link.vc.eq(Mux(is_grant, grants.payload.vc, packets.vc)),
            link.valid.eq((working | is_grant) & (credits.count[link.vc] != 0)),
            credits.sent.eq(link.valid << link.vc),
            credits.returned.eq(link.credit),
            grants.ready.eq(link.valid & is_grant),
            packets.begin.eq(link.valid & is_head),
            step.eq(link.valid & packets.inside),
            credit.route.eq(grants.payload),
            credit.count.eq(1),
            link.flit.head.eq(~packets.inside),
            link.flit.tail.eq(is_grant | (packets.inside & packets.tail)),
        ]
        with m.If(is_grant):
            m.d.comb += link.flit.data.eq(credit.head)
        with m.Elif(is_head):
            m.d.comb += link.flit.data.eq(packets.head)
        with m.Else():
            m.d.comb += link.flit.data.eq(keep_bytes(banks.word, packets.trim, four=packets.fours))
