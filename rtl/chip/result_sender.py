# SPDX-License-Identifier: Apache-2.0
"""RESULT packets for the host from the bridge's buffer."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.chip.message_intake import BufferEntry
from phasecore.rtl.core.control.load_unit import AxiStream, PacketHeader
from phasecore.rtl.interface.head import CreditRoute
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.instructions import GROUP, PACKET_MAGIC, PacketKind

__all__ = ["ResultSender"]


class ResultSender(wiring.Component):
    """Sends packets whole, one beat per cycle, and passes over those that were cancelled.

    One cycle is between packets, and one more behind a ``last``, whose credit must have left.

    Members
    -------
    axis : Out(AxiStream)
    grants : Out(stream of CreditRoute)
        The credit of a packet with ``last`` that has left.
    front, whole : Out, In(1)
        Address of the first packet's head; all of that packet is in the buffer.
    freed : Out
        Words of the buffer that become free in this cycle.
    r_en, r_address, r_data : Out, Out, In
        Read port of the buffer.
    object, enabled, route : Out(4), In(1), In(CreditRoute)
        Object of the packet that leaves; it is enabled; where its credits go.
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        super().__init__(
            {
                "axis": Out(AxiStream(config.core)),
                "grants": Out(stream.Signature(CreditRoute())),
                "front": Out(range(config.bridge_flits)),
                "whole": In(1),
                "freed": Out(range(config.bridge_flits + 1)),
                "r_en": Out(1),
                "r_address": Out(range(config.bridge_flits)),
                "r_data": In(64),
                "object": Out(4),
                "enabled": In(1),
                "route": In(CreditRoute()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axis, grants, front = self.axis, self.grants, self.front
        layout = BufferEntry(self.config)
        entry, kept = layout(self.r_data[: layout.size]), Signal(layout)
        header = Signal(PacketHeader())
        left, last = Signal(range(GROUP * self.config.bridge_flits)), Signal()
        place = Signal.like(front)
        m.d.comb += [
            header.kind.eq(PacketKind.RESULT),
            header.slot.eq(entry.object),
            header.start.eq(entry.start << 3),
            header.length.eq((entry.flits << 3) - entry.trim),
            header.magic.eq(PACKET_MAGIC),
            last.eq(left <= GROUP),
            self.object.eq(kept.object),
            self.r_address.eq(place),
        ]
        with m.If(grants.ready):
            m.d.sync += grants.valid.eq(0)
        with m.FSM():
            with m.State("IDLE"), m.If(self.whole & ~grants.valid):
                m.d.comb += [self.r_en.eq(1), self.r_address.eq(front)]
                m.d.sync += place.eq(front + 1)
                m.next = "HEADER"
            with m.State("HEADER"):
                m.d.comb += [
                    axis.tvalid.eq(entry.good), axis.tdata.eq(header), axis.tkeep.eq(-1),
                    self.r_en.eq(axis.tvalid & axis.tready),
                ]  # fmt: skip
                m.d.sync += [kept.eq(entry), left.eq(header.length)]
                with m.If(~entry.good):
                    m.d.comb += self.freed.eq(entry.flits + 1)
                    m.d.sync += front.eq(front + entry.flits + 1)
                    m.next = "IDLE"
                with m.Elif(axis.tready):
                    m.d.sync += place.eq(place + 1)
                    m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += [
                    axis.tvalid.eq(1), axis.tdata.eq(self.r_data), axis.tlast.eq(last),
                    axis.tkeep.eq(Mux(last, ~(Const(-1, GROUP) << left[:4]), Const(-1, GROUP))),
                    self.r_en.eq(axis.tready),
                ]  # fmt: skip
                with m.If(axis.tready):
                    m.d.sync += [place.eq(place + 1), left.eq(left - GROUP)]
                    with m.If(last):
                        m.d.comb += self.freed.eq(kept.flits + 1)
                        m.d.sync += [
                            front.eq(place),
                            grants.valid.eq(kept.last & self.enabled),
                            grants.payload.eq(self.route),
                        ]
                        m.next = "IDLE"
        return m
