# SPDX-License-Identifier: Apache-2.0
"""LOAD unit: checks and stages one packet of the input stream, then commits it to a LOAD."""

from amaranth.hdl import Const, Module, Mux, ResetSignal, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.core.interfaces import AffineWrite, ExponentWrite, UnitStatus, VectorWrite
from phasecore.rtl.lib.sram import Sram
from phasecore.rtl.lib.trees import lane_mask
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import GROUP, HEADER, PACKET_MAGIC, PacketKind
from phasecore.rtl.spec.registers.table import FaultCode

__all__ = ["AxiStream", "LoadCommand", "LoadUnit", "PacketCommit", "PacketHeader", "PacketReceiver"]


class AxiStream(wiring.Signature):
    """64-bit AXI4-Stream without side channels, seen from the transmitter."""

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "tdata": Out(8 * config.axis_bytes),
                "tkeep": Out(config.axis_bytes),
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
        FaultCode of a packet that is dropped, in one cycle.
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
                    with m.If(error == FaultCode.NONE):
                        m.next = "PAYLOAD"
                    with m.Elif(~axis.tlast):
                        m.next = "DROP"
            with m.State("PAYLOAD"):
                m.d.comb += axis.tready.eq(awake)
                last = remaining <= config.axis_bytes
                keep = Signal(config.axis_bytes)
                m.d.comb += keep.eq(~(Const(-1, config.axis_bytes) << remaining[:4]))
                with m.If(transfer):
                    m.d.sync += [
                        self.place.eq(self.place + 1),
                        remaining.eq(remaining - config.axis_bytes),
                    ]
                    m.d.comb += self.write.eq(1)
                    with m.If(axis.tlast & ~last):
                        m.d.comb += error.eq(FaultCode.PACKET_EARLY)
                    with m.Elif(~axis.tlast & last):
                        m.d.comb += error.eq(FaultCode.PACKET_LATE)
                    with m.Elif(Mux(last, axis.tkeep != keep, ~full)):
                        m.d.comb += error.eq(FaultCode.PACKET_KEEP)
                    with m.If(error != FaultCode.NONE):
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


