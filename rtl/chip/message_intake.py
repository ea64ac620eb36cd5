# SPDX-License-Identifier: Apache-2.0
"""Messages for the host's objects on their way into the bridge's buffer."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.interface.head import HeadFlit
from phasecore.rtl.interface.route_credits import MemberCredits
from phasecore.rtl.noc.link import Flit, Link
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.messages import MessageKind
from phasecore.rtl.spec.registers.table import FaultCode

__all__ = ["BufferEntry", "MessageIntake"]


class BufferEntry(data.StructLayout):
    """First word of a packet in the buffer; ``good`` = 0: cancelled, to be passed over."""

    def __init__(self, config: ChipConfig) -> None:
        flits = range(config.bridge_flits)
        super().__init__({
            "good": 1, "flits": flits, "object": 4, "last": 1, "start": 8, "trim": 3,
        })  # fmt: skip


class _Channel(data.StructLayout):
    """State of a channel inside a packet: where its head is and its next flit goes."""

    def __init__(self, config: ChipConfig) -> None:
        flits = range(config.bridge_flits)
        super().__init__({
            "active": 1, "drop": 1, "head": flits, "next": flits, "flits": flits,
        })  # fmt: skip


class MessageIntake(wiring.Component):
    """Takes a flit in every cycle, and room for a whole packet with its head, or drops it.

    Members
    -------
    link : In(Link)
    room : In
        Free words of the buffer.
    taken : Out(8)
        Words that a packet takes in this cycle.
    w_en, w_address, w_data : Out
        Write port of the buffer.
    front, arriving : In, Out(1)
        Address of a head; flits of its packet are still to come.
    object, known : Out(4), In(1)
        Object of the head that comes; it is enabled.
    credit_en, credit, credit_known, credit_excess : Out(1), Out(MemberCredits), In(1), In(1)
        As of BridgeReceiver.
    error : Out(8)
        FaultCode of a message that was dropped in the cycle before.
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        super().__init__(
            {
                "link": In(Link(config.noc)),
                "room": In(range(config.bridge_flits + 1)),
                "taken": Out(8),
                "w_en": Out(1),
                "w_address": Out(range(config.bridge_flits)),
                "w_data": Out(64),
                "front": In(range(config.bridge_flits)),
                "arriving": Out(1),
                "object": Out(4),
                "known": In(1),
                "credit_en": Out(1),
                "credit": Out(MemberCredits()),
                "credit_known": In(1),
                "credit_excess": In(1),
                "error": Out(8),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        link, noc = self.link, self.config.noc
        valid, vc, flit = Signal(), Signal.like(link.vc), Signal(Flit(noc))
        channels = Signal(data.ArrayLayout(_Channel(self.config), noc.virtual_channels))
        channel, after = Signal(_Channel(self.config)), Signal(_Channel(self.config))
        end, head = Signal.like(self.front), Signal(HeadFlit())
        flits, lines = Signal(8), Signal(12)
        cancelled, entry = Signal(BufferEntry(self.config)), Signal(BufferEntry(self.config))
        # An excess of credits is known a cycle later than other errors, of which a head has one.
        found, told = Signal(8), Signal(8)
        m.d.sync += [told.eq(found), valid.eq(link.valid), vc.eq(link.vc), flit.eq(link.flit)]
        m.d.comb += [
            channel.eq(channels[vc]),
            after.eq(channel),
            after.active.eq(~flit.tail),
            link.credit.eq(valid << vc),
            self.arriving.eq(Cat(
                channel.active & ~channel.drop & (channel.head == self.front)
                for channel in channels
            ).any()),
            head.eq(flit.data),
            flits.eq(head.length - 1),
            lines.eq((head.message.start + flits) << 3),
            self.object.eq(head.message.object),
            self.credit.route.eq(head.message.object),
            self.credit.member.eq(head.message.start),
            self.credit.count.eq(head.message.value),
            self.error.eq(Mux(self.credit_excess, FaultCode.NOC_CREDIT, told)),
            cancelled.flits.eq(channel.flits),
            entry.good.eq(1),
            entry.flits.eq(flits),
            *(entry[name].eq(head.message[name]) for name in ("object", "last", "start", "trim")),
        ]  # fmt: skip
        with m.If(valid):
            m.d.sync += [channels[vc].eq(after), end.eq(end + self.taken)]
            with m.If(~channel.active & flit.head):
                m.d.comb += [
                    after.drop.eq(1), after.head.eq(end), after.next.eq(end + 1),
                    after.flits.eq(flits), self.w_address.eq(end), self.w_data.eq(entry),
                ]  # fmt: skip
                self._begin(m, head, flits, lines, after, found)
            with m.Elif(channel.active & ~channel.drop):
                m.d.comb += [
                    self.w_en.eq(1),
                    after.next.eq(channel.next + 1),
                    self.w_address.eq(Mux(flit.head, channel.head, channel.next)),
                    self.w_data.eq(Mux(flit.head, cancelled, flit.data)),
                    found.eq(Mux(flit.head, FaultCode.NOC_CANCELLED, FaultCode.NONE)),
                ]
        return m

    def _begin(
        self, m: Module, head: data.View, flits: Signal, lines: Signal, after: data.View,
        found: Signal,
    ) -> None:  # fmt: skip
        """Head of a packet: room for a vector, credits for a route, or dropped."""
        message = head.message
        with m.If(message.kind == MessageKind.CREDIT):
            with m.If(~self.credit_known):
                m.d.comb += found.eq(FaultCode.NOC_OBJECT)
            with m.Elif(flits != 0):
                m.d.comb += found.eq(FaultCode.NOC_RANGE)
            with m.Else():
                m.d.comb += self.credit_en.eq(1)
        with m.Elif((message.kind != MessageKind.VECTOR) | ~self.known):
            m.d.comb += found.eq(FaultCode.NOC_OBJECT)
        with m.Elif((flits == 0) | (lines > self.config.core.lines)):
            m.d.comb += found.eq(FaultCode.NOC_RANGE)
        with m.Elif(head.length > self.room):
            m.d.comb += found.eq(FaultCode.NOC_CREDIT)
        with m.Else():
            m.d.comb += [self.w_en.eq(1), self.taken.eq(head.length), after.drop.eq(0)]
