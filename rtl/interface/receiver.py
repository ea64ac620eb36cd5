# SPDX-License-Identifier: Apache-2.0
"""Receiving half of the network interface: messages into slots, accumulators and tables."""

from collections.abc import Sequence

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, fifo, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.core.interfaces import (
    AccumulatorPort,
    AffineWrite,
    CreditGrant,
    ExponentWrite,
    TableWrite,
    VectorWrite,
    descriptor_word,
    table_depth,
)
from phasecore.rtl.lib.arithmetic import saturate
from phasecore.rtl.noc.link import Flit, Link
from phasecore.rtl.spec.core import PARTIAL_BITS, PARTIAL_SHIFT, CoreConfig
from phasecore.rtl.spec.instructions import OBJECT
from phasecore.rtl.spec.messages import LINES_PER_FLIT, MESSAGE, MessageKind
from phasecore.rtl.spec.noc import FabricConfig
from phasecore.rtl.spec.packets import HEADER
from phasecore.rtl.spec.registers.core import ErrorCode

__all__ = ["MessageReceiver", "eight_of", "message_layout"]

FOUR = LINES_PER_FLIT[MessageKind.PARTIAL]
EIGHT = LINES_PER_FLIT[MessageKind.VECTOR]


def message_layout() -> data.StructLayout:
    """The fields of ``MESSAGE``: what stands above the routers' header of a head flit."""
    return data.StructLayout({name: field.width for name, field in MESSAGE.items()})


def eight_of(word: Value, place: Value, width: int) -> Value:
    """Part ``place`` of a word that consists of parts of ``width`` bits."""
    return word.word_select(place, width) if len(place) else word[:width]


def spread(mask: Value, place: Value, lanes: int) -> Value:
    """``mask`` as part ``place`` of a mask of ``lanes`` bits."""
    return (Cat(mask, Const(0, lanes - len(mask))) << (place * len(mask)))[:lanes]


class _Packet(data.StructLayout):
    """State of a channel; ``unit`` is the next flit's place in the vector, in flits."""

    def __init__(self) -> None:
        super().__init__({
            "active": 1, "drop": 1, "kind": 2, "object": 4, "last": 1, "trim": 3, "unit": 8,
            "value": 8,
        })  # fmt: skip


