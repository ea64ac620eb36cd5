# SPDX-License-Identifier: Apache-2.0
"""LOAD engine: checks and stages one packet of the input stream, then commits it to a LOAD."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.config import CoreConfig
from rtl.core.interfaces import AffineWrite, ExponentWrite, VectorWrite
from rtl.csr import ErrorCode
from rtl.isa import GROUP, HEADER, PACKET_MAGIC, PacketKind
from rtl.sram import Sram

__all__ = ["AxiStream", "LoadCommand", "StreamIn"]


class AxiStream(wiring.Signature):
    """64-bit AXI4-Stream without side channels, seen from the transmitter."""

    def __init__(self, config: CoreConfig):
        super().__init__({
            "tdata": Out(8 * config.stream_bytes),
            "tkeep": Out(config.stream_bytes),
            "tlast": Out(1),
            "tvalid": Out(1),
            "tready": In(1),
        })


class LoadCommand(data.StructLayout):
    """LOAD of a VECTOR packet into slot ``slot``, or of an AFFINE packet into table ``slot``."""

    def __init__(self, config: CoreConfig):
        super().__init__({"affine": 1, "slot": config.slot_bits})


def header_layout() -> data.StructLayout:
    """First beat of a packet."""
    return data.StructLayout({field.name: field.width for field in HEADER})


class StreamIn(wiring.Component):
    """Takes packets at one beat per cycle into a buffer of one packet.

    The buffered packet waits for a LOAD (so the next image arrives during computation) and is
    written to its slot or table in ``blocks`` cycles plus two; only blocks that hold its lines are
    visited. A malformed packet is dropped whole and reported once. So is a well-formed packet of
    another kind than the LOAD wants, which then waits for the next.

    Members
    -------
    axis : In(AxiStream)
    i : In(stream of LoadCommand)
        Taken while not busy.
    cancel : In(1)
        Forget a LOAD whose commit has not begun; the packet stays.
    write : Out(VectorWrite)
    exponent_write : Out(ExponentWrite)
        Exponent 0 of a loaded slot, with its first word.
    affine_write : Out(AffineWrite)
    busy : Out(1)
        From acceptance of a command to its last write.
    writes : Out(slots)
        Slot of the command in work.
    malformed, error : Out(1), Out(8)
        Strobe of a dropped packet and its ErrorCode.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__({
            "axis": In(AxiStream(config)),
            "i": In(stream.Signature(LoadCommand(config))),
            "cancel": In(1),
            "write": Out(VectorWrite(config)),
            "exponent_write": Out(ExponentWrite(config)),
            "affine_write": Out(AffineWrite(config)),
            "busy": Out(1),
            "writes": Out(config.slots),
            "malformed": Out(1),
            "error": Out(8),
        })

    def elaborate(self, platform: object) -> Module:
        config = self.config
        m = Module()
        # A staged word holds the scale and offset of one block's lanes; vectors use its low half.
        m.submodules.stage = stage = Sram(
            width=16 * config.post_lanes,
            depth=max(2, config.blocks),
            granularity=8 * config.stream_bytes,
        )
        staged, release = Signal(), Signal()
        affine = Signal()
        start, length = Signal(config.line_bits), Signal(config.line_bits + 1)
        packet = _Packet(affine, start, length)
        receive_error = self._receive(m, stage, packet, staged, release)
        commit_error = self._commit(m, stage, packet, staged, release)
        m.d.comb += [
            self.malformed.eq((receive_error != ErrorCode.NONE) | (commit_error != ErrorCode.NONE)),
            self.error.eq(receive_error | commit_error),
        ]
        return m

    def _receive(
        self, m: Module, stage: Sram, packet: "_Packet", staged: Signal, release: Signal
    ) -> Signal:
        """Check beats and write them to the stage; give the error that dropped a packet."""
        config, axis = self.config, self.axis
        header = data.View(header_layout(), axis.tdata)
        beat = Signal(range(config.lines // 4))
        remaining = Signal(range(2 * config.lines + 1))
        error = Signal(8)
        full = axis.tkeep.all()
        transfer = axis.tvalid & axis.tready

        bits = (config.post_lanes // GROUP).bit_length() - 1  # of a beat's place in a vector word
        m.d.comb += [
            stage.w_address.eq(Mux(packet.affine, beat[bits + 1 :], beat[bits:])),
            stage.w_mask.eq(1 << Mux(packet.affine, beat[: bits + 1], beat[:bits])),
            stage.w_data.eq(axis.tdata.replicate(2 * config.post_lanes // GROUP)),
        ]

        with m.FSM(name="receive"):
            with m.State("HEADER"):
                m.d.comb += axis.tready.eq(1)
                is_affine = header.kind == PacketKind.AFFINE
                m.d.sync += [
                    packet.affine.eq(is_affine),
                    packet.start.eq(header.start),
                    packet.length.eq(header.length),
                    beat.eq(Mux(is_affine, header.start >> 2, header.start >> 3)),
                    remaining.eq(Mux(is_affine, header.length << 1, header.length)),
                ]
                with m.If(transfer):
                    m.d.comb += error.eq(_header_error(config, header, full, axis.tlast))
                    with m.If(error == ErrorCode.NONE):
                        m.next = "PAYLOAD"
                    with m.Elif(~axis.tlast):
                        m.next = "DROP"
            with m.State("PAYLOAD"):
                m.d.comb += axis.tready.eq(1)
                last = remaining <= config.stream_bytes
                keep = Signal(config.stream_bytes)
                m.d.comb += keep.eq(~(Const(-1, config.stream_bytes) << remaining[:4]))
                with m.If(transfer):
                    m.d.sync += [
                        beat.eq(beat + 1), remaining.eq(remaining - config.stream_bytes),
                    ]  # fmt: skip
                    m.d.comb += stage.w_en.eq(1)
                    with m.If(axis.tlast & ~last):
                        m.d.comb += error.eq(ErrorCode.PACKET_EARLY)
                    with m.Elif(~axis.tlast & last):
                        m.d.comb += error.eq(ErrorCode.PACKET_LATE)
                    with m.Elif(Mux(last, axis.tkeep != keep, ~full)):
                        m.d.comb += error.eq(ErrorCode.PACKET_KEEP)
                    with m.If(error != ErrorCode.NONE):
                        m.next = "DROP"
                        with m.If(axis.tlast):
                            m.next = "HEADER"
                    with m.Elif(last):
                        m.next = "STAGED"
            with m.State("DROP"):
                m.d.comb += axis.tready.eq(1)
                with m.If(transfer & axis.tlast):
                    m.next = "HEADER"
            with m.State("STAGED"):
                m.d.comb += staged.eq(1)
                with m.If(release):
                    m.next = "HEADER"
        return error

    def _commit(
        self, m: Module, stage: Sram, packet: "_Packet", staged: Signal, release: Signal
    ) -> Signal:
        """Write the staged packet to the slot or table of the command."""
        config = self.config
        command = Signal(LoadCommand(config))
        error = Signal(8)
        block = Signal(range(config.blocks + 1))
        first_block = packet.start >> (config.post_lanes.bit_length() - 1)
        end = packet.start + packet.length
        taken = Signal()
        read = Signal()
        m.d.comb += [
            stage.r_address.eq(block),
            stage.r_en.eq(read),
            self.i.ready.eq(~self.busy),
        ]
        with m.If(self.busy & ~command.affine):
            m.d.comb += self.writes.eq(1 << command.slot)

        written = Signal.like(block)
        address = (command.slot << (config.blocks.bit_length() - 1)) + written
        mask = Signal(config.post_lanes)
        last = Signal()
        m.d.comb += [
            mask.eq(self._mask(written, packet.start, end)),
            last.eq(((written + 1) << (config.post_lanes.bit_length() - 1)) >= end),
            self.write.mask.eq(mask),
            self.write.data.eq(stage.r_data),
            self.write.address.eq(address),
            self.affine_write.mask.eq(mask),
            self.affine_write.data.eq(stage.r_data),
            self.affine_write.address.eq(address),
            self.exponent_write.slot.eq(command.slot),
        ]
        with m.FSM(name="commit"):
            with m.State("IDLE"), m.If(self.i.valid):
                m.d.sync += command.eq(self.i.payload)
                m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += self.busy.eq(1)
                m.d.sync += block.eq(first_block)
                with m.If(self.cancel):
                    m.next = "IDLE"
                with m.Elif(staged):
                    with m.If(packet.affine == command.affine):
                        m.next = "READ"
                    with m.Else():
                        m.d.comb += [release.eq(1), error.eq(ErrorCode.PACKET_UNWANTED)]
            with m.State("READ"):
                m.d.comb += [
                    self.busy.eq(1), read.eq(1), self.exponent_write.valid.eq(~command.affine),
                ]  # fmt: skip
                m.d.sync += [block.eq(block + 1), written.eq(block)]
                m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += [
                    self.busy.eq(1),
                    self.write.valid.eq(~command.affine),
                    self.affine_write.en.eq(command.affine),
                    taken.eq(command.affine | self.write.ready),
                ]
                with m.If(taken):
                    m.d.comb += read.eq(~last)
                    m.d.sync += [block.eq(block + 1), written.eq(block)]
                    with m.If(last):
                        m.d.comb += release.eq(1)
                        m.next = "IDLE"
        return error

    def _mask(self, block: Value, start: Value, end: Value) -> Value:
        """Lanes of ``block`` in ``start .. end - 1``, eight at a time since starts are aligned."""
        groups = self.config.post_lanes // GROUP
        first, last, rest = start >> 3, end >> 3, end[:3]
        tail = ~(Const(-1, GROUP) << rest)
        masks = []
        for group in range(groups):
            number = block * groups + group
            lanes = Mux(number < last, Const(-1, GROUP), Mux(number == last, tail, 0))
            masks.append(Mux(number >= first, lanes, 0)[:GROUP])
        return Cat(*masks)


class _Packet:
    """Registers that describe the packet in the stage."""

    def __init__(self, affine: Signal, start: Signal, length: Signal):
        self.affine, self.start, self.length = affine, start, length


def _header_error(config: CoreConfig, header: data.View, full: Value, last: Value) -> Value:
    """ErrorCode of a header beat, 0 if it is good (combinational)."""
    lines = header.start + header.length
    checks = (
        (~full, ErrorCode.PACKET_KEEP),
        (header.magic != PACKET_MAGIC, ErrorCode.PACKET_MAGIC),
        (~header.kind.matches(PacketKind.VECTOR, PacketKind.AFFINE), ErrorCode.PACKET_KIND),
        (
            header.start[:3].any() | (header.length == 0) | (lines > config.lines),
            ErrorCode.PACKET_RANGE,
        ),
        (last, ErrorCode.PACKET_EARLY),
    )
    result: Value = Const(ErrorCode.NONE, unsigned(8))
    for condition, code in reversed(checks):
        result = Mux(condition, Const(code, 8), result)
    return result
