# SPDX-License-Identifier: Apache-2.0
"""ADC interface: counters, hold registers, calibrated read-out and calibration."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from phasecore.rtl.core.analog.calibration import UNIT_GAIN, Calibration
from phasecore.rtl.core.analog.code_reader import CodeReader
from phasecore.rtl.core.analog.line_counters import LineCounters
from phasecore.rtl.core.interfaces import AdcRead, IncrementTiming, MvmCommand
from phasecore.rtl.lib.trees import select
from phasecore.rtl.spec.core import EXPONENT_BITS, CoreConfig
from phasecore.rtl.spec.instructions import Drift

__all__ = ["AdcInterface"]


class AdcInterface(wiring.Component):
    """Counts the increments of a window per line and gives calibrated 8-bit codes.

    The counts of a window are held from T + 1 cycles after its first cycle to the end of the next
    window; codes of ``read`` belong to the counts held in the cycle of ``en``.

    A calibration expects to be alone: no other window and no read from ``calibrate`` until
    ``calibrating`` falls.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    timing : In(IncrementTiming(config)); increments arrive one cycle later
    increments : In(lines * increment_bits); signed, line 0 lowest
    read : In(AdcRead(config))
    latched : Out(2); windows held so far, modulo 4
    exponent : Out(signed(8)); of the held window
    clipped : Out; clipped codes among those now on ``read.codes``
    overranges : Out; codes among them whose line counted ``increment_max`` in a cycle
    calibrate : In(1); starts the calibration sequence
    drift : In(2); with ``calibrate``: Drift
    baseline : In(drift_bits); what the array conducted at the baseline, 0 if there is none
    conductance : Out(drift_bits); what the drift read has found, 0 for nothing or less
    baselined : Out(1); one cycle in which ``conductance`` is the new baseline
    scale : Out(drift_scale_bits); unsigned 2.10, of the gains
    calibrating : Out(1); from the cycle after ``calibrate`` until the registers are written
    calibration_error : Out(1); one cycle per line whose reference counted nothing, and if
        the array conducts nothing or there is no baseline to compare with
    mvm : Out(stream.Signature(MvmCommand(config))); windows of the calibration
    line : In(line_bits); selects ``offset`` and ``gain``
    offset, gain : Out; calibration registers of ``line`` of the previous cycle, which stand still
        during reads and calibration
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "timing": In(IncrementTiming(config)),
                "increments": In(config.lines * config.increment_bits),
                "read": In(AdcRead(config)),
                "latched": Out(2),
                "exponent": Out(signed(EXPONENT_BITS)),
                "clipped": Out(range(config.post_lanes + 1)),
                "overranges": Out(range(config.post_lanes + 1)),
                "calibrate": In(1),
                "drift": In(Drift),
                "baseline": In(config.drift_bits),
                "conductance": Out(config.drift_bits),
                "baselined": Out(1),
                "scale": Out(config.drift_scale_bits),
                "calibrating": Out(1),
                "calibration_error": Out(1),
                "mvm": Out(stream.Signature(MvmCommand(config))),
                "line": In(config.line_bits),
                "offset": Out(signed(config.calibration_offset_bits)),
                "gain": Out(config.gain_bits, init=UNIT_GAIN),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, read = self.config, self.read
        m.submodules.counters = counters = LineCounters(config)
        m.submodules.reader = reader = CodeReader(config)
        m.submodules.calibration = calibration = Calibration(config)
        connect(m, flipped(self.timing), counters.timing)
        connect(m, calibration.mvm, flipped(self.mvm))

        line = Signal(config.line_bits)
        lane_bits = exact_log2(config.post_lanes)
        block = Signal(config.block_bits)
        m.d.comb += [
            line.eq(Mux(self.calibrating, calibration.line, self.line)),
            block.eq(Mux(read.en, read.block, line[lane_bits:])),
        ]
        counts = self._lanes(counters.counts, block)
        offsets = [offset.as_signed() for offset in self._items(calibration.offsets)]
        lane_offsets = self._lanes(offsets, block)
        lane_gains = self._lanes(self._items(calibration.gains), block)
        with m.If(~read.en & ~self.calibrating):
            m.d.sync += [
                self.offset.eq(select(lane_offsets, line[:lane_bits])),
                self.gain.eq(select(lane_gains, line[:lane_bits])),
            ]
        for ports, items in (
            (reader.counts, counts), (reader.offsets, lane_offsets), (reader.gains, lane_gains)
        ):  # fmt: skip
            m.d.comb += [port.eq(item) for port, item in zip(ports, items, strict=True)]
        m.d.comb += [
            counters.increments.eq(self.increments),
            self.latched.eq(counters.latched),
            self.exponent.eq(counters.exponent),
            reader.en.eq(read.en),
            reader.mask.eq(read.mask),
            reader.shift.eq(counters.shift),
            reader.at_limit.eq(Cat(self._lanes(list(counters.at_limit), block))),
            read.codes.eq(reader.codes),
            self.clipped.eq(reader.clipped),
            self.overranges.eq(reader.overranges),
            calibration.calibrate.eq(self.calibrate),
            calibration.drift.eq(self.drift),
            calibration.baseline.eq(self.baseline),
            calibration.latch.eq(counters.latch),
            calibration.count.eq(select(counts, line[:lane_bits])),
            self.conductance.eq(calibration.conductance),
            self.baselined.eq(calibration.baselined),
            self.scale.eq(calibration.scale),
            self.calibrating.eq(calibration.calibrating),
            self.calibration_error.eq(calibration.error),
        ]
        return m

    def _items(self, registers: Value) -> list[Value]:
        """The registers of all lines out of their vector."""
        width = len(registers) // self.config.lines
        return [registers.word_select(j, width) for j in range(self.config.lines)]

    def _lanes(self, items: Sequence[Value], block: Value) -> list[Value]:
        """The items of ``block``, one per lane, out of one per line (combinational)."""
        lanes = self.config.post_lanes
        return [select(items[lane::lanes], block) for lane in range(lanes)]
