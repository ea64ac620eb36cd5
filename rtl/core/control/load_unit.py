# SPDX-License-Identifier: Apache-2.0
"""LOAD engine: checks and stages one packet of the input stream, then commits it to a LOAD."""

from amaranth.hdl import Cat, Const, Module, Mux, ResetSignal, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.core.interfaces import AffineWrite, ExponentWrite, UnitStatus, VectorWrite
from phasecore.rtl.lib.sram import Sram
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import GROUP, HEADER, PACKET_MAGIC, PacketKind
from phasecore.rtl.spec.registers.core import ErrorCode

__all__ = ["AxiStream", "LoadCommand", "PacketHeader", "PacketReceiver", "StreamIn"]


class AxiStream(wiring.Signature):
    """64-bit AXI4-Stream without side channels, seen from the transmitter."""

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "tdata": Out(8 * config.stream_bytes),
                "tkeep": Out(config.stream_bytes),
                "tlast": Out(1),
                "tvalid": Out(1),
                "tready": In(1),
            }
        )


class LoadCommand(data.StructLayout):
    """LOAD of a VECTOR packet into slot ``slot``, or of an AFFINE packet into table ``slot``."""

    def __init__(self, config: CoreConfig):
        super().__init__({"affine": 1, "slot": config.slot_bits})


class PacketHeader(data.StructLayout):
    """First beat of a packet."""

    def __init__(self) -> None:
        super().__init__({field.name: field.width for field in HEADER})


