# SPDX-License-Identifier: Apache-2.0
"""Receiving half of the network interface: messages into slots, accumulators and tables."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from phasecore.rtl.core.interfaces import (
    AccumulatorPort,
    AffineWrite,
    ExponentWrite,
    TableWrite,
    VectorWrite,
)
from phasecore.rtl.interface.flit_inputs import FlitInputs
from phasecore.rtl.interface.head import EIGHT, FOUR, spread
from phasecore.rtl.interface.head_check import HeadCheck
from phasecore.rtl.interface.object_table import ObjectTable
from phasecore.rtl.interface.partial_adder import PartialAdder
from phasecore.rtl.interface.route_credits import MemberCredits
from phasecore.rtl.noc.link import Link
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.messages import MessageKind
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.registers.table import FaultCode

__all__ = ["MessageReceiver"]


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
    and written in the next.

    Members
    -------
    link : In(Link)
    table : In(TableWrite)
    full : In(objects)
        No room for another vector, from the cycle after ``arrived`` on; or not enabled.
    arrived : Out(objects)
        Strobe: the last flit of a vector is taken.
    credit_en, credit, credit_known : Out(1), Out(MemberCredits), In(1)
        Credits for a member of a route; there is such a member.
    credit_excess : In(1)
        The credits of the cycle before were more than the member can have.
    merge_object, received_lines, merge_done : In(4), Out, In(1)
        Lines received for object ``merge_object``, in fours; start their count again.
    write, exponent_write, affine_write, accumulators : ports of the memories
    written_place : Out
        With ``accumulators.write``: what is written, in units of eight lines.
    busy : Out(1), a flit waits to be taken, or an error to be told
    error : Out(8)
        FaultCode of what was dropped in the cycle before.
    """

    def __init__(self, config: CoreConfig, noc: NocConfig):
        self.config, self.noc = config, noc
        super().__init__(
            {
                "link": In(Link(noc)),
                "table": In(TableWrite()),
                "full": In(config.objects),
                "arrived": Out(config.objects),
                "credit_en": Out(1),
                "credit": Out(MemberCredits()),
                "credit_known": In(1),
                "credit_excess": In(1),
                "merge_object": In(4),
                "received_lines": Out(config.line_bits - 1),
                "merge_done": In(1),
                "write": Out(VectorWrite(config)),
                "exponent_write": Out(ExponentWrite(config)),
                "affine_write": Out(AffineWrite(config)),
                "accumulators": Out(AccumulatorPort(config)),
                "written_place": Out(config.line_bits - 3),
                "error": Out(8),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        channels = self.noc.virtual_channels
        m.submodules.inputs = inputs = FlitInputs(self.noc)
        m.submodules.objects = objects = ObjectTable(self.config)
        m.submodules.check = check = HeadCheck(self.config)
        m.submodules.adder = adder = PartialAdder(self.config, channels)
        packets = Signal(data.ArrayLayout(_Packet(), channels))
        packet, after, flit = Signal(_Packet()), Signal(_Packet()), inputs.flit
        # An excess of credits is known a cycle later than other errors, of which a head has one.
        taken, body, found, told = Signal(), Signal(), Signal(8), Signal(8)
        m.d.comb += [
            taken.eq(inputs.taken.any()),
            body.eq(taken & ~flit.head & packet.active & ~packet.drop),
            after.eq(packet),
        ]
        for vc in range(channels):
            with m.If(inputs.taken[vc]):
                m.d.comb += packet.eq(packets[vc])
                m.d.sync += packets[vc].eq(after)
        with m.If(flit.head & ~packet.active):
            self._begin(m, flit, after, check, taken)
            m.d.comb += found.eq(Mux(taken, check.error, FaultCode.NONE))
        with m.Elif(flit.head):
            m.d.comb += after.active.eq(0)
            with m.If(taken & ~packet.drop):
                m.d.comb += found.eq(FaultCode.NOC_CANCELLED)
        with m.Else():
            m.d.comb += [
                after.unit.eq(packet.unit + 1), after.active.eq(packet.active & ~flit.tail),
            ]  # fmt: skip
        m.d.sync += told.eq(found)
        of = {kind: packet.kind == kind for kind in MessageKind}
        m.d.comb += [
            check.head.eq(flit.data),
            objects.object.eq(Mux(packet.active, packet.object, check.head.message.object)),
            objects.vector_ends.eq(
                body & flit.tail & packet.last
                & (of[MessageKind.VECTOR] | of[MessageKind.PARTIAL])
            ),
            adder.enable.eq(body & of[MessageKind.PARTIAL]),
            objects.lines.eq(adder.enable),
            self.write.valid.eq(body & of[MessageKind.VECTOR]),
            self.affine_write.en.eq(body & of[MessageKind.AFFINE]),
            self.error.eq(Mux(self.credit_excess, FaultCode.NOC_CREDIT, told)),
            self.busy.eq(inputs.waiting | (told != FaultCode.NONE)),
        ]  # fmt: skip
        self._join(m, inputs, objects, check, adder)
        self._block(m, inputs, packets, adder)
        self._place(m, flit, packet, objects, adder)
        return m

    def _begin(
        self, m: Module, flit: data.View, after: data.View, check: HeadCheck, taken: Value
    ) -> None:
        """A packet begins with its head, and is dropped if that has an error."""
        message, good = check.head.message, check.error == FaultCode.NONE
        m.d.comb += [
            after.active.eq(~flit.tail),
            after.unit.eq(message.start),
            after.drop.eq(~good),
            *(
                after[name].eq(message[name])
                for name in ("kind", "object", "last", "trim", "value")
            ),
            self.credit_en.eq(taken & good & (message.kind == MessageKind.CREDIT)),
        ]

    def _join(
        self, m: Module, inputs: FlitInputs, objects: ObjectTable, check: HeadCheck,
        adder: PartialAdder,
    ) -> None:  # fmt: skip
        """Ports of the parts that are those of the receiver, and what one part tells another."""
        connect(m, flipped(self.link), inputs.link)
        connect(m, adder.accumulators, flipped(self.accumulators))
        m.d.comb += [
            objects.table.eq(self.table),
            objects.full.eq(self.full),
            objects.merge_object.eq(self.merge_object),
            objects.merge_done.eq(self.merge_done),
            self.received_lines.eq(objects.received_lines),
            self.arrived.eq(objects.arrived),
            self.written_place.eq(adder.written_place),
            check.known.eq(objects.known),
            check.partial.eq(objects.partial),
            check.pitch.eq(objects.pitch),
            check.full.eq(~objects.room),
            check.credit_known.eq(self.credit_known),
            self.credit.route.eq(check.head.message.object),
            self.credit.member.eq(check.head.message.start),
            self.credit.count.eq(check.head.message.value),
        ]

    def _block(
        self, m: Module, inputs: FlitInputs, packets: data.View, adder: PartialAdder
    ) -> None:
        """A data flit waits while its memory cannot take it."""
        for vc, packet in enumerate(packets):
            m.d.comb += [
                adder.units[vc].eq(packet.unit),
                inputs.blocked[vc].eq(
                    ~inputs.first[vc].head & packet.active & ~packet.drop & (
                        ((packet.kind == MessageKind.VECTOR) & ~self.write.ready)
                        | ((packet.kind == MessageKind.PARTIAL) & adder.blocked[vc])
                    )
                ),
            ]  # fmt: skip

    def _place(
        self, m: Module, flit: data.View, packet: data.View, objects: ObjectTable,
        adder: PartialAdder,
    ) -> None:  # fmt: skip
        """A data flit's lines, of whatever kind, and where in a memory they go."""
        config, unit = self.config, packet.unit
        write, affine, exponent = self.write, self.affine_write, self.exponent_write
        by_four = exact_log2(config.post_lanes // FOUR)
        block_bits = exact_log2(config.blocks)
        # Lines behind the vector's end do not count.
        lines = Mux(flit.tail, Const(0xFF, 8) >> packet.trim, 0xFF)[:8]
        four = Mux(flit.tail, Const(0xF, 4) >> packet.trim, 0xF)[:4]
        m.d.comb += [
            objects.unit.eq(unit),
            write.address.eq(objects.address),
            write.mask.eq(spread(lines, objects.part, config.post_lanes)),
            write.data.eq(flit.data.replicate(config.post_lanes // EIGHT)),
            # What lies behind the slots has no exponent.
            exponent.valid.eq(
                write.valid & flit.tail & packet.last & (objects.begins < config.slot_words)
            ),
            exponent.slot.eq(objects.begins >> block_bits),
            exponent.exponent.eq(packet.value.as_signed()),
            affine.address.eq(Cat(unit[by_four:][:block_bits], packet.object)),
            affine.mask.eq(spread(four, unit[:by_four], config.post_lanes)),
            affine.data.eq(flit.data.replicate(config.post_lanes // FOUR)),
            adder.unit.eq(unit),
            adder.lanes.eq(four),
            adder.values.eq(flit.data),
            adder.replace.eq(objects.replace),
        ]
