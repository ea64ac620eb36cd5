# SPDX-License-Identifier: Apache-2.0
"""Row engine of the programmer: selective refresh and program-and-verify, row by row."""

from amaranth.hdl import Cat, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.core.analog.row_control import RowControl
from phasecore.rtl.core.analog.row_judge import RowJudge, row_lanes
from phasecore.rtl.core.analog.row_reader import RowReader
from phasecore.rtl.core.analog.selection_scan import Selection, SelectionScan
from phasecore.rtl.core.interfaces import AdcRead, MvmCommand, RowCommand, VectorRead
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["RowEngine"]


class RowEngine(wiring.Component):
    """Reads rows through the converter, RESETs pairs and verifies their SETs (docs/contract).

    Everything else on the crossbar is idle meanwhile. Codes and targets are handled in blocks of
    at most 16 columns per cycle, selections one per cycle.

    Members
    -------
    rows : stream of RowCommand, taken while not ``busy``
    o : stream of Selection
    settled : 1 when nothing that left by ``o`` waits to be pulsed or is being pulsed
    row : row being worked on
    dirty : ``row`` was pulsed since its last refresh
    clean : strobe, ``row`` has been refreshed
    mvm, adc, latched : row reads
    read : targets of PROGRAM
    refresh_high, refresh_low : a pair is worn if its larger code exceeds the one and its smaller
        code the other
    busy : a command is in progress
    reads : slot that will still be read, one bit per slot
    refreshed : strobe, one worn pair was RESET
    unverified : strobe, one column took its last pulse without having reached its target
    """

    rows: stream.Interface
    o: stream.Interface
    mvm: stream.Interface

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "rows": In(stream.Signature(RowCommand(config))),
                "o": Out(stream.Signature(Selection(config))),
                "settled": In(1),
                "row": Out(config.row_bits),
                "dirty": In(1),
                "clean": Out(1),
                "mvm": Out(stream.Signature(MvmCommand(config))),
                "adc": Out(AdcRead(config)),
                "latched": In(2),
                "read": Out(VectorRead(config)),
                "refresh_high": In(7),
                "refresh_low": In(7),
                "busy": Out(1),
                "reads": Out(config.slots),
                "refreshed": Out(1),
                "unverified": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, lanes = self.config, row_lanes(self.config)
        m.submodules.control = control = RowControl(config, blocks=config.cols // lanes)
        m.submodules.reader = reader = RowReader(config, lanes=lanes)
        m.submodules.judge = judge = RowJudge(config)
        m.submodules.scan = scan = SelectionScan(config, lanes=lanes)
        connect(m, flipped(self.rows), control.rows)
        connect(m, control.mvm, flipped(self.mvm))
        connect(m, reader.adc, flipped(self.adc))
        connect(m, reader.read, flipped(self.read))
        connect(m, scan.o, flipped(self.o))
        selected = self.o.valid & self.o.ready
        m.d.comb += [
            self.row.eq(control.row),
            self.clean.eq(control.clean),
            self.busy.eq(control.busy),
            self.reads.eq(control.reads),
            self.refreshed.eq(scan.column_done & control.resetting & ~control.command.program),
            self.unverified.eq(selected & ~control.resetting & control.exhausted),
            control.dirty.eq(self.dirty),
            control.latched.eq(self.latched),
            control.settled.eq(self.settled),
            control.fired.eq(selected & self.o.p.fire),
            control.read_done.eq(reader.arrived_last),
            control.worn_blocks.eq(Cat(mask.any() for mask in judge.worn)),
            control.above_blocks.eq(Cat(mask.any() for mask in judge.above)),
            control.below_blocks.eq(Cat(mask.any() for mask in judge.below)),
            reader.begin.eq(control.begin_read),
            reader.loading.eq(control.loading),
            reader.collecting.eq(control.collecting),
            reader.slot.eq(control.command.slot),
            judge.command.eq(control.command),
            judge.purpose.eq(control.purpose),
            judge.negative.eq(control.negative),
            judge.loading.eq(control.loading),
            judge.fetch.eq(reader.fetch),
            judge.fetch_block.eq(reader.fetch_block),
            judge.arrived.eq(reader.arrived),
            judge.arrived_block.eq(reader.arrived_block),
            judge.codes.eq(self.adc.codes),
            judge.loaded.eq(self.read.data),
            judge.refresh_high.eq(self.refresh_high),
            judge.refresh_low.eq(self.refresh_low),
            scan.begin.eq(control.begin_scan),
            scan.blocks.eq(control.scan_blocks),
            scan.resetting.eq(control.resetting),
            scan.row.eq(control.row),
        ]
        for name in ("worn", "above", "below"):
            pairs = zip(getattr(scan, name), getattr(judge, name), strict=True)
            m.d.comb += [into.eq(mask) for into, mask in pairs]
        return m