class PacketReceiver(wiring.Component):
    """Takes packets at one beat per cycle and checks them; the next one waits for ``release``.

    Takes nothing in a reset; what comes then of a packet begun before it has no header: reported
    and dropped up to its ``tlast``.

    Members
    -------
    axis : In(AxiStream)
    write, place : Out(1), Out
        ``axis.tdata`` is payload for this beat of the vector (8 lines) or table (4 lines). Only
        a ``staged`` packet is known to be whole.
    packet : Out(PacketHeader)
        Of the packet in work; its kind is VECTOR or AFFINE.
    staged, release : Out(1), In(1)
        The packet has come whole and is well-formed; it is done with.
    error : Out(8)
        ErrorCode of a packet that is dropped, in one cycle.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "axis": In(AxiStream(config)),
                "write": Out(1),
                "place": Out(range(config.lines // 4)),
                "packet": Out(PacketHeader()),
                "staged": Out(1),
                "release": In(1),
                "error": Out(8),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, axis, error = self.config, self.axis, self.error
        header = data.View(PacketHeader(), axis.tdata)
        remaining = Signal(range(2 * config.lines + 1))
        full = axis.tkeep.all()
        transfer = axis.tvalid & axis.tready
        # What is offered in a reset stays with the host.
        awake = ~ResetSignal()
        with m.FSM():
            with m.State("HEADER"):
                m.d.comb += axis.tready.eq(awake)
                affine = header.kind == PacketKind.AFFINE
                m.d.sync += [
                    self.packet.eq(header),
                    self.place.eq(Mux(affine, header.start >> 2, header.start >> 3)),
                    remaining.eq(Mux(affine, header.length << 1, header.length)),
                ]
                with m.If(transfer):
                    m.d.comb += error.eq(_header_error(config, header, full, axis.tlast))
                    with m.If(error == ErrorCode.NONE):
                        m.next = "PAYLOAD"
                    with m.Elif(~axis.tlast):
                        m.next = "DROP"
            with m.State("PAYLOAD"):
                m.d.comb += axis.tready.eq(awake)
                last = remaining <= config.stream_bytes
                keep = Signal(config.stream_bytes)
                m.d.comb += keep.eq(~(Const(-1, config.stream_bytes) << remaining[:4]))
                with m.If(transfer):
                    m.d.sync += [
                        self.place.eq(self.place + 1),
                        remaining.eq(remaining - config.stream_bytes),
                    ]
                    m.d.comb += self.write.eq(1)
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
                m.d.comb += axis.tready.eq(awake)
                with m.If(transfer & axis.tlast):
                    m.next = "HEADER"
            with m.State("STAGED"):
                m.d.comb += self.staged.eq(1)
                with m.If(self.release):
                    m.next = "HEADER"
        return m


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
    status : Out(UnitStatus)
        Busy from acceptance of a command to its last write; writes its slot.
    malformed, error : Out(1), Out(8)
        Strobe of a dropped packet and its ErrorCode.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "axis": In(AxiStream(config)),
                "i": In(stream.Signature(LoadCommand(config))),
                "cancel": In(1),
                "write": Out(VectorWrite(config)),
                "exponent_write": Out(ExponentWrite(config)),
                "affine_write": Out(AffineWrite(config)),
                "status": Out(UnitStatus(config)),
                "malformed": Out(1),
                "error": Out(8),
            }
        )

    def elaborate(self, platform: object) -> Module:
        config = self.config
        m = Module()
        # A staged word holds the scale and offset of one block's lanes; vectors use its low half.
        m.submodules.stage = stage = Sram(
            width=16 * config.post_lanes,
            depth=max(2, config.blocks),
            granularity=8 * config.stream_bytes,
        )
        m.submodules.receiver = receiver = PacketReceiver(config)
        connect(m, flipped(self.axis), receiver.axis)
        affine = receiver.packet.kind == PacketKind.AFFINE
        bits = (config.post_lanes // GROUP).bit_length() - 1  # of a beat's place in a vector word
        place = receiver.place
        m.d.comb += [
            stage.w_en.eq(receiver.write),
            stage.w_address.eq(Mux(affine, place[bits + 1 :], place[bits:])),
            stage.w_mask.eq(1 << Mux(affine, place[: bits + 1], place[:bits])),
            stage.w_data.eq(self.axis.tdata.replicate(2 * config.post_lanes // GROUP)),
        ]
        commit_error = self._commit(m, stage, receiver)
        m.d.comb += [
            self.malformed.eq((receiver.error | commit_error) != ErrorCode.NONE),
            self.error.eq(receiver.error | commit_error),
        ]
        return m

    def _commit(self, m: Module, stage: Sram, receiver: PacketReceiver) -> Signal:
        """Write the staged packet to the slot or table of the command."""
        config, packet = self.config, receiver.packet
        command = Signal(LoadCommand(config))
        error = Signal(8)
        block = Signal(range(config.blocks + 1))
        start = packet.start[: config.line_bits]
        first_block = start >> (config.post_lanes.bit_length() - 1)
        end = start + packet.length[: config.line_bits + 1]
        affine = packet.kind == PacketKind.AFFINE
        taken = Signal()
        read = Signal()
        m.d.comb += [
            stage.r_address.eq(block),
            stage.r_en.eq(read),
            self.i.ready.eq(~self.status.busy),
        ]
        with m.If(self.status.busy & ~command.affine):
            m.d.comb += self.status.writes.eq(1 << command.slot)

        written = Signal.like(block)
        address = (command.slot << (config.blocks.bit_length() - 1)) + written
        mask = Signal(config.post_lanes)
        last = Signal()
        m.d.comb += [
            mask.eq(self._mask(written, start, end)),
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
                m.d.comb += self.status.busy.eq(1)
                m.d.sync += block.eq(first_block)
                with m.If(self.cancel):
                    m.next = "IDLE"
                with m.Elif(receiver.staged):
                    with m.If(affine == command.affine):
                        m.next = "READ"
                    with m.Else():
                        m.d.comb += [
                            receiver.release.eq(1), error.eq(ErrorCode.PACKET_UNWANTED),
                        ]  # fmt: skip
            with m.State("READ"):
                m.d.comb += [
                    self.status.busy.eq(1),
                    read.eq(1),
                    self.exponent_write.valid.eq(~command.affine),
                ]
                m.d.sync += [block.eq(block + 1), written.eq(block)]
                m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += [
                    self.status.busy.eq(1),
                    self.write.valid.eq(~command.affine),
                    self.affine_write.en.eq(command.affine),
                    taken.eq(command.affine | self.write.ready),
                ]
                with m.If(taken):
                    m.d.comb += read.eq(~last)
                    m.d.sync += [block.eq(block + 1), written.eq(block)]
                    with m.If(last):
                        m.d.comb += receiver.release.eq(1)
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