class MessageReceiver(wiring.Component):
    """Takes a flit per cycle, of whatever channel has one that can be taken.

    A flit is taken in the cycle after it was on the link. Its accumulators are read in that cycle
    and written in the next. A read serves two flits of four lines (the second's lines wait in a
    register), so that a chain that adds on the way has reads for both directions.

    Members
    -------
    link : In(Link)
    table : In(TableWrite)
    full : In(objects)
        No room for another vector, from the cycle after ``arrived`` on; or not enabled.
    arrived : Out(objects)
        Strobe: the last flit of a vector is taken.
    credit_en, credit, credit_known, credit_excess : Out(1), Out(CreditGrant), In(1), In(1)
        ``count`` credits for stream ``object``; it is enabled; they are more than it can have.
    merged, come, through : In(4), Out, In(1)
        Lines that have come in object ``merged``, in fours; start their count again.
    write, exponent_write, affine_write, accumulators : ports of the memories
    pair : Out
        With ``accumulators.write``: what is written, in units of eight lines.
    busy : Out(1), a flit waits to be taken
    error : Out(8)
        ErrorCode of what is dropped in this cycle.
    """

    def __init__(self, config: CoreConfig, fabric: FabricConfig):
        self.config, self.fabric = config, fabric
        self.group_bits = config.line_bits - 2
        super().__init__(
            {
                "link": In(Link(fabric)),
                "table": In(TableWrite()),
                "full": In(config.objects),
                "arrived": Out(config.objects),
                "credit_en": Out(1),
                "credit": Out(CreditGrant()),
                "credit_known": In(1),
                "credit_excess": In(1),
                "merged": In(4),
                "come": Out(self.group_bits + 1),
                "through": In(1),
                "write": Out(VectorWrite(config)),
                "exponent_write": Out(ExponentWrite(config)),
                "affine_write": Out(AffineWrite(config)),
                "accumulators": Out(AccumulatorPort(config)),
                "pair": Out(self.group_bits - 1),
                "error": Out(8),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._flit, self._packet = Signal(Flit(self.fabric)), Signal(_Packet())
        self._take, self._body = Signal(), Signal()
        self._restart = Signal(self.config.objects)
        # Accumulators that wait in the register: the upper four of eight lines.
        self._kept, self._kept_pair = Signal(), Signal(self.group_bits - 1)
        packets = self._choose(m)
        after = Signal(_Packet())
        with m.If(self._take):
            m.d.sync += packets[self._chosen].eq(after)
        self._objects(m)
        m.d.comb += after.eq(self._packet)
        with m.If(self._flit.head & ~self._packet.active):
            self._head(m, after)
        with m.Elif(self._flit.head):
            m.d.comb += after.active.eq(0)
            with m.If(self._take & ~self._packet.drop):
                m.d.comb += self.error.eq(ErrorCode.FABRIC_CANCELLED)
        with m.Else():
            m.d.comb += [
                after.unit.eq(self._packet.unit + 1),
                after.active.eq(self._packet.active & ~self._flit.tail),
            ]
        m.d.comb += self._body.eq(
            self._take & ~self._flit.head & self._packet.active & ~self._packet.drop
        )
        self._place_vector(m)
        self._place_affine(m)
        self._place_partial(m)
        self._arrive(m)
        return m

    def _choose(self, m: Module) -> data.View:
        """Buffers and states of the channels; the flit that is taken, if one can be."""
        fabric, link = self.fabric, self.link
        channels = fabric.virtual_channels
        queues = []
        packets = Signal(data.ArrayLayout(_Packet(), channels))
        able = Signal(channels)
        for vc in range(channels):
            queue = fifo.SyncFIFO(width=Flit(fabric).size, depth=fabric.depth)
            m.submodules[f"queue_{vc}"] = queue
            flit = data.View(Flit(fabric), queue.r_data)
            m.d.comb += [
                queue.w_data.eq(link.flit),
                queue.w_en.eq(link.valid & (link.vc == vc)),
                able[vc].eq(queue.r_rdy & ~self._held_up(packets[vc], flit)),
            ]
            queues.append(queue)
        chosen = self._chosen = Signal(range(max(2, channels)))
        turn = Signal.like(chosen)
        for offset in reversed(range(channels)):
            for first in range(channels):
                vc = (first + offset) % channels
                with m.If((turn == first) & able[vc]):
                    m.d.comb += chosen.eq(vc)
        m.d.comb += [
            self._take.eq(able.any()),
            self.busy.eq(Cat(queue.r_rdy for queue in queues).any()),
            self._flit.eq(Array([queue.r_data for queue in queues])[chosen]),
            self._packet.eq(packets[chosen]),
        ]
        for vc, queue in enumerate(queues):
            m.d.comb += [
                queue.r_en.eq(self._take & (chosen == vc)), link.credit[vc].eq(queue.r_en),
            ]  # fmt: skip
        with m.If(self._take):
            m.d.sync += turn.eq(Mux(chosen == channels - 1, 0, chosen + 1))
        return packets

    def _held_up(self, packet: data.View, flit: data.View) -> Value:
        """The memory of a data flit cannot take it now."""
        port = self.accumulators
        written = port.write & (self.pair == packet.unit[1:])
        busy = ~port.ready | (written & ~self._waits(packet))
        return ~flit.head & packet.active & ~packet.drop & (
            ((packet.kind == MessageKind.VECTOR) & ~self.write.ready)
            | ((packet.kind == MessageKind.PARTIAL) & busy)
        )  # fmt: skip

    def _waits(self, packet: data.View) -> Value:
        """The accumulators of the channel's next flit wait in the register."""
        return self._kept & packet.unit[0] & (self._kept_pair == packet.unit[1:])

    def _objects(self, m: Module) -> None:
        """Object descriptors, and that of the flit."""
        table, objects = self.table, self.config.objects
        word = data.View(descriptor_word(OBJECT, 0), table.data)
        kept = data.StructLayout({"partial": 1, "replace": 1, "slot": 5, "depth": 5})
        m.submodules.descriptors = store = memory.Memory(
            shape=kept, depth=table_depth(objects), init=[]
        )
        write, read = store.write_port(), store.read_port(domain="comb")
        written, enabled = Signal(), Signal(objects)
        self._message = message = Signal(message_layout())
        self._object, self._target = Signal(4), read.data
        self._one, self._known = Signal(objects), Signal()
        m.d.comb += [
            message.eq(self._flit.data[HEADER.bits :]),
            self._object.eq(Mux(self._packet.active, self._packet.object, message.object)),
            self._one.eq(1 << self._object),
            self._known.eq((enabled & self._one).any()),
            written.eq(table.en & ~table.stream & (table.index < objects)),
            write.addr.eq(table.index),
            write.en.eq(written & (table.word == 0)),
            *(write.data[name].eq(word[name]) for name in kept.members),
            read.addr.eq(self._object),
        ]
        with m.If(written):
            m.d.comb += self._restart.eq(1 << table.index)
        with m.If(write.en):
            m.d.sync += enabled.eq((enabled & ~self._restart) | Mux(word.enable, self._restart, 0))

    def _head(self, m: Module, after: data.View) -> None:
        """Check the head of a packet and begin it."""
        config, message, target = self.config, self._message, self._target
        header = HEADER["length"]
        flits, end = Signal(8), Signal(9)
        m.d.comb += [
            flits.eq(self._flit.data[header.low : header.low + header.width] - 1),
            end.eq(message.start + flits),
            after.active.eq(~self._flit.tail),
            after.unit.eq(message.start),
            *(
                after[name].eq(message[name])
                for name in ("kind", "object", "last", "trim", "value")
            ),
        ]
        room = Mux(message.kind == MessageKind.VECTOR, config.lines // EIGHT, config.lines // FOUR)
        outside = (flits == 0) | (end > room)
        no_room = (self.full & self._one).any()
        faults: tuple[tuple[Value, ErrorCode], ...] = ()
        error = Signal(8)
        with m.Switch(message.kind):
            for kind in MessageKind:
                if kind is MessageKind.CREDIT:
                    faults = (
                        (flits != 0, ErrorCode.FABRIC_RANGE),
                        (~self.credit_known, ErrorCode.FABRIC_OBJECT),
                    )
                elif kind is MessageKind.AFFINE:
                    unknown = message.object >= config.affine_tables
                    faults = (outside, ErrorCode.FABRIC_RANGE), (unknown, ErrorCode.FABRIC_OBJECT)
                else:
                    foreign = ~self._known | (target.partial != int(kind is MessageKind.PARTIAL))
                    faults = (
                        (no_room, ErrorCode.FABRIC_CREDIT),
                        (outside, ErrorCode.FABRIC_RANGE),
                        (foreign, ErrorCode.FABRIC_OBJECT),
                    )
                with m.Case(kind):
                    for condition, code in faults:
                        with m.If(condition):
                            m.d.comb += error.eq(code)
        m.d.comb += [
            after.drop.eq(error != ErrorCode.NONE),
            self.credit_en.eq(
                self._take & (message.kind == MessageKind.CREDIT) & (error == ErrorCode.NONE)
            ),
            self.credit.object.eq(message.object),
            self.credit.count.eq(message.value),
        ]
        with m.If(self._take):
            m.d.comb += self.error.eq(error)
            with m.If(self.credit_en & self.credit_excess):
                m.d.comb += self.error.eq(ErrorCode.FABRIC_CREDIT)

    def _place_vector(self, m: Module) -> None:
        """Eight bytes into the object's present slot; the exponent with the last."""
        config, write, packet, flit = self.config, self.write, self._packet, self._flit
        slot = self._slot = Signal(config.slot_bits)
        bits = exact_log2(config.post_lanes // EIGHT)
        lanes = Signal(EIGHT)
        m.d.comb += [
            lanes.eq(Mux(flit.tail, Const(0xFF, 8) >> packet.trim, 0xFF)),
            write.valid.eq(self._body & (packet.kind == MessageKind.VECTOR)),
            write.address.eq(Cat(packet.unit[bits:][: exact_log2(config.blocks)], slot)),
            write.mask.eq(spread(lanes, packet.unit[:bits], config.post_lanes)),
            write.data.eq(flit.data.replicate(config.post_lanes // EIGHT)),
            self.exponent_write.valid.eq(write.valid & flit.tail & packet.last),
            self.exponent_write.slot.eq(slot),
            self.exponent_write.exponent.eq(packet.value.as_signed()),
        ]

    def _place_affine(self, m: Module) -> None:
        """Scale and offset of four lines into a table."""
        config, write, packet = self.config, self.affine_write, self._packet
        bits = exact_log2(config.post_lanes // FOUR)
        m.d.comb += [
            write.en.eq(self._body & (packet.kind == MessageKind.AFFINE)),
            write.address.eq(Cat(packet.unit[bits:][: exact_log2(config.blocks)], packet.object)),
            write.mask.eq(spread(self._four(), packet.unit[:bits], config.post_lanes)),
            write.data.eq(self._flit.data.replicate(config.post_lanes // FOUR)),
        ]

    def _four(self) -> Value:
        """Lines of the flit that count, of four."""
        return Mux(self._flit.tail, Const(0xF, 4) >> self._packet.trim, 0xF)[:4]

    def _place_partial(self, m: Module) -> None:
        """Read the accumulators of four lines, add in the next cycle."""
        config, port, packet = self.config, self.accumulators, self._packet
        bits, width = exact_log2(config.post_lanes // FOUR), config.acc_bits
        enable, replace = Signal(), Signal()
        valid, fetched, unit = Signal(), Signal(), Signal(self.group_bits)
        lanes, values = Signal(FOUR), Signal(64, reset_less=True)
        spare = Signal(FOUR * width, reset_less=True)
        m.d.comb += [
            enable.eq(self._body & (packet.kind == MessageKind.PARTIAL)),
            port.read.eq(enable & ~self._waits(packet)),
            port.block.eq(packet.unit[bits:]),
        ]
        m.d.sync += [valid.eq(enable), fetched.eq(port.read)]
        with m.If(enable):
            m.d.sync += [
                unit.eq(packet.unit), lanes.eq(self._four()), values.eq(self._flit.data),
                replace.eq(self._target.replace),
                self._kept.eq(~packet.unit[0]), self._kept_pair.eq(packet.unit[1:]),
            ]  # fmt: skip
        with m.If(~port.ready):
            m.d.sync += self._kept.eq(0)
        pair, old = Signal(2 * FOUR * width), Signal(FOUR * width)
        with m.If(valid):
            m.d.comb += [
                pair.eq(eight_of(port.data, unit[1:bits], 2 * FOUR * width)),
                old.eq(Mux(
                    fetched, Mux(unit[0], pair[FOUR * width :], pair[: FOUR * width]), spare
                )),
                port.write.eq(1),
                port.write_data.eq(
                    Cat(self._sums(m, values, old, replace)).replicate(config.post_lanes // FOUR)
                ),
            ]  # fmt: skip
            with m.If(fetched):
                m.d.sync += spare.eq(pair[FOUR * width :])
        m.d.comb += [
            self.pair.eq(unit[1:]),
            port.write_block.eq(unit[bits:]),
            port.mask.eq(spread(lanes, unit[:bits], config.post_lanes)),
        ]
        self._come(m, enable)

    def _sums(self, m: Module, values: Value, old: Value, replace: Value) -> Sequence[Value]:
        """Four accumulators with what has come."""
        width, sums = self.config.acc_bits, []
        for lane in range(FOUR):
            part = values.word_select(lane, PARTIAL_BITS)
            before = Mux(replace, 0, old.word_select(lane, width))[:width].as_signed()
            total = Signal(signed(width + 1), name=f"total_{lane}")
            m.d.comb += total.eq(before + Cat(Const(0, PARTIAL_SHIFT), part).as_signed())
            sums.append(saturate(total, width)[:width])
        return sums

    def _come(self, m: Module, enable: Value) -> None:
        """Count fours of lines; never beyond all lines."""
        objects, most = self.config.objects, self.config.lines // FOUR
        counts = Signal(data.ArrayLayout(self.group_bits + 1, objects))
        m.d.comb += self.come.eq(counts[self.merged])
        for index in range(objects):
            count, base = counts[index], Signal(self.group_bits + 1, name=f"come_{index}")
            again = self._restart[index] | (self.through & (self.merged == index))
            more = enable & self._one[index]
            m.d.comb += base.eq(Mux(again, 0, count))
            m.d.sync += count.eq(base + (more & (base != most)))

    def _arrive(self, m: Module) -> None:
        """Vectors that have come, and the rings."""
        objects, packet = self.config.objects, self._packet
        rings = Signal(data.ArrayLayout(5, objects))
        ring, following = Signal(5), Signal(5)
        m.d.comb += [
            ring.eq(rings[self._object]),
            following.eq(Mux(ring + 1 >= self._target.depth, 0, ring + 1)),
            self._slot.eq(self._target.slot + ring),
        ]
        ends = self._body & self._flit.tail & packet.last
        kept = packet.kind.matches(MessageKind.VECTOR, MessageKind.PARTIAL)
        for index in range(objects):
            m.d.comb += self.arrived[index].eq(ends & kept & self._one[index])
            with m.If(self.arrived[index]):
                m.d.sync += rings[index].eq(following)
            with m.If(self._restart[index]):
                m.d.sync += rings[index].eq(0)
