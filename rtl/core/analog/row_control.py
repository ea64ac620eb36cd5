# SPDX-License-Identifier: Apache-2.0
"""Order of the reads, RESETs and SETs of a row command."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.analog.row_judge import Purpose
from phasecore.rtl.core.interfaces import MvmCommand, MvmSource, RowCommand
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["RowControl"]


class RowControl(wiring.Component):
    """Refreshes the dirty rows of a segment, or programs one row.

    Members
    -------
    rows : In(stream of RowCommand)
    command : Out(RowCommand)
        In work.
    row, dirty, clean : Out, In(1), Out(1)
        Row being worked on; it was pulsed since its last refresh; strobe: it has been refreshed.
    mvm, latched : Out(stream of MvmCommand), In(2)
        Read of the row.
    purpose, negative : Out(Purpose), Out(1)
        What the read is for, and of which polarity.
    begin_read, loading, collecting : Out(1)
        The reader begins; it reads the slot; it reads the converter.
    read_done : In(1)
        The last block has arrived.
    worn_blocks, above_blocks, below_blocks : In
        Blocks with columns to RESET, and with columns whose G+ (G-) has not reached its target.
    begin_scan, scan_blocks, resetting : Out(1), Out, Out(1)
        Blocks to select columns of, for RESETs or SETs.
    fired, settled : In(1)
        The last selection has been taken; nothing waits to be pulsed or is being pulsed.
    exhausted : Out(1)
        The pulses selected are the last that verification allows.
    busy, reads : Out(1), Out(slots)
    """

    rows: stream.Interface
    mvm: stream.Interface

    def __init__(self, config: CoreConfig, *, blocks: int):
        self.config = config
        super().__init__(
            {
                "rows": In(stream.Signature(RowCommand(config))),
                "command": Out(RowCommand(config)),
                "row": Out(config.row_bits),
                "dirty": In(1),
                "clean": Out(1),
                "mvm": Out(stream.Signature(MvmCommand(config))),
                "latched": In(2),
                "purpose": Out(Purpose),
                "negative": Out(1),
                "begin_read": Out(1),
                "loading": Out(1),
                "collecting": Out(1),
                "read_done": In(1),
                "worn_blocks": In(blocks),
                "above_blocks": In(blocks),
                "below_blocks": In(blocks),
                "begin_scan": Out(1),
                "scan_blocks": Out(blocks),
                "resetting": Out(1),
                "fired": In(1),
                "settled": In(1),
                "exhausted": Out(1),
                "busy": Out(1),
                "reads": Out(config.slots),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        left = Signal(config.row_bits + 1)
        expected = Signal(2)
        iteration = Signal(range(config.verify_iterations + 1))
        m.d.comb += [
            self.mvm.p.source.eq(MvmSource.ONE_HOT),
            self.mvm.p.count.eq(config.lines),
            self.mvm.p.line.eq(self.row),
            self.mvm.p.precision.eq(min(6, config.input_bits)),
            self.mvm.p.lsb_log2.eq(config.read_lsb_log2),
            self.mvm.p.input_signs.eq(0b11),
            self.mvm.p.polarities.eq(Mux(self.negative, 0b10, 0b01)),
            self.exhausted.eq(iteration == config.verify_iterations),
        ]
        with m.FSM() as fsm:
            m.d.comb += [
                self.busy.eq(~fsm.ongoing("IDLE")),
                self.loading.eq(fsm.ongoing("LOAD")),
                self.collecting.eq(fsm.ongoing("COLLECT")),
                self.reads.eq(self.loading << self.command.slot),
            ]
            self._rows(m, left)
            self._read(m, expected)
            with m.State("JUDGE"), m.Switch(self.purpose):
                self._judge(m, iteration)
            with m.State("SCAN"), m.If(self.fired):
                m.next = "SETTLE"
            with m.State("SETTLE"), m.If(self.settled):
                m.d.sync += [
                    self.purpose.eq(Purpose.VERIFY),
                    self.negative.eq(~self.above_blocks.any()),
                ]
                pending = self.above_blocks.any() | self.below_blocks.any()
                with m.If(self.exhausted | ~pending):
                    m.next = "DONE"
                with m.Else():
                    m.next = "READ"
        return m

    def _rows(self, m: Module, left: Signal) -> None:
        """Take a command and go through its rows."""
        command, offered = self.command, self.rows.p
        with m.State("IDLE"):
            m.d.comb += self.rows.ready.eq(1)
            m.d.sync += [command.eq(self.rows.payload), left.eq(offered.row_count)]
            with m.If(self.rows.valid & offered.program):
                m.d.sync += [self.row.eq(offered.row), self.purpose.eq(Purpose.DETECT)]
                m.d.comb += self.begin_read.eq(1)
                m.next = "LOAD"
            with m.Elif(self.rows.valid):
                m.d.sync += self.row.eq(offered.row_start)
                m.next = "ROW"
        with m.State("ROW"):
            m.d.sync += [self.purpose.eq(Purpose.STORE), self.negative.eq(0)]
            with m.If(left == 0):
                m.next = "IDLE"
            with m.Elif(self.dirty | command.all_rows):
                m.next = "READ"
            with m.Else():
                m.d.sync += [self.row.eq(self.row + 1), left.eq(left - 1)]
        with m.State("DONE"):
            with m.If(command.program):
                m.next = "IDLE"
            with m.Else():
                m.d.comb += self.clean.eq(1)
                m.d.sync += [self.row.eq(self.row + 1), left.eq(left - 1)]
                m.next = "ROW"

    def _read(self, m: Module, expected: Signal) -> None:
        """Bring the bytes: targets from the slot, or the codes of a window."""
        with m.State("LOAD"), m.If(self.read_done):
            m.next = "JUDGE"
        with m.State("READ"):
            m.d.comb += self.mvm.valid.eq(1)
            with m.If(self.mvm.ready):
                m.d.sync += expected.eq(self.latched + 1)
                m.next = "WAIT"
        with m.State("WAIT"), m.If(self.latched == expected):
            m.d.comb += self.begin_read.eq(1)
            m.next = "COLLECT"
        with m.State("COLLECT"), m.If(self.read_done):
            m.next = "JUDGE"

    def _judge(self, m: Module, iteration: Signal) -> None:
        """What follows a read of each purpose."""
        pending_blocks = self.above_blocks | self.below_blocks
        with m.Case(Purpose.STORE):
            m.d.sync += [self.purpose.eq(Purpose.DETECT), self.negative.eq(1)]
            m.next = "READ"
        with m.Case(Purpose.DETECT):
            m.d.sync += [iteration.eq(0), self.resetting.eq(1)]
            m.d.comb += [self.begin_scan.eq(1), self.scan_blocks.eq(self.worn_blocks)]
            with m.If(self.worn_blocks.any()):
                m.next = "SCAN"
            with m.Else():
                m.next = "DONE"
        with m.Case(Purpose.VERIFY):
            with m.If(~self.negative & self.below_blocks.any()):
                m.d.sync += self.negative.eq(1)
                m.next = "READ"
            with m.Elif(pending_blocks.any()):
                m.d.sync += [iteration.eq(iteration + 1), self.resetting.eq(0)]
                m.d.comb += [self.begin_scan.eq(1), self.scan_blocks.eq(pending_blocks)]
                m.next = "SCAN"
            with m.Else():
                m.next = "DONE"
