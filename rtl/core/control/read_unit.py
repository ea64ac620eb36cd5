# SPDX-License-Identifier: Apache-2.0
"""READ unit: sends lines of a slot as one RESULT packet."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.control.load_unit import AxiStream
from phasecore.rtl.core.interfaces import UnitStatus, VectorRead
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import HEADER, PACKET_MAGIC, PacketKind

__all__ = ["ReadCommand", "ReadUnit"]


class ReadCommand(data.StructLayout):
    """READ of ``length`` lines of ``slot`` from ``first_line``, a multiple of 8."""

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "slot": config.slot_bits,
                "first_line": config.line_bits,
                "length": config.line_bits + 1,
            }
        )


class ReadUnit(wiring.Component):
    """Sends a header and ``ceil(length / 8)`` payload beats, one per cycle within a block.

    Each block costs two cycles more for the read of its word. Bytes outside ``tkeep`` are bytes of
    the following lines.

    Members
    -------
    i : In(stream of ReadCommand)
        Taken while not busy.
    read : Out(VectorRead)
    axis : Out(AxiStream)
    status : Out(UnitStatus)
        Busy from acceptance of a command to its last beat; reads its slot until the last word has
        been read.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(ReadCommand(config))),
                "read": Out(VectorRead(config)),
                "axis": Out(AxiStream(config)),
                "status": Out(UnitStatus(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        config, axis = self.config, self.axis
        m = Module()
        group_bits = (config.post_lanes // config.axis_bytes).bit_length() - 1
        command = Signal(ReadCommand(config))
        # Beats of the vector memory: a block of 2**group_bits of them is one word.
        beat = Signal(range(config.lines // config.axis_bytes + 1))
        remaining, word = Signal(config.line_bits + 1), Signal(8 * config.post_lanes)
        reading, last = Signal(), Signal()
        header = Signal(data.StructLayout({field.name: field.width for field in HEADER}))
        address_bits = config.blocks.bit_length() - 1

        m.d.comb += [
            self.i.ready.eq(~self.status.busy),
            self.read.address.eq(Cat(beat[group_bits:][:address_bits], command.slot)),
            last.eq(remaining <= config.axis_bytes),
        ]
        _fill(m, header, command)
        with m.If(reading):
            m.d.comb += self.status.reads.eq(1 << command.slot)
        with m.FSM() as fsm:
            m.d.comb += self.status.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"), m.If(self.i.valid):
                m.d.sync += [
                    command.eq(self.i.payload),
                    remaining.eq(self.i.payload.length),
                    beat.eq(self.i.payload.first_line >> 3),
                    reading.eq(1),
                ]
                m.next = "HEADER"
            with m.State("HEADER"):
                m.d.comb += [axis.tvalid.eq(1), axis.tdata.eq(header), axis.tkeep.eq(-1)]
                with m.If(axis.tready):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += self.read.valid.eq(1)
                with m.If(self.read.ready):
                    m.next = "WORD"
            with m.State("WORD"):
                m.d.sync += word.eq(self.read.data)
                in_word = config.post_lanes - (beat[:group_bits] << 3)
                with m.If(remaining <= in_word):
                    m.d.sync += reading.eq(0)
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += [
                    axis.tvalid.eq(1),
                    axis.tdata.eq(word.word_select(beat[:group_bits], 8 * config.axis_bytes)),
                    axis.tlast.eq(last),
                    axis.tkeep.eq(Mux(last, ~(Const(-1, 8) << remaining[:4]), Const(-1, 8))),
                ]
                with m.If(axis.tready):
                    m.d.sync += [beat.eq(beat + 1), remaining.eq(remaining - config.axis_bytes)]
                    with m.If(last):
                        m.next = "IDLE"
                    with m.Elif((beat + 1)[:group_bits] == 0):
                        m.next = "READ"
        return m


def _fill(m: Module, header: data.View, command: data.View) -> None:
    """Header of the packet that answers a command."""
    m.d.comb += [
        header.kind.eq(PacketKind.RESULT),
        header.slot.eq(command.slot),
        header.start.eq(command.first_line),
        header.length.eq(command.length),
        header.magic.eq(PACKET_MAGIC),
    ]
