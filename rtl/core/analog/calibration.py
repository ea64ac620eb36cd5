# SPDX-License-Identifier: Apache-2.0
"""Calibration of the converters: offset and gain of every line, and what drift has left."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import MvmCommand, MvmSource
from phasecore.rtl.lib.arithmetic import saturate
from phasecore.rtl.lib.sram import Sram
from phasecore.rtl.spec.core import (
    CALIBRATION_WINDOWS_LOG2,
    DRIFT_FRACTION,
    GAIN_FRACTION,
    CoreConfig,
)
from phasecore.rtl.spec.instructions import Drift

__all__ = ["Calibration", "Divider"]

UNIT_GAIN = 1 << GAIN_FRACTION

UNIT_SCALE = 1 << DRIFT_FRACTION


class Divider(wiring.Component):
    """Serial division, one bit of the quotient per cycle with ``step``.

    Parameters
    ----------
    width : bits that hold dividend and divisor
    bits : of the widest quotient

    Members
    -------
    start : In(1)
    dividend, divisor : In(width)
        Positive, with ``start``; the divisor shifted up by ``steps - 1``.
    steps : In, 1..bits
        Bits of the quotient, with ``start``.
    step : In(1)
    quotient : Out(bits)
        Its lowest ``steps`` bits are valid with ``done``; all of them are ones if it has no room.
    done : Out(1)
    """

    def __init__(self, width: int, bits: int):
        self.width = width
        super().__init__(
            {
                "start": In(1),
                "dividend": In(width),
                "divisor": In(width),
                "steps": In(range(bits + 1)),
                "step": In(1),
                "quotient": Out(bits),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        divisor, remainder = Signal(self.width), Signal(self.width)
        left = Signal.like(self.steps)
        fits = remainder >= divisor
        m.d.comb += self.done.eq(left == 0)
        with m.If(self.start):
            m.d.sync += [
                left.eq(self.steps),
                divisor.eq(self.divisor),
                remainder.eq(self.dividend),
            ]
        with m.If(self.step):
            m.d.sync += [
                left.eq(left - 1),
                divisor.eq(divisor >> 1),
                self.quotient.eq(Cat(fits, self.quotient)),
            ]
            with m.If(fits):
                m.d.sync += remainder.eq(remainder - divisor)
        return m


class Calibration(wiring.Component):
    """Measures all lines, about 70 cycles per line and 32 windows, and keeps their registers.

    Two measurements per line, without a current and with the reference, leave their summed
    difference in an SRAM; the quotient is divided serially. A drift read in front of it (32
    windows more) finds what the array conducts; over the baseline that gives the scale of all
    gains, which the divisions have in their numerators.

    Members
    -------
    calibrate, drift : In(1), In(Drift)
    baseline : In(drift_bits)
        What the array conducted at the baseline, 0 if there is none.
    mvm : Out(stream of MvmCommand)
    latch : In(1)
        The counts of a window are there.
    line, count : Out(line_bits), In(signed(count_bits))
        Line whose count is looked at.
    calibrating : Out(1)
        From the cycle after ``calibrate`` until the registers are written.
    conductance : Out(drift_bits)
        What the drift read has found, 0 for nothing or less.
    baselined : Out(1)
        One cycle in which ``conductance`` is the new baseline.
    scale : Out(drift_scale_bits)
        Unsigned 2.10, of the gains.
    error : Out(1)
        One cycle per line whose reference counted nothing, and if the array conducts nothing or
        there is no baseline to compare with.
    offsets, gains : Out(lines * calibration_offset_bits), Out(lines * gain_bits)
        Registers of all lines, line 0 lowest.
    """

    mvm: stream.Interface

    def __init__(self, config: CoreConfig):
        self.config = config
        units = sum(UNIT_GAIN << (j * config.gain_bits) for j in range(config.lines))
        super().__init__(
            {
                "calibrate": In(1),
                "drift": In(Drift),
                "baseline": In(config.drift_bits),
                "mvm": Out(stream.Signature(MvmCommand(config))),
                "latch": In(1),
                "line": Out(config.line_bits),
                "count": In(signed(config.count_bits)),
                "calibrating": Out(1),
                "conductance": Out(config.drift_bits),
                "baselined": Out(1),
                "scale": Out(config.drift_scale_bits, init=UNIT_SCALE),
                "error": Out(1),
                "offsets": Out(config.lines * config.calibration_offset_bits),
                "gains": Out(config.lines * config.gain_bits, init=units),
            }
        )

    @property
    def _numerator_log2(self) -> int:
        """log2 of what is divided by the summed counts of the reference, apart from the scale."""
        log2 = self.config.reference_count_log2 + CALIBRATION_WINDOWS_LOG2 + GAIN_FRACTION
        return log2 - DRIFT_FRACTION

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        # Bits of the summed counts of a line without a current less those with the reference.
        sum_bits = config.count_bits + CALIBRATION_WINDOWS_LOG2 + 1
        m.submodules.sums = sums = Sram(width=sum_bits, depth=config.lines)
        m.submodules.divider = divider = Divider(
            max(sum_bits + config.gain_bits, config.drift_bits + config.drift_scale_bits),
            config.drift_scale_bits,
        )
        # Pairs of windows: the drift read has G+ alone and G- alone, the calibration nothing and
        # the reference. First come those of the one, then of the other.
        window = Signal(CALIBRATION_WINDOWS_LOG2 + 2)
        second, measuring = window[-2], window[-1]
        total = Signal(signed(sum_bits))
        before = Mux(window[:-1] == 0, 0, sums.r_data.as_signed())
        conducted = Signal(signed(config.drift_bits + 1))
        compensate = Signal()
        m.d.comb += [
            sums.r_address.eq(self.line),
            sums.w_address.eq(self.line),
            sums.w_mask.eq(1),
            sums.w_data.eq(total),
            total.eq(Mux(second, before + self.count, before - self.count)),
            self.conductance.eq(Mux(conducted < 0, 0, conducted[:-1])),
        ]
        self._window(m, second, measuring)
        with m.FSM() as fsm:
            m.d.comb += self.calibrating.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"), m.If(self.calibrate):
                m.d.sync += [
                    window.eq((self.drift == Drift.NONE) << len(window) - 1),
                    compensate.eq(self.drift == Drift.COMPENSATE),
                    conducted.eq(0),
                    self.scale.eq(UNIT_SCALE),
                ]
                m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += self.mvm.valid.eq(1)
                with m.If(self.mvm.ready):
                    m.next = "WINDOW"
            with m.State("WINDOW"), m.If(self.latch):
                m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += sums.r_en.eq(measuring)
                m.next = "ADD"
            with m.State("ADD"):
                m.d.comb += sums.w_en.eq(measuring)
                self._add(m, window, total, conducted, divider)
            with m.State("COMPARE"):
                self._compare(m, compensate, divider)
            with m.State("DIVIDE"):
                self._divide(m, window, divider)
        return m

    def _window(self, m: Module, second: Value, measuring: Value) -> None:
        """Command of a window."""
        config, command = self.config, self.mvm.p
        measures = Mux(second, MvmSource.REFERENCE, MvmSource.NOTHING)
        m.d.comb += [
            command.source.eq(Mux(measuring, measures, MvmSource.ALL)),
            command.count.eq(min(config.rows, config.cols)),
            # The direction that senses all lines.
            command.backward.eq(int(config.rows > config.cols)),
            command.precision.eq(config.input_bits),
            command.lsb_log2.eq(Mux(measuring, config.lsb_log2_min, config.drift_lsb_log2)),
            command.input_signs.eq(0b11),
            command.polarities.eq(Mux(measuring, 0b11, Mux(second, 0b10, 0b01))),
        ]

    def _add(
        self, m: Module, window: Signal, total: Signal, conducted: Signal, divider: Divider
    ) -> None:
        """Add the count of a line; after the last window of a half, turn its sum into registers."""
        config = self.config
        second, measuring, ends = window[-2], window[-1], window[:-2].all()
        self._start(m, divider, self.scale << self._numerator_log2, total[:-1], config.gain_bits)
        with m.If(~measuring):
            m.d.sync += conducted.eq(conducted + Mux(second, -self.count, self.count))
        with m.Elif(ends & ~second):
            self._push(m, self.offsets, saturate(-total, config.calibration_offset_bits))
        with m.Elif(ends & (total <= 0)):
            m.d.comb += self.error.eq(1)
            self._push(m, self.gains, Const(UNIT_GAIN, config.gain_bits))
        with m.If(measuring & second & ends & (total > 0)):
            m.next = "DIVIDE"
        with m.Else():
            self._next_line(m, window)

    def _compare(self, m: Module, compensate: Signal, divider: Divider) -> None:
        """Compare what the array conducts with the baseline, or make it the baseline."""
        comparable = self.conductance.any() & (self.baseline.any() | ~compensate)
        numerator = self.baseline << DRIFT_FRACTION
        self._start(m, divider, numerator, self.conductance, self.config.drift_scale_bits)
        m.d.comb += [
            self.baselined.eq(~compensate),
            self.error.eq(~comparable),
        ]
        m.next = "REQUEST"
        with m.If(compensate & comparable):
            m.next = "DIVIDE"

    def _divide(self, m: Module, window: Signal, divider: Divider) -> None:
        """Divide for the gain of a line, or for the scale of all gains."""
        m.d.comb += divider.step.eq(1)
        with m.If(divider.done):
            with m.If(window[-2]):
                self._push(m, self.gains, divider.quotient[: self.config.gain_bits])
                self._next_line(m, window)
            with m.Else():
                m.d.sync += self.scale.eq(divider.quotient)
                m.next = "REQUEST"

    def _next_line(self, m: Module, window: Signal) -> None:
        """Look at the next line; after the last one, run the next window."""
        second, measuring, ends = window[-2], window[-1], window[:-2].all()
        m.d.sync += self.line.eq(self.line + 1)
        m.next = "FETCH"
        with m.If(self.line == self.config.lines - 1):
            m.d.sync += [self.line.eq(0), window.eq(window + 1)]
            m.next = "REQUEST"
            with m.If(second & ends):
                m.next = "COMPARE"
                with m.If(measuring):
                    m.next = "IDLE"

    def _push(self, m: Module, registers: Value, value: Value) -> None:
        """Shift ``value`` in as the last line.

        Lines are visited in ascending order, all of them: no register needs an address.
        """
        m.d.sync += registers.eq(Cat(registers, value)[len(value) :])

    def _start(
        self, m: Module, divider: Divider, numerator: Value, divisor: Value, bits: int
    ) -> None:
        """Start a division to a quotient of ``bits``, rounded to nearest."""
        m.d.comb += [
            divider.start.eq(1),
            divider.steps.eq(bits),
            divider.divisor.eq(divisor << (bits - 1)),
            divider.dividend.eq(numerator + (divisor >> 1)),
        ]