class PacketCommit(wiring.Component):
    """Writes the staged packet to the slot or table of a command, one block per cycle.

    Members
    -------
    i, cancel : In(stream of LoadCommand), In(1)
    packet, staged, release : In(PacketHeader), In(1), Out(1)
        As in PacketReceiver.
    read, block : Out(1), Out
        This block of the packet is read.
    word : In(16 * post_lanes)
        In the next cycle.
    write, exponent_write, affine_write, status : Out
    error : Out(8)
        FaultCode of a packet of the wrong kind, in one cycle.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(LoadCommand(config))),
                "cancel": In(1),
                "packet": In(PacketHeader()),
                "staged": In(1),
                "release": Out(1),
                "read": Out(1),
                "block": Out(range(config.blocks + 1)),
                "word": In(16 * config.post_lanes),
                "write": Out(VectorWrite(config)),
                "exponent_write": Out(ExponentWrite(config)),
                "affine_write": Out(AffineWrite(config)),
                "status": Out(UnitStatus(config)),
                "error": Out(8),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, packet, status = self.config, self.packet, self.status
        command = Signal(LoadCommand(config))
        first_line, last_line = Signal(config.line_bits), Signal(config.line_bits)
        written, taken, last = Signal.like(self.block), Signal(), Signal()
        lane_bits = config.post_lanes.bit_length() - 1
        mask = Signal(config.post_lanes)
        address = (command.slot << (config.blocks.bit_length() - 1)) + written
        m.d.comb += [
            first_line.eq(packet.start),
            last_line.eq(packet.start + packet.length - 1),
            last.eq(written == last_line[lane_bits:]),
            mask.eq(lane_mask(written, first_line, last_line, lanes=config.post_lanes)),
            self.i.ready.eq(~status.busy),
            self.write.mask.eq(mask),
            self.write.data.eq(self.word),
            self.write.address.eq(address),
            self.affine_write.mask.eq(mask),
            self.affine_write.data.eq(self.word),
            self.affine_write.address.eq(address),
            self.exponent_write.slot.eq(command.slot),
        ]
        with m.If(status.busy & ~command.affine):
            m.d.comb += status.writes.eq(1 << command.slot)
        with m.FSM() as fsm:
            m.d.comb += status.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"), m.If(self.i.valid):
                m.d.sync += command.eq(self.i.payload)
                m.next = "WAIT"
            with m.State("WAIT"):
                m.d.sync += self.block.eq(first_line[lane_bits:])
                with m.If(self.cancel):
                    m.next = "IDLE"
                with m.Elif(self.staged):
                    with m.If((packet.kind == PacketKind.AFFINE) == command.affine):
                        m.next = "READ"
                    with m.Else():
                        m.d.comb += [self.release.eq(1), self.error.eq(FaultCode.PACKET_UNWANTED)]
            with m.State("READ"):
                m.d.comb += [self.read.eq(1), self.exponent_write.valid.eq(~command.affine)]
                m.d.sync += [self.block.eq(self.block + 1), written.eq(self.block)]
                m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += [
                    self.write.valid.eq(~command.affine),
                    self.affine_write.en.eq(command.affine),
                    taken.eq(command.affine | self.write.ready),
                ]
                with m.If(taken):
                    m.d.comb += self.read.eq(~last)
                    m.d.sync += [self.block.eq(self.block + 1), written.eq(self.block)]
                    with m.If(last):
                        m.d.comb += self.release.eq(1)
                        m.next = "IDLE"
        return m


class LoadUnit(wiring.Component):
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
        Strobe of a dropped packet and its FaultCode.
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
            granularity=8 * config.axis_bytes,
        )
        m.submodules.receiver = receiver = PacketReceiver(config)
        m.submodules.commit = commit = PacketCommit(config)
        connect(m, flipped(self.axis), receiver.axis)
        connect(m, flipped(self.i), commit.i)
        for name in ("write", "exponent_write", "affine_write", "status"):
            connect(m, getattr(commit, name), flipped(getattr(self, name)))
        affine = receiver.packet.kind == PacketKind.AFFINE
        bits = (config.post_lanes // GROUP).bit_length() - 1  # of a beat's place in a vector word
        place = receiver.place
        m.d.comb += [
            stage.w_en.eq(receiver.write),
            stage.w_address.eq(Mux(affine, place[bits + 1 :], place[bits:])),
            stage.w_mask.eq(1 << Mux(affine, place[: bits + 1], place[:bits])),
            stage.w_data.eq(self.axis.tdata.replicate(2 * config.post_lanes // GROUP)),
            stage.r_en.eq(commit.read),
            stage.r_address.eq(commit.block),
            commit.word.eq(stage.r_data),
            commit.packet.eq(receiver.packet),
            commit.staged.eq(receiver.staged),
            commit.cancel.eq(self.cancel),
            receiver.release.eq(commit.release),
            self.malformed.eq((receiver.error | commit.error) != FaultCode.NONE),
            self.error.eq(receiver.error | commit.error),
        ]
        return m


def _header_error(config: CoreConfig, header: data.View, full: Value, last: Value) -> Value:
    """FaultCode of a header beat, 0 if it is good (combinational)."""
    lines = header.start + header.length
    checks = (
        (~full, FaultCode.PACKET_KEEP),
        (header.magic != PACKET_MAGIC, FaultCode.PACKET_MAGIC),
        (~header.kind.matches(PacketKind.VECTOR, PacketKind.AFFINE), FaultCode.PACKET_KIND),
        (
            header.start[:3].any() | (header.length == 0) | (lines > config.lines),
            FaultCode.PACKET_RANGE,
        ),
        (last, FaultCode.PACKET_EARLY),
    )
    result: Value = Const(FaultCode.NONE, unsigned(8))
    for condition, code in reversed(checks):
        result = Mux(condition, Const(code, 8), result)
    return result
