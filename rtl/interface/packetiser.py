# SPDX-License-Identifier: Apache-2.0
"""Vectors cut into packets."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.interface.head import EIGHT, FOUR, Destination, HeadFlit
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.messages import PAYLOAD_FLITS
from phasecore.rtl.spec.noc import NocConfig

__all__ = ["Packetiser"]


class Packetiser(wiring.Component):
    """Counts the flits of a vector, cuts it into packets, makes their head flits.

    A packet ends at the latest with a word of ``post_lanes`` lines, after ``PAYLOAD_FLITS`` data
    flits, or, as a multicast, when it fills a buffer of a router.

    Members
    -------
    load : In(1)
        A vector begins.
    start, length, four : In, In, In(1)
        With ``load``: its first line, how many lines, and whether its flits have four, else eight.
    kind, value, route : In(2), In(8), In(Destination)
        With ``begin``: of the head.
    begin, step : In(1), In(1)
        The head of a packet leaves; a data flit leaves, in the cycle of its head or later.
    fours : Out(1)
        Flits of the vector have four lines.
    inside : Out(1)
        A head has left, and not all of its data flits.
    unit : Out
        Place of the next data flit in its vector, in flits.
    flits, head : Out, Out(HeadFlit)
        Of the packet that begins with the next data flit: data flits, head flit (combinational).
    last, tail, trim, vc : Out(1), Out(1), Out(3), Out
        Of the next data flit: it is the vector's last, its packet's last; lines of it that do not
        count; its virtual channel.
    """

    def __init__(self, config: CoreConfig, noc: NocConfig):
        self.config, self.noc = config, noc
        super().__init__(
            {
                "load": In(1),
                "start": In(config.line_bits),
                "length": In(config.line_bits + 1),
                "four": In(1),
                "kind": In(2),
                "value": In(8),
                "route": In(Destination()),
                "begin": In(1),
                "step": In(1),
                "fours": Out(1),
                "inside": Out(1),
                "unit": Out(config.line_bits - 2),
                "flits": Out(range(PAYLOAD_FLITS + 1)),
                "head": Out(HeadFlit()),
                "last": Out(1),
                "tail": Out(1),
                "trim": Out(3),
                "vc": Out(noc.vc_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, noc, route = self.config.post_lanes, self.noc, self.route
        left = Signal(self.config.line_bits - 1)  # data flits of the vector
        packet_left, packet_vc = Signal.like(self.flits), Signal.like(self.vc)
        missing, trim = Signal(3), Signal(3)
        current, limit, within = (Signal.like(self.flits) for _ in range(3))
        room, ends = Signal(range(lanes // FOUR + 1)), Signal()
        by_four, by_eight = (
            lanes // lines - self.unit[: exact_log2(lanes // lines)] for lines in (FOUR, EIGHT)
        )
        short = min(PAYLOAD_FLITS, noc.depth - 1)
        m.d.comb += [
            room.eq(Mux(self.fours, by_four, by_eight)),
            limit.eq(Mux(route.multicast, short, PAYLOAD_FLITS)),
            within.eq(Mux(room < limit, room, limit)),
            self.flits.eq(Mux(left < within, left, within)),
            current.eq(Mux(self.inside, packet_left, self.flits)),
            ends.eq(self.flits == left),
            self.last.eq(left == 1),
            self.tail.eq(current == 1),
            self.trim.eq(Mux(self.last, trim, 0)),
            self.vc.eq(Mux(self.inside, packet_vc, route.vc)),
            missing.eq(-self.length),
        ]
        with m.If(self.load):
            fours, eights = (self.length + 3) >> 2, (self.length + 7) >> 3
            m.d.sync += [
                self.fours.eq(self.four),
                self.unit.eq(Mux(self.four, self.start >> 2, self.start >> 3)),
                left.eq(Mux(self.four, fours, eights)),
                trim.eq(Mux(self.four, missing[:2], missing)),
            ]
        with m.If(self.begin):
            # A descriptor that is written meanwhile, after an abort, tears no packet apart.
            m.d.sync += [self.inside.eq(1), packet_left.eq(self.flits), packet_vc.eq(route.vc)]
        with m.If(self.step):
            m.d.sync += [
                self.unit.eq(self.unit + 1), left.eq(left - 1),
                packet_left.eq(current - 1), self.inside.eq(~self.tail),
            ]  # fmt: skip
        message = self.head.message
        m.d.comb += [
            self.head.multicast.eq(route.multicast),
            self.head.order.eq(route.vc >= noc.xy_channels),
            self.head.length.eq(self.flits + 1),
            self.head.to.eq(
                Mux(route.multicast, Cat(route.cols, route.rows), Cat(route.x, route.y))
            ),
            message.kind.eq(self.kind),
            message.object.eq(route.object),
            message.last.eq(ends),
            message.trim.eq(Mux(ends, trim, 0)),
            message.start.eq(self.unit),
            message.value.eq(self.value),
        ]
        return m
