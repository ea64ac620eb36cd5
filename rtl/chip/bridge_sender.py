# SPDX-License-Identifier: Apache-2.0
"""Sending half of the host bridge: stream packets become messages, credits go between them."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from phasecore.rtl.chip.bridge_receiver import CreditRoute
from phasecore.rtl.core.control.load_unit import AxiStream, PacketHeader, PacketReceiver
from phasecore.rtl.core.interfaces import CreditGrant, TableWrite, descriptor_word
from phasecore.rtl.interface.head import message_layout
from phasecore.rtl.interface.stream_table import StreamTable
from phasecore.rtl.lib.sram import Sram
from phasecore.rtl.noc.link import Link
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.instructions import STREAM, PacketKind
from phasecore.rtl.spec.messages import LINES_PER_FLIT, PAYLOAD_FLITS, MessageKind
from phasecore.rtl.spec.packets import HEADER

__all__ = ["BridgeSender"]


class _Head(data.StructLayout):
    """A head flit; ``to`` is ``x`` and ``y``, or ``cols`` and ``rows``."""

    def __init__(self) -> None:
        super().__init__(
            {
                **{name: HEADER[name].width for name in ("multicast", "order", "length")},
                "to": HEADER.bits - HEADER["x"].low,
                "message": message_layout(),
            }
        )


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
        Descriptors of streams.
    grants : In(stream of CreditRoute)
        Sent between packets of the link, before other traffic.
    credit_en, credit, credit_known, credit_excess : In(1), In(CreditGrant), Out(1), Out(1)
        As of ``StreamTable``.
    malformed : Out(8)
        ErrorCode of a stream packet that is dropped in this cycle.
    undefined, drop : Out(1), In(1)
        A packet for a stream that is not enabled waits to be dropped.
    stalled : Out(1)
        A packet waits for the credits of its stream.
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        super().__init__(
            {
                "axis": In(AxiStream(config.core)),
                "link": Out(Link(config.fabric)),
                "table": In(TableWrite()),
                "grants": In(stream.Signature(CreditRoute())),
                "credit_en": In(1),
                "credit": In(CreditGrant()),
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
        beats = self.config.core.lines // LINES_PER_FLIT[MessageKind.AFFINE]
        m.submodules.buffer = buffer = Sram(width=64, depth=2 * beats)
        # Two banks; the next packet to be sent is in ``bank``.
        self._full, self._bank = Signal(2), Signal()
        self._headers = Signal(data.ArrayLayout(PacketHeader(), 2))
        self._affine = Signal()
        self._route = Signal(descriptor_word(STREAM, 0))
        # Of the packet in work: place of the next flit, flits left; of its message: flits left.
        self._working, self._inside = Signal(), Signal()
        self._unit, self._left = Signal(8), Signal(9)
        self._message_left = Signal(range(PAYLOAD_FLITS + 1))
        self._begin, self._step, self._done = Signal(), Signal(), Signal()
        self._receive(m, buffer)
        self._take(m)
        self._flit(m, buffer)
        with m.If(self._done):
            m.d.sync += [self._full.bit_select(self._bank, 1).eq(0), self._bank.eq(~self._bank)]
        return m

    def _receive(self, m: Module, buffer: Sram) -> None:
        """Packets into the banks in turn."""
        m.submodules.receiver = receiver = PacketReceiver(self.config.core)
        connect(m, flipped(self.axis), receiver.axis)
        bank = Signal()
        m.d.comb += [
            buffer.w_en.eq(receiver.write),
            buffer.w_mask.eq(1),
            buffer.w_address.eq(Cat(receiver.place, bank)),
            buffer.w_data.eq(self.axis.tdata),
            self.malformed.eq(receiver.error),
            # The next packet comes as soon as the other bank is free.
            receiver.release.eq(receiver.staged & ~self._full.bit_select(~bank, 1)),
        ]
        with m.If(receiver.staged):
            m.d.sync += [
                self._full.bit_select(bank, 1).eq(1), self._headers[bank].eq(receiver.packet),
            ]  # fmt: skip
        with m.If(receiver.release):
            m.d.sync += bank.eq(~bank)

    def _take(self, m: Module) -> None:
        """The next packet, when its stream has credits."""
        config = self.config
        m.submodules.streams = streams = StreamTable(config.host_streams, config.fabric)
        header = self._headers[self._bank]
        affine, waits, known = Signal(), Signal(), Signal()
        flits = (header.length + Mux(affine, 3, 7)) >> Mux(affine, 2, 3)
        m.d.comb += [
            affine.eq(header.kind == PacketKind.AFFINE),
            waits.eq(self._full.bit_select(self._bank, 1) & ~self._working),
            known.eq(streams.enabled & (header.slot < 16)),
            streams.table.eq(self.table),
            streams.index.eq(header.slot),
            streams.credit_en.eq(self.credit_en),
            streams.credit.eq(self.credit),
            self.credit_known.eq(streams.credit_known),
            self.credit_excess.eq(streams.credit_excess),
            self.undefined.eq(waits & ~known),
            self._begin.eq(waits & known & (affine | streams.sendable)),
            self.stalled.eq(waits & known & ~self._begin),
            streams.pay.eq(self._begin & ~affine),
            self._done.eq((self.undefined & self.drop) | (self._step & (self._left == 1))),
        ]
        with m.If(self._begin):
            m.d.sync += [
                self._working.eq(1),
                self._affine.eq(affine),
                self._route.eq(streams.route),
                self._unit.eq(Mux(affine, header.start >> 2, header.start >> 3)),
                self._left.eq(flits),
            ]
        with m.Elif(self._done):
            m.d.sync += self._working.eq(0)

    def _flit(self, m: Module, buffer: Sram) -> None:
        """What is on the link: credits, heads, data."""
        fabric, link, route, grants = self.config.fabric, self.link, self._route, self.grants
        credits = Array(
            Signal(fabric.credit_bits, init=fabric.depth, name=f"credits_{v}")
            for v in range(fabric.virtual_channels)
        )
        wanted, is_grant, is_head = Signal(), Signal(), Signal()
        flits, first = self._message_flits(m), self._headers[self._bank].start
        kind = self._headers[self._bank].kind
        m.d.comb += [
            is_grant.eq(~self._inside & grants.valid),
            is_head.eq(~self._inside & ~grants.valid),
            wanted.eq(self._working | is_grant),
            link.vc.eq(Mux(is_grant, grants.payload.vc, route.vc)),
            link.valid.eq(wanted & (credits[link.vc] != 0)),
            grants.ready.eq(link.valid & is_grant),
            link.flit.head.eq(~self._inside),
            link.flit.tail.eq(is_grant | (self._inside & (self._message_left == 1))),
            self._step.eq(link.valid & self._inside),
            buffer.r_en.eq(self._begin | self._step),
            buffer.r_address.eq(Cat(
                Mux(
                    self._begin,
                    Mux(kind == PacketKind.AFFINE, first >> 2, first >> 3),
                    self._unit + 1,
                )[: len(buffer.r_address) - 1],
                self._bank,
            )),
        ]  # fmt: skip
        with m.If(is_grant):
            m.d.comb += link.flit.data.eq(self._credit_head(m))
        with m.Elif(is_head):
            m.d.comb += link.flit.data.eq(self._message_head(m, flits))
        with m.Else():
            m.d.comb += link.flit.data.eq(self._trimmed(m, buffer.r_data))
        for v, credit in enumerate(credits):
            m.d.sync += credit.eq(credit + link.credit[v] - (link.valid & (link.vc == v)))
        with m.If(link.valid & is_head):
            m.d.sync += [self._inside.eq(1), self._message_left.eq(flits)]
        with m.If(self._step):
            m.d.sync += [
                self._unit.eq(self._unit + 1),
                self._left.eq(self._left - 1),
                self._message_left.eq(self._message_left - 1),
                self._inside.eq(self._message_left != 1),
            ]

    def _message_flits(self, m: Module) -> Value:
        """Data flits of a message that begins here: it ends with a word of ``post_lanes`` lines."""
        lanes, fabric = self.config.core.post_lanes, self.config.fabric
        room, flits = Signal(range(lanes // 4 + 1)), Signal.like(self._message_left)
        rooms = [
            lanes // lines - self._unit[: exact_log2(lanes // lines)]
            for lines in (LINES_PER_FLIT[MessageKind.VECTOR], LINES_PER_FLIT[MessageKind.AFFINE])
        ]
        limit = Mux(self._route.multicast, min(PAYLOAD_FLITS, fabric.depth - 1), PAYLOAD_FLITS)
        m.d.comb += [
            room.eq(Mux(self._affine, rooms[1], rooms[0])),
            flits.eq(least(self._left, least(room, limit))),
        ]
        return flits

    def _message_head(self, m: Module, flits: Value) -> data.View:
        """Head flit of a message with so many data flits."""
        route, last = self._route, flits == self._left
        head = Signal(_Head())
        m.d.comb += [
            head.multicast.eq(route.multicast),
            head.order.eq(route.vc >= self.config.fabric.xy_channels),
            head.length.eq(flits + 1),
            head.to.eq(Mux(route.multicast, Cat(route.cols, route.rows), Cat(route.x, route.y))),
            head.message.kind.eq(Mux(self._affine, MessageKind.AFFINE, MessageKind.VECTOR)),
            head.message.object.eq(route.object),
            head.message.last.eq(last),
            head.message.trim.eq(Mux(last, self._trim(), 0)),
            head.message.start.eq(self._unit),
        ]
        return head

    def _credit_head(self, m: Module) -> data.View:
        """One credit for a producer."""
        route, head = self.grants.payload, Signal(_Head())
        m.d.comb += [
            head.order.eq(route.vc >= self.config.fabric.xy_channels),
            head.length.eq(1),
            head.to.eq(Cat(route.x, route.y)),
            head.message.kind.eq(MessageKind.CREDIT),
            head.message.object.eq(route.stream),
            head.message.value.eq(1),
        ]
        return head

    def _trim(self) -> Value:
        """Lines of the last flit that do not count."""
        missing = -self._headers[self._bank].length
        return Mux(self._affine, missing[:2], missing[:3])

    def _trimmed(self, m: Module, word: Value) -> Value:
        """A data flit, whose bytes behind the last line are 0."""
        keep = Signal(8)
        trim = Mux(self._affine, self._trim() << 1, self._trim())
        m.d.comb += keep.eq(Const(0xFF, 8) >> Mux(self._left == 1, trim, 0))
        return word & Cat(bit.replicate(8) for bit in keep)


def least(a: Value, b: Value) -> Value:
    """The smaller of two values (combinational)."""
    return Mux(a < b, a, b)
