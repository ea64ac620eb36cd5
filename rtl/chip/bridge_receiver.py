# SPDX-License-Identifier: Apache-2.0
"""Receiving half of the host bridge: messages for the host's objects become RESULT packets."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.control.load_unit import AxiStream, PacketHeader
from phasecore.rtl.core.interfaces import CreditGrant, TableWrite, descriptor_word, table_depth
from phasecore.rtl.interface.head import message_layout
from phasecore.rtl.lib.sram import Sram
from phasecore.rtl.noc.link import Flit, Link
from phasecore.rtl.spec.chip import BRIDGE_FLITS, ChipConfig
from phasecore.rtl.spec.instructions import GROUP, OBJECT, PACKET_MAGIC, PacketKind
from phasecore.rtl.spec.messages import MessageKind
from phasecore.rtl.spec.packets import HEADER
from phasecore.rtl.spec.registers.core import ErrorCode

__all__ = ["BridgeReceiver", "CreditRoute"]


class CreditRoute(data.StructLayout):
    """Where a credit goes: stream ``stream`` of the node at (x, y), on channel ``vc``."""

    def __init__(self) -> None:
        super().__init__({"vc": 2, "x": 4, "y": 4, "stream": 4})


class _Channel(data.StructLayout):
    """State of a channel inside a packet: where its head is and its next flit goes."""

    def __init__(self) -> None:
        super().__init__({
            "active": 1, "drop": 1, "head": range(BRIDGE_FLITS), "next": range(BRIDGE_FLITS),
            "flits": range(BRIDGE_FLITS),
        })  # fmt: skip


class _Entry(data.StructLayout):
    """First word of a packet in the buffer; ``good`` = 0: cancelled, to be passed over."""

    def __init__(self) -> None:
        super().__init__({
            "good": 1, "flits": range(BRIDGE_FLITS), "object": 4, "last": 1, "start": 8, "trim": 3,
        })  # fmt: skip


class BridgeReceiver(wiring.Component):
    """Takes a flit in every cycle; channels never wait for each other, nor for the host.

    A packet gets room for all of it with its head, or is dropped. Packets leave whole, in the
    order of their heads, one beat per cycle, with one cycle between packets and one more behind a
    ``last``, whose credit must have left.

    Members
    -------
    link : In(Link)
    axis : Out(AxiStream)
        RESULT packets.
    table : In(TableWrite)
        Descriptors of objects.
    grants : Out(stream of CreditRoute)
        The credit of a packet with ``last`` that has left.
    credit_en, credit, credit_known, credit_excess : Out(1), Out(CreditGrant), In(1), In(1)
        Credits for a stream of the host, as of ``StreamTable``.
    error : Out(8)
        ErrorCode of a message that is dropped in this cycle.
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        super().__init__(
            {
                "link": In(Link(config.fabric)),
                "axis": Out(AxiStream(config.core)),
                "table": In(TableWrite()),
                "grants": Out(stream.Signature(CreditRoute())),
                "credit_en": Out(1),
                "credit": Out(CreditGrant()),
                "credit_known": In(1),
                "credit_excess": In(1),
                "error": Out(8),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.buffer = buffer = Sram(width=64, depth=BRIDGE_FLITS)
        used = Signal(range(BRIDGE_FLITS + 1))
        self._room = BRIDGE_FLITS - used
        self._taken, self._freed = Signal(8), Signal.like(used)
        m.d.sync += used.eq(used + self._taken - self._freed)
        self._tables(m)
        channels = Signal(data.ArrayLayout(_Channel(), self.config.fabric.virtual_channels))
        self._receive(m, buffer, channels)
        front, whole = Signal(range(BRIDGE_FLITS)), Signal()
        arriving = Cat(
            channel.active & ~channel.drop & (channel.head == front) for channel in channels
        )
        m.d.comb += whole.eq((used != 0) & ~arriving.any())
        self._send(m, buffer, front, whole)
        return m

    def _tables(self, m: Module) -> None:
        """Object descriptors: of the message that comes, of the packet that leaves."""
        config, table = self.config, self.table
        layout = descriptor_word(OBJECT, 0)
        depth = table_depth(config.host_objects)
        m.submodules.objects = objects = memory.Memory(shape=layout, depth=depth, init=[])
        write = objects.write_port()
        self._leaving = objects.read_port(domain="comb")
        # One bit per possible number, so that no number is outside.
        self._enabled = enabled = Signal(16)
        word = layout(table.data)
        m.d.comb += [
            write.addr.eq(table.index),
            write.data.as_value().eq(table.data),
            write.en.eq(
                table.en & ~table.stream & (table.word == 0) & (table.index < config.host_objects)
            ),
        ]
        with m.If(write.en):
            m.d.sync += enabled.bit_select(table.index, 1).eq(
                word.enable & (word.vc < config.fabric.virtual_channels)
            )

    def _receive(self, m: Module, buffer: Sram, channels: data.View) -> None:
        """One flit: into the buffer, or what else it means."""
        link = self.link
        valid, vc = Signal(), Signal.like(link.vc)
        flit = Signal(Flit(self.config.fabric))
        m.d.sync += [valid.eq(link.valid), vc.eq(link.vc), flit.eq(link.flit)]
        channel, after = Signal(_Channel()), Signal(_Channel())
        end = Signal(range(BRIDGE_FLITS))
        m.d.comb += [
            channel.eq(channels[vc]),
            after.eq(channel),
            after.active.eq(~flit.tail),
            link.credit.eq(valid << vc),
            buffer.w_mask.eq(1),
        ]
        with m.If(valid):
            m.d.sync += [channels[vc].eq(after), end.eq(end + self._taken)]
            with m.If(~channel.active & flit.head):
                self._begin(m, buffer, flit, after, end)
            with m.Elif(channel.active & ~channel.drop):
                m.d.comb += [buffer.w_en.eq(1), after.next.eq(channel.next + 1)]
                with m.If(flit.head):
                    cancelled = Signal(_Entry())
                    m.d.comb += [
                        self.error.eq(ErrorCode.FABRIC_CANCELLED),
                        cancelled.flits.eq(channel.flits),
                        buffer.w_address.eq(channel.head),
                        buffer.w_data.eq(cancelled),
                    ]
                with m.Else():
                    m.d.comb += [
                        buffer.w_address.eq(channel.next), buffer.w_data.eq(flit.data),
                    ]  # fmt: skip

    def _begin(
        self, m: Module, buffer: Sram, flit: data.View, after: data.View, end: Signal
    ) -> None:
        """Head of a packet: room for a vector, credits for a stream, or dropped."""
        layout = message_layout()
        message = layout(flit.data[HEADER.bits :][: layout.size])
        length, flits, lines = Signal(8), Signal(8), Signal(12)
        entry = Signal(_Entry())
        m.d.comb += [
            length.eq(flit.data[HEADER["length"].low :][: HEADER["length"].width]),
            flits.eq(length - 1),
            lines.eq((message.start + flits) << 3),
            entry.good.eq(1),
            entry.flits.eq(flits),
            *(entry[name].eq(message[name]) for name in ("object", "last", "start", "trim")),
            self.credit.object.eq(message.object),
            self.credit.count.eq(message.value),
            after.drop.eq(1),
            after.head.eq(end),
            after.next.eq(end + 1),
            after.flits.eq(flits),
            buffer.w_address.eq(end),
            buffer.w_data.eq(entry),
        ]
        known = (self._enabled & (1 << message.object)).any()
        with m.If(message.kind == MessageKind.CREDIT):
            with m.If(~self.credit_known):
                m.d.comb += self.error.eq(ErrorCode.FABRIC_OBJECT)
            with m.Elif(flits != 0):
                m.d.comb += self.error.eq(ErrorCode.FABRIC_RANGE)
            with m.Else():
                m.d.comb += self.credit_en.eq(1)
                with m.If(self.credit_excess):
                    m.d.comb += self.error.eq(ErrorCode.FABRIC_CREDIT)
        with m.Elif((message.kind != MessageKind.VECTOR) | ~known):
            m.d.comb += self.error.eq(ErrorCode.FABRIC_OBJECT)
        with m.Elif((flits == 0) | (lines > self.config.core.lines)):
            m.d.comb += self.error.eq(ErrorCode.FABRIC_RANGE)
        with m.Elif(length > self._room):
            m.d.comb += self.error.eq(ErrorCode.FABRIC_CREDIT)
        with m.Else():
            m.d.comb += [buffer.w_en.eq(1), self._taken.eq(length), after.drop.eq(0)]

    def _send(self, m: Module, buffer: Sram, front: Signal, whole: Value) -> None:
        """RESULT packets of the packets in the buffer; ``front`` is the head of the first."""
        axis, grants = self.axis, self.grants
        entry, kept = _Entry()(buffer.r_data[: _Entry().size]), Signal(_Entry())
        header = Signal(PacketHeader())
        left, last = Signal(range(GROUP * BRIDGE_FLITS)), Signal()
        place = Signal.like(front)
        m.d.comb += [
            header.kind.eq(PacketKind.RESULT),
            header.slot.eq(entry.object),
            header.start.eq(entry.start << 3),
            header.length.eq((entry.flits << 3) - entry.trim),
            header.magic.eq(PACKET_MAGIC),
            last.eq(left <= GROUP),
            self._leaving.addr.eq(kept.object),
        ]
        with m.If(grants.ready):
            m.d.sync += grants.valid.eq(0)
        with m.FSM():
            with m.State("IDLE"), m.If(whole & ~grants.valid):
                m.d.comb += [buffer.r_en.eq(1), buffer.r_address.eq(front)]
                m.d.sync += place.eq(front + 1)
                m.next = "HEADER"
            with m.State("HEADER"):
                m.d.comb += [
                    axis.tvalid.eq(entry.good), axis.tdata.eq(header), axis.tkeep.eq(-1),
                    buffer.r_en.eq(axis.tvalid & axis.tready), buffer.r_address.eq(place),
                ]  # fmt: skip
                m.d.sync += [kept.eq(entry), left.eq(header.length)]
                with m.If(~entry.good):
                    m.d.comb += self._freed.eq(entry.flits + 1)
                    m.d.sync += front.eq(front + entry.flits + 1)
                    m.next = "IDLE"
                with m.Elif(axis.tready):
                    m.d.sync += place.eq(place + 1)
                    m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += [
                    axis.tvalid.eq(1), axis.tdata.eq(buffer.r_data), axis.tlast.eq(last),
                    axis.tkeep.eq(Mux(last, ~(Const(-1, GROUP) << left[:4]), Const(-1, GROUP))),
                    buffer.r_en.eq(axis.tready), buffer.r_address.eq(place),
                ]  # fmt: skip
                with m.If(axis.tready):
                    m.d.sync += [place.eq(place + 1), left.eq(left - GROUP)]
                    with m.If(last):
                        m.d.comb += self._freed.eq(kept.flits + 1)
                        m.d.sync += [
                            front.eq(place),
                            grants.valid.eq(kept.last & (self._enabled & (1 << kept.object)).any()),
                            *(
                                grants.payload[name].eq(self._leaving.data[name])
                                for name in CreditRoute().members
                            ),
                        ]
                        m.next = "IDLE"
