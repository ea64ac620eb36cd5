# SPDX-License-Identifier: Apache-2.0
"""Sending half of the network interface: slots and partial sums as packets, credits between."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.core.interfaces import (
    CreditGrant,
    Exponents,
    SendCommand,
    TableWrite,
    VectorRead,
)
from phasecore.rtl.interface.descriptor_table import DescriptorTable
from phasecore.rtl.interface.flit_queue import FLITS, FlitQueue
from phasecore.rtl.interface.flit_reader import FlitReader
from phasecore.rtl.interface.head import CreditHead, CreditRoute
from phasecore.rtl.interface.packetiser import Packetiser
from phasecore.rtl.interface.route_credits import MemberCredits
from phasecore.rtl.interface.route_table import RouteTable
from phasecore.rtl.noc.link import Link
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.messages import MessageKind
from phasecore.rtl.spec.noc import NocConfig

__all__ = ["MessageSender"]


class MessageSender(wiring.Component):
    """Sends one flit per cycle; the head goes in the cycle of the first read.

    Members
    -------
    i : In(stream of SendCommand)
        Taken when no SEND is in work; its head is on the link two cycles later.
    grants : In(stream of CreditGrant)
    table : In(TableWrite)
    link : Out(Link)
    read : Out(VectorRead)
    exponents : In(Exponents)
    sums_read, sums_ready, sums_block, sums_data : Out, In, Out, In
        Read channel of the accumulators, as in AccumulatorPort.
    sums_written, written_place : In(1), In
        Accumulators being written by the receiver, in units of eight lines: read later.
    merge_object, received_lines, merge_done : Out(4), In, Out(1)
        Lines received for object ``merge_object``, in fours; the SEND that merges them is done.
    credit_en, credit, credit_known, credit_excess : In(1), In(MemberCredits), Out(1), Out(1)
        As of RouteTable.
    counting : Out(1)
        Credits are being counted.
    busy, reads, partial : Out
        As of NetworkInterface.
    dropped, drop : Out(1), In(1)
        A SEND to a route that is not enabled waits to be dropped.
    starved : Out(1)
        The SEND in work waits for credits of its route.
    """

    def __init__(self, config: CoreConfig, noc: NocConfig):
        self.config, self.noc = config, noc
        super().__init__(
            {
                "i": In(stream.Signature(SendCommand(config))),
                "grants": In(stream.Signature(CreditGrant())),
                "table": In(TableWrite()),
                "link": Out(Link(noc)),
                "read": Out(VectorRead(config)),
                "exponents": In(Exponents(config)),
                "sums_read": Out(1),
                "sums_ready": In(1),
                "sums_block": Out(config.block_bits),
                "sums_data": In(config.acc_bits * config.post_lanes),
                "sums_written": In(1),
                "written_place": In(config.line_bits - 3),
                "merge_object": Out(4),
                "received_lines": In(config.line_bits - 1),
                "merge_done": Out(1),
                "credit_en": In(1),
                "credit": In(MemberCredits()),
                "credit_known": Out(1),
                "credit_excess": Out(1),
                "counting": Out(1),
                "busy": Out(1),
                "reads": Out(config.slots),
                "partial": Out(1),
                "dropped": Out(1),
                "drop": In(1),
                "starved": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, noc = self.config, self.noc
        m.submodules.routes = routes = RouteTable(config.routes, noc)
        m.submodules.packets = packets = Packetiser(config, noc)
        m.submodules.reader = reader = FlitReader(config, noc)
        m.submodules.queue = queue = FlitQueue(noc)
        # The SEND in work; it has paid for its vector.
        command, working, paid = Signal(SendCommand(config)), Signal(), Signal()
        unpaid, pay, free, begin, done = Signal(), Signal(), Signal(), Signal(), Signal()
        end = Signal.like(self.received_lines)
        received = ~(packets.fours & command.merge) | (self.received_lines >= end)
        m.d.comb += [
            unpaid.eq(working & ~paid),
            pay.eq(unpaid & routes.enabled & routes.sendable),
            self.dropped.eq(unpaid & ~routes.enabled),
            self.starved.eq(unpaid & routes.enabled & ~routes.sendable),
            end.eq(packets.unit + packets.flits),
            # Between two packets, and there is room for a head.
            free.eq(~packets.inside & ~reader.valid & (queue.left < FLITS)),
            self.grants.ready.eq(free),
            begin.eq(working & free & ~self.grants.valid & ~self.dropped & (paid | pay) & received),
            done.eq(reader.step & packets.last),
            # A head goes into the queue before the flit that is read in its cycle.
            reader.wanted.eq(
                (packets.inside | begin) & ((queue.left + (reader.valid | begin)) < FLITS)
            ),
            self.i.ready.eq(~working),
            self.merge_object.eq(command.object),
            self.merge_done.eq(done & packets.fours & command.merge),
            self.busy.eq(working | reader.valid | queue.waiting | self.grants.valid),
            self.reads.eq(Mux(working & ~packets.fours, 1 << command.slot, 0)),
            self.partial.eq(working & packets.fours),
            routes.index.eq(command.route),
            routes.pay.eq(pay),
            packets.load.eq(self.i.valid & self.i.ready),
            packets.begin.eq(begin),
            packets.value.eq(Mux(packets.fours, 0, self.exponents[command.slot])),
            reader.slot.eq(command.slot),
        ]
        with m.If(packets.load):
            m.d.sync += [working.eq(1), command.eq(self.i.payload)]
        with m.Elif(done | (self.dropped & self.drop)):
            m.d.sync += [working.eq(0), paid.eq(0)]
        with m.Elif(pay):
            m.d.sync += paid.eq(1)
        self._join(m, routes, packets, reader)
        self._queue(m, packets, reader, queue, begin)
        return m

    def _join(self, m: Module, routes: RouteTable, packets: Packetiser, reader: FlitReader) -> None:
        """Descriptor to packetiser to reader; ports of both."""
        connect(m, reader.read, flipped(self.read))
        first = self.i.payload
        m.d.comb += [
            routes.table.eq(self.table),
            routes.credit_en.eq(self.credit_en),
            routes.credit.eq(self.credit),
            self.credit_known.eq(routes.credit_known),
            self.credit_excess.eq(routes.credit_excess),
            self.counting.eq(routes.busy),
            packets.start.eq(first.first_line),
            packets.length.eq(first.length),
            packets.four.eq(first.partial),
            packets.kind.eq(Mux(packets.fours, MessageKind.PARTIAL, MessageKind.VECTOR)),
            packets.route.eq(routes.route),
            packets.step.eq(reader.step),
            reader.partial.eq(packets.fours),
            *(
                getattr(reader, name).eq(getattr(packets, name))
                for name in ("unit", "inside", "tail", "trim", "vc")
            ),
            self.sums_read.eq(reader.sums_read),
            reader.sums_ready.eq(self.sums_ready),
            self.sums_block.eq(reader.sums_block),
            reader.sums_data.eq(self.sums_data),
            reader.sums_written.eq(self.sums_written),
            reader.written_place.eq(self.written_place),
        ]

    def _queue(
        self, m: Module, packets: Packetiser, reader: FlitReader, queue: FlitQueue, begin: Signal
    ) -> None:
        """Data flits, credits and heads on their way to the link."""
        m.submodules.producers = producers = DescriptorTable(
            route=False, word=0, entries=self.config.objects, kept=CreditRoute()
        )
        m.submodules.credit = credit = CreditHead(self.noc)
        connect(m, queue.link, flipped(self.link))
        grants, flit, producer = self.grants, queue.i.payload, producers.entry[0]
        last = self.noc.virtual_channels - 1
        m.d.comb += [
            producers.table.eq(self.table),
            producers.index[0].eq(grants.payload.object),
            credit.route.eq(producer),
            credit.route.vc.eq(Mux(producer.vc > last, last, producer.vc)),
            credit.count.eq(grants.payload.count),
            queue.i.valid.eq(reader.valid | begin | (grants.valid & grants.ready)),
        ]
        with m.If(reader.valid):
            m.d.comb += flit.eq(reader.flit)
        with m.Elif(grants.valid):
            m.d.comb += [
                flit.head.eq(1), flit.tail.eq(1),
                flit.vc.eq(credit.route.vc), flit.data.eq(credit.head),
            ]  # fmt: skip
        with m.Else():
            m.d.comb += [
                flit.head.eq(1), flit.vc.eq(packets.vc), flit.data.eq(packets.head),
            ]  # fmt: skip
