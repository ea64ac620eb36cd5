# SPDX-License-Identifier: Apache-2.0
"""Sending half of the network interface: slots and partial sums as packets, credits between."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.core.interfaces import (
    CreditGrant,
    Exponents,
    SendCommand,
    TableWrite,
    VectorRead,
    descriptor_word,
    table_depth,
)
from phasecore.rtl.interface.receiver import eight_of, message_layout
from phasecore.rtl.interface.stream_table import StreamTable
from phasecore.rtl.lib.arithmetic import round_shift, saturate
from phasecore.rtl.noc.link import Link
from phasecore.rtl.spec.core import PARTIAL_BITS, PARTIAL_SHIFT, CoreConfig
from phasecore.rtl.spec.instructions import OBJECT
from phasecore.rtl.spec.messages import PAYLOAD_FLITS, MessageKind
from phasecore.rtl.spec.noc import FabricConfig
from phasecore.rtl.spec.packets import HEADER

__all__ = ["MessageSender"]

_QUEUE = 2  # flits: enough for one per cycle, since a read looks at what leaves meanwhile


class MessageSender(wiring.Component):
    """Sends one flit per cycle; the head goes in the cycle of the first read.

    A read of a slot serves one flit, a read of the accumulators two (the second's lines wait in a
    register), so that a chain that adds on the way has reads for both directions.

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
    writing, pair : In(1), In
        Accumulators being written by the receiver, by eights of lines: read later.
    merged, come, through : Out(4), In, Out(1)
        Lines that have come in object ``merged``, in fours; the SEND that merges them is through.
    credit_en, credit, credit_known, credit_excess : In(1), In(CreditGrant), Out(1), Out(1)
        A stream gets credits, if it is enabled; they exceed 255, which they stay.
    busy, reads, partial : Out
        As of NetworkInterface.
    dropped, drop : Out(1), In(1)
        A SEND to a stream that is not enabled waits to be dropped.
    starved : Out(1)
        The SEND in work waits for credits of its stream.
    """

    def __init__(self, config: CoreConfig, fabric: FabricConfig):
        self.config, self.fabric = config, fabric
        self.group_bits = config.line_bits - 2
        super().__init__(
            {
                "i": In(stream.Signature(SendCommand(config))),
                "grants": In(stream.Signature(CreditGrant())),
                "table": In(TableWrite()),
                "link": Out(Link(fabric)),
                "read": Out(VectorRead(config)),
                "exponents": In(Exponents(config)),
                "sums_read": Out(1),
                "sums_ready": In(1),
                "sums_block": Out(config.block_bits),
                "sums_data": In(config.acc_bits * config.post_lanes),
                "writing": In(1),
                "pair": In(self.group_bits - 1),
                "merged": Out(4),
                "come": In(self.group_bits + 1),
                "through": Out(1),
                "credit_en": In(1),
                "credit": In(CreditGrant()),
                "credit_known": Out(1),
                "credit_excess": Out(1),
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
        self._command = Signal(SendCommand(self.config))
        self._working = Signal()
        # Flits of the SEND: the next one's place in its vector, and how many are left.
        self._group = Signal(self.group_bits)
        self._left = Signal(self.group_bits + 1)
        self._inside, self._packet_left = Signal(), Signal(range(PAYLOAD_FLITS + 1))
        self._flits = Signal(range(PAYLOAD_FLITS + 1))  # of a packet that begins here
        self._paid, self._pay = Signal(), Signal()
        self._start, self._grant = Signal(), Signal()
        self._step, self._fetch = Signal(), Signal()
        self._picked, self._pick = Signal(), Signal(64)
        self._pick_tail, self._pick_vc = Signal(), Signal(self.fabric.vc_bits)
        self._packet_vc = Signal(self.fabric.vc_bits)
        self._level, self._pop = Signal(range(_QUEUE + 1)), Signal()

        self._streams(m)
        self._producers(m)
        self._packets(m)
        self._reads(m)
        self._select(m)
        self._queue(m)
        self._control(m)
        return m

    def _streams(self, m: Module) -> None:
        """Descriptor of the command's stream; credits of all streams."""
        m.submodules.streams = streams = StreamTable(self.config.streams, self.fabric)
        wanted = Signal()
        self._route = streams.route
        m.d.comb += [
            streams.table.eq(self.table),
            streams.index.eq(self._command.stream),
            streams.credit_en.eq(self.credit_en),
            streams.credit.eq(self.credit),
            self.credit_known.eq(streams.credit_known),
            self.credit_excess.eq(streams.credit_excess),
            wanted.eq(self._working & ~self._paid),
            self.dropped.eq(wanted & ~streams.enabled),
            self._pay.eq(wanted & streams.enabled & streams.sendable),
            streams.pay.eq(self._pay),
            self.starved.eq(wanted & streams.enabled & ~streams.sendable),
        ]

    def _producers(self, m: Module) -> None:
        """Where the credits of an object go."""
        config, table = self.config, self.table
        layout, last = descriptor_word(OBJECT, 0), self.fabric.virtual_channels - 1
        kept = data.StructLayout({name: layout[name].shape for name in ("vc", "x", "y", "stream")})
        m.submodules.producers = producers = memory.Memory(
            shape=kept, depth=table_depth(config.objects), init=[]
        )
        write, read = producers.write_port(), producers.read_port(domain="comb")
        word = data.View(layout, table.data)
        self._producer = read.data
        m.d.comb += [
            write.addr.eq(table.index),
            write.en.eq(
                table.en & ~table.stream & (table.word == 0) & (table.index < config.objects)
            ),
            *(write.data[name].eq(word[name]) for name in kept.members),
            write.data.vc.eq(Mux(word.vc > last, last, word.vc)),
            read.addr.eq(self.grants.payload.object),
        ]

    def _packets(self, m: Module) -> None:
        """When a packet begins, and how long it is."""
        lanes, fabric, command = self.config.post_lanes, self.fabric, self._command
        whole, half = exact_log2(lanes // 8), exact_log2(lanes // 4)
        room = Signal(range(lanes // 4 + 1))
        limit, short = Signal.like(self._flits), min(PAYLOAD_FLITS, fabric.depth - 1)
        within, end = Signal.like(self._flits), Signal(self.group_bits + 1)
        between, free, come = Signal(), Signal(), Signal()
        m.d.comb += [
            room.eq(Mux(
                command.partial,
                lanes // 4 - self._group[:half],
                lanes // 8 - self._group[:whole],
            )),
            limit.eq(Mux(self._route.multicast, short, PAYLOAD_FLITS)),
            within.eq(Mux(room < limit, room, limit)),
            self._flits.eq(Mux(self._left < within, self._left, within)),
            end.eq(self._group + self._flits),
            self.merged.eq(command.object),
            come.eq(~(command.partial & command.merge) | (self.come >= end)),
            between.eq(~self._inside & ~self._picked),
            free.eq((self._level - self._pop) < _QUEUE),
            self.grants.ready.eq(between & free),
            self._grant.eq(self.grants.valid & self.grants.ready),
            self._start.eq(
                self._working & between & free & ~self.grants.valid & ~self.dropped
                & (self._paid | self._pay) & come
            ),
        ]  # fmt: skip

    def _reads(self, m: Module) -> None:
        """Next flit's bytes or lines: from a memory, or what the read before has left."""
        config, command = self.config, self._command
        lanes = config.post_lanes
        whole, half = exact_log2(lanes // 8), exact_log2(lanes // 4)
        block_bits = exact_log2(config.blocks)
        room, wanted, spare, clear = Signal(), Signal(), Signal(), Signal()
        ready = Mux(command.partial, self.sums_ready & clear, self.read.ready)
        m.d.comb += [
            # A head goes into the queue before the flit that is read in its cycle.
            room.eq((self._level - self._pop + (self._picked | self._start)) < _QUEUE),
            wanted.eq((self._inside | self._start) & room),
            spare.eq(command.partial & self._inside & self._spare_valid() & self._group[0]),
            clear.eq(~self.writing | (self._group[1:] != self.pair)),
            self.read.valid.eq(wanted & ~command.partial),
            self.read.address.eq(Cat(self._group[whole:][:block_bits], command.slot)),
            self.sums_read.eq(wanted & command.partial & ~spare & clear),
            self.sums_block.eq(self._group[half:]),
            self._fetch.eq(wanted & ~spare & ready),
            self._step.eq(wanted & (spare | ready)),
        ]

    def _spare_valid(self) -> Signal:
        """The flit before was read in this packet."""
        self._follows = Signal()
        return self._follows

    def _select(self, m: Module) -> None:
        """The cycle after: eight bytes of the word, or four lanes of the sums, rounded."""
        config, command = self.config, self._command
        lanes, bits = config.post_lanes, config.acc_bits
        whole, half = exact_log2(lanes // 8), exact_log2(lanes // 4)
        partial, fetched, group = Signal(), Signal(), Signal(half)
        trim, keep = Signal(3), Signal(8)
        spare = Signal(4 * bits, reset_less=True)
        last = self._left == 1
        current = Mux(self._start, self._flits, self._packet_left)
        m.d.sync += [self._picked.eq(self._step), fetched.eq(self._fetch)]
        with m.If(self._step):
            m.d.sync += [
                partial.eq(command.partial),
                group.eq(self._group),
                # A partial sum is two bytes.
                trim.eq(Mux(last, self._trim(), 0)),
                self._pick_tail.eq(current == 1),
                self._pick_vc.eq(Mux(self._start, self._route.vc, self._packet_vc)),
            ]
        pair, four = Signal(8 * bits), Signal(4 * bits)
        value = Signal(64)
        with m.If(self._picked):
            with m.If(partial):
                with m.If(fetched):
                    m.d.comb += [
                        pair.eq(eight_of(self.sums_data, group[1:half], 8 * bits)),
                        four.eq(Mux(group[0], pair[4 * bits :], pair[: 4 * bits])),
                    ]
                    m.d.sync += spare.eq(pair[4 * bits :])
                with m.Else():
                    m.d.comb += four.eq(spare)
                m.d.comb += value.eq(Cat(
                    saturate(
                        round_shift(four.word_select(lane, bits).as_signed(), PARTIAL_SHIFT),
                        PARTIAL_BITS,
                    )
                    for lane in range(4)
                ))  # fmt: skip
            with m.Else():
                m.d.comb += value.eq(eight_of(self.read.data, group[:whole], 64))
            m.d.comb += [
                keep.eq(Const(0xFF, 8) >> Mux(partial, trim << 1, trim)),
                self._pick.eq(value & Cat(bit.replicate(8) for bit in keep)),
            ]

    def _trim(self) -> Value:
        """Lines of the last flit that do not count."""
        missing = (-self._command.length)[:3]
        return Mux(self._command.partial, missing[:2], missing)

    def _queue(self, m: Module) -> None:
        """Flits on their way to the link, in order; credits of the link."""
        fabric = self.fabric
        flit = data.StructLayout({"head": 1, "tail": 1, "data": 64, "vc": fabric.vc_bits})
        m.submodules.queue = queue = memory.Memory(shape=flit, depth=_QUEUE, init=[])
        write, read = queue.write_port(), queue.read_port(domain="comb")
        credits = Array(
            Signal(fabric.credit_bits, init=fabric.depth, name=f"credits_{v}")
            for v in range(fabric.virtual_channels)
        )
        allowed = credits[read.data.vc] != 0
        for v, credit in enumerate(credits):
            m.d.sync += credit.eq(
                credit + self.link.credit[v] - (self._pop & (read.data.vc == v))
            )  # fmt: skip
        m.d.sync += [
            write.addr.eq(write.addr + write.en),
            read.addr.eq(read.addr + self._pop),
            self._level.eq(self._level + write.en - self._pop),
        ]
        m.d.comb += [
            write.en.eq(self._picked | self._start | self._grant),
            self._pop.eq((self._level != 0) & allowed),
            self.link.valid.eq(self._pop),
            self.link.vc.eq(read.data.vc),
            self.link.flit.head.eq(read.data.head),
            self.link.flit.tail.eq(read.data.tail),
            self.link.flit.data.eq(read.data.data),
        ]
        with m.If(self._picked):
            m.d.comb += [
                write.data.tail.eq(self._pick_tail),
                write.data.data.eq(self._pick),
                write.data.vc.eq(self._pick_vc),
            ]
        with m.Elif(self._grant):
            m.d.comb += [
                write.data.head.eq(1),
                write.data.tail.eq(1),
                write.data.vc.eq(self._producer.vc),
                write.data.data.eq(self._credit_head(m)),
            ]
        with m.Else():
            m.d.comb += [
                write.data.head.eq(1),
                write.data.vc.eq(self._route.vc),
                write.data.data.eq(self._packet_head(m)),
            ]

    def _packet_head(self, m: Module) -> Value:
        """Head flit of a packet that begins."""
        command, route = self._command, self._route
        message = Signal(message_layout())
        last = self._flits == self._left
        m.d.comb += [
            message.kind.eq(Mux(command.partial, MessageKind.PARTIAL, MessageKind.VECTOR)),
            message.object.eq(route.object),
            message.last.eq(last),
            message.trim.eq(Mux(last, self._trim(), 0)),
            message.start.eq(self._group),
            message.value.eq(Mux(command.partial, 0, self.exponents[command.slot])),
        ]
        unicast, several = Cat(route.x, route.y), Cat(route.cols, route.rows)
        to = Mux(route.multicast, several, unicast)
        return self._flit(route.multicast, route.vc, self._flits + 1, to, message)

    def _credit_head(self, m: Module) -> Value:
        """The one flit of a CREDIT message."""
        producer = self._producer
        message = Signal(message_layout())
        m.d.comb += [
            message.kind.eq(MessageKind.CREDIT),
            message.object.eq(producer.stream),
            message.value.eq(self.grants.payload.count),
        ]
        return self._flit(0, producer.vc, 1, Cat(producer.x, producer.y), message)

    def _flit(self, multicast: Value | int, vc: Value, length: Value | int, to: Value,
              message: Signal) -> Value:  # fmt: skip
        """Routers' header (``to``: what stands from ``x`` on) and message."""
        values = {
            "multicast": multicast, "order": vc >= self.fabric.xy_channels, "length": length,
        }  # fmt: skip
        parts, low = [], 0
        for name, value in values.items():
            width = HEADER[name].width
            parts.append(Cat(value, Const(0, width))[:width])
            low += width
        assert low == HEADER["x"].low == HEADER["cols"].low
        parts.append(Cat(to, Const(0, HEADER.bits))[: HEADER.bits - low])
        return Cat(*parts, message)

    def _control(self, m: Module) -> None:
        """The SEND in work."""
        config, command = self.config, self._command
        ends = Signal()
        first = self.i.payload
        m.d.comb += [
            self.i.ready.eq(~self._working),
            ends.eq(self._step & (self._left == 1)),
            self.through.eq(ends & command.partial & command.merge),
            self.busy.eq(self._working | self._picked | (self._level != 0) | self.grants.valid),
            self.partial.eq(self._working & command.partial),
        ]
        with m.If(self._working & ~command.partial):
            m.d.comb += self.reads.eq(Const(1, config.slots) << command.slot)
        with m.If(~self._working), m.If(self.i.valid):
            four, eight = (first.length + 3) >> 2, (first.length + 7) >> 3
            m.d.sync += [
                self._working.eq(1),
                command.eq(first),
                self._group.eq(Mux(first.partial, first.start >> 2, first.start >> 3)),
                self._left.eq(Mux(first.partial, four, eight)),
            ]
        with m.Elif(ends | (self.dropped & self.drop)):
            m.d.sync += self._working.eq(0), self._paid.eq(0)
        with m.Elif(self._pay):
            m.d.sync += self._paid.eq(1)
        with m.If(self._start):
            # An entry that is written meanwhile, after an abort, tears no packet apart.
            m.d.sync += [
                self._inside.eq(1), self._packet_left.eq(self._flits),
                self._packet_vc.eq(self._route.vc),
            ]  # fmt: skip
        m.d.sync += self._follows.eq(self._step | (self._follows & self._inside))
        with m.If(self._step):
            current = Mux(self._start, self._flits, self._packet_left)
            m.d.sync += [
                self._group.eq(self._group + 1),
                self._left.eq(self._left - 1),
                self._packet_left.eq(current - 1),
                self._inside.eq(current != 1),
            ]
