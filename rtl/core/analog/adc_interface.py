# SPDX-License-Identifier: Apache-2.0
"""ADC interface: counters, hold registers, calibrated read-out and the calibration sequence."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.core.interfaces import AdcRead, IncrementTiming, MvmCommand, MvmSource
from phasecore.rtl.lib.arithmetic import any_outside, round_shift, saturate
from phasecore.rtl.lib.sram import Sram
from phasecore.rtl.spec.core import (
    CALIBRATION_WINDOWS_LOG2,
    DRIFT_FRACTION,
    EXPONENT_BITS,
    GAIN_FRACTION,
    CoreConfig,
)
from phasecore.rtl.spec.instructions import Drift

__all__ = ["AdcInterface"]

UNIT_GAIN = 1 << GAIN_FRACTION

UNIT_SCALE = 1 << DRIFT_FRACTION


class AdcInterface(wiring.Component):
    """Counts the increments of a window per line and gives calibrated 8-bit codes.

    The counts of a window are held from T + 1 cycles after its first cycle to the end of the next
    window; codes of ``read`` belong to the counts held in the cycle of ``en``.

    The calibration sequence (about 70 cycles per line and 32 windows) expects to be alone: no
    other window and no read from ``calibrate`` until ``calibrating`` falls. It leaves the summed
    difference of the two measurements of every line in an SRAM and divides serially. A drift read
    in front of it (32 windows more) finds what the array conducts; over the baseline that gives the
    scale of all gains, which the divisions have in their numerators.

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
                "scale": Out(config.drift_scale_bits, init=UNIT_SCALE),
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
        config = self.config
        self._held = [
            Signal(signed(config.count_bits), name=f"held_{j}") for j in range(config.lines)
        ]
        self._at_limit = Signal(config.lines)
        self._offsets = Signal(config.lines * config.calibration_offset_bits)
        self._gains = Signal(
            config.lines * config.gain_bits,
            init=sum(UNIT_GAIN << (j * config.gain_bits) for j in range(config.lines)),
        )
        self._count_shift = Signal(range(self._shift_max + 1), init=4)
        self._calibrated_line = Signal(config.line_bits)

        selected = Signal(config.line_bits)
        lane_bits = exact_log2(config.post_lanes)
        lane = selected[:lane_bits]
        block = Signal(config.block_bits)
        m.d.comb += [
            selected.eq(Mux(self.calibrating, self._calibrated_line, self.line)),
            block.eq(Mux(self.read.en, self.read.block, selected[lane_bits:])),
        ]
        counts = self._lanes(self._held, block)
        offsets = self._lanes([item.as_signed() for item in self._items(self._offsets)], block)
        gains = self._lanes(self._items(self._gains), block)
        with m.If(~self.read.en & ~self.calibrating):
            m.d.sync += [
                self.offset.eq(_select(offsets, lane)),
                self.gain.eq(_select(gains, lane)),
            ]

        latch = Signal()
        self._count(m, latch)
        self._read_out(m, counts, offsets, gains)
        self._count_overranges(m, Cat(self._lanes(list(self._at_limit), block)))
        self._calibrate(m, latch, _select(counts, lane))
        return m

    @property
    def _shift_max(self) -> int:
        """Largest right shift of an offset register."""
        config = self.config
        return 4 + config.range_max - config.range_min + config.input_bits - 5

    def _items(self, registers: Value) -> list[Value]:
        """The registers of all lines out of their vector."""
        width = len(registers) // self.config.lines
        return [registers.word_select(j, width) for j in range(self.config.lines)]

    def _lanes(self, items: list[Value], block: Value) -> list[Value]:
        """The items of ``block``, one per lane, out of one per line (combinational)."""
        lanes = self.config.post_lanes
        return [_select(items[lane::lanes], block) for lane in range(lanes)]

    def _count(self, m: Module, latch: Signal) -> None:
        """Accumulate the increments of a window and hold the final counts."""
        config, timing = self.config, self.timing
        first = Signal()
        active = Signal()
        shift = Signal.like(self._count_shift)
        exponent = Signal.like(self.exponent)
        m.d.sync += [
            first.eq(timing.first),
            active.eq(timing.active),
            latch.eq(timing.active & timing.last),
        ]
        with m.If(timing.active):
            m.d.sync += [
                shift.eq(
                    4 + config.input_bits - config.range_min + timing.range - timing.precision
                ),
                exponent.eq(timing.exponent),
            ]

        sums = []
        limited = Signal(config.lines)
        reached = Signal(config.lines)
        limit = config.increment_max
        for j in range(config.lines):
            # The first increment of a window overwrites what is left from the one before.
            count = Signal(signed(config.count_bits), name=f"counter_{j}", reset_less=True)
            total = Signal(signed(config.count_bits), name=f"total_{j}")
            increment = self.increments.word_select(j, config.increment_bits).as_signed()
            m.d.comb += [
                total.eq(Mux(first, 0, count) + increment),
                reached[j].eq((increment == limit) | (increment == -limit) | ~first & limited[j]),
            ]
            with m.If(active):
                m.d.sync += count.eq(total)
            sums.append(total)
        with m.If(active):
            m.d.sync += limited.eq(reached)
        with m.If(latch):
            m.d.sync += [
                [held.eq(total) for held, total in zip(self._held, sums, strict=True)],
                self._at_limit.eq(reached),
                self._count_shift.eq(shift),
                self.exponent.eq(exponent),
                self.latched.eq(self.latched + 1),
            ]

    def _read_out(self, m: Module, counts: list, offsets: list, gains: list) -> None:
        """Two stages: subtract the offset; multiply by the gain, round and saturate."""
        config = self.config
        high = config.adc_max
        mask = Signal(config.post_lanes)
        clips = Signal(config.post_lanes)
        m.d.sync += mask.eq(Mux(self.read.en, self.read.mask, 0))
        for lane, (count, offset, gain) in enumerate(zip(counts, offsets, gains, strict=True)):
            difference = Signal(
                signed(config.count_bits + 1), name=f"difference_{lane}", reset_less=True
            )
            factor = Signal(config.gain_bits, name=f"factor_{lane}", reset_less=True)
            rounded = round_shift(offset, self._count_shift, shift_max=self._shift_max)
            with m.If(self.read.en):
                m.d.sync += [difference.eq(count - rounded), factor.eq(gain)]

            code = Signal(signed(config.count_bits + 4), name=f"code_{lane}")
            m.d.comb += code.eq(round_shift(difference * factor, GAIN_FRACTION))
            m.d.sync += [
                self.read.codes.word_select(lane, config.output_bits).eq(
                    saturate(code, config.adc_bits, symmetric=True)
                ),
                clips[lane].eq(mask[lane] & any_outside(code, -high, high)),
            ]
        m.d.comb += self.clipped.eq(_population(list(clips)))

    def _count_overranges(self, m: Module, at_limit: Value) -> None:
        """How many of the codes read come from a line that was at its limit; two stages."""
        among = Signal(self.config.post_lanes)
        counted = Signal(self.config.post_lanes)
        m.d.sync += [
            among.eq(Mux(self.read.en, self.read.mask & at_limit, 0)),
            counted.eq(among),
        ]
        m.d.comb += self.overranges.eq(_population(list(counted)))

    def _calibrate(self, m: Module, latch: Value, count: Value) -> None:
        """Sum the held counts of every window; turn the sums into registers."""
        config = self.config
        line = self._calibrated_line
        window = Signal(CALIBRATION_WINDOWS_LOG2 + 2)
        second, measuring = self._windows(m, window)
        ends = window[:-2].all()
        m.submodules.sums = sums = Sram(width=self._sum_bits, depth=config.lines)
        total = self._total(m, sums, count, first=window[:-1] == 0, adds=second)
        divider = _Divider(
            max(self._sum_bits + config.gain_bits, config.drift_bits + config.drift_scale_bits),
            config.drift_scale_bits,
        )
        conducted = Signal(signed(config.drift_bits + 1))
        compensate = Signal()
        m.d.comb += self.conductance.eq(Mux(conducted < 0, 0, conducted[:-1]))

        # Lines are visited in ascending order, all of them: no register needs an address.
        def push(registers: Value, value: Value) -> None:
            m.d.sync += registers.eq(Cat(registers, value)[len(value) :])

        with m.FSM() as fsm:
            m.d.comb += self.calibrating.eq(~fsm.ongoing("IDLE"))

            def next_line() -> None:
                m.d.sync += line.eq(line + 1)
                m.next = "FETCH"
                with m.If(line == config.lines - 1):
                    m.d.sync += [line.eq(0), window.eq(window + 1)]
                    m.next = "REQUEST"
                    with m.If(second & ends):
                        m.next = "COMPARE"
                        with m.If(measuring):
                            m.next = "IDLE"

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

            with m.State("WINDOW"), m.If(latch):
                m.next = "FETCH"

            with m.State("FETCH"):
                m.d.comb += sums.r_en.eq(measuring)
                m.next = "ADD"

            with m.State("ADD"):
                m.d.comb += sums.w_en.eq(measuring)
                divider.start(m, self.scale << self._numerator_log2, total[:-1], config.gain_bits)
                with m.If(~measuring):
                    m.d.sync += conducted.eq(conducted + Mux(second, -count, count))
                with m.Elif(ends & ~second):
                    push(self._offsets, saturate(-total, config.calibration_offset_bits))
                with m.Elif(ends & (total <= 0)):
                    m.d.comb += self.calibration_error.eq(1)
                    push(self._gains, Const(UNIT_GAIN, config.gain_bits))
                with m.If(measuring & second & ends & (total > 0)):
                    m.next = "DIVIDE"
                with m.Else():
                    next_line()

            with m.State("COMPARE"):
                comparable = self.conductance.any() & (self.baseline.any() | ~compensate)
                divider.start(
                    m, self.baseline << DRIFT_FRACTION, self.conductance, config.drift_scale_bits
                )
                m.d.comb += [
                    self.baselined.eq(~compensate),
                    self.calibration_error.eq(~comparable),
                ]
                m.next = "REQUEST"
                with m.If(compensate & comparable):
                    m.next = "DIVIDE"

            with m.State("DIVIDE"):
                divider.step(m)
                with m.If(divider.done):
                    with m.If(second):
                        push(self._gains, divider.quotient[: config.gain_bits])
                        next_line()
                    with m.Else():
                        m.d.sync += self.scale.eq(divider.quotient)
                        m.next = "REQUEST"

    @property
    def _numerator_log2(self) -> int:
        """log2 of what is divided by the summed counts of the reference, apart from the scale."""
        log2 = self.config.reference_count_log2 + CALIBRATION_WINDOWS_LOG2 + GAIN_FRACTION
        return log2 - DRIFT_FRACTION

    @property
    def _sum_bits(self) -> int:
        """Bits of the summed counts of a line without a current less those with the reference."""
        return self.config.count_bits + CALIBRATION_WINDOWS_LOG2 + 1

    def _windows(self, m: Module, window: Signal) -> tuple[Value, Value]:
        """Commands of the windows: G+ alone and G- alone, then nothing and the reference.

        Whether ``window`` is in the second half of its pair, and whether in the second pair.
        """
        config, command = self.config, self.mvm.p
        second, measuring = window[-2], window[-1]
        measures = Mux(second, MvmSource.REFERENCE, MvmSource.NOTHING)
        m.d.comb += [
            command.source.eq(Mux(measuring, measures, MvmSource.ALL)),
            command.count.eq(min(config.rows, config.cols)),
            # The direction that senses all lines.
            command.backward.eq(int(config.rows > config.cols)),
            command.precision.eq(config.input_bits),
            command.range.eq(Mux(measuring, config.range_min, config.drift_range)),
            command.input_signs.eq(0b11),
            command.polarities.eq(Mux(measuring, 0b11, Mux(second, 0b10, 0b01))),
        ]
        return second, measuring

    def _total(self, m: Module, sums: Sram, count: Value, *, first: Value, adds: Value) -> Signal:
        """Sum of the line with the count of this window, which goes back to the SRAM."""
        total = Signal(signed(self._sum_bits))
        before = Mux(first, 0, sums.r_data.as_signed())
        m.d.comb += [
            sums.r_address.eq(self._calibrated_line),
            sums.w_address.eq(self._calibrated_line),
            sums.w_mask.eq(1),
            sums.w_data.eq(total),
            total.eq(Mux(adds, before + count, before - count)),
        ]
        return total


class _Divider:
    """Serial division, one bit per cycle: rounded, and at most all ones.

    Parameters
    ----------
    width : bits that hold numerator and divisor, the latter shifted up by those of the quotient
    bits : of the widest quotient
    """

    def __init__(self, width: int, bits: int):
        self.divisor = Signal(width)
        self.remainder = Signal(width)
        self.quotient = Signal(bits)
        self.left = Signal(range(bits + 1))
        self.done = self.left == 0

    def start(self, m: Module, numerator: Value, divisor: Value, bits: int) -> None:
        """Divide positive numbers to a quotient of ``bits``."""
        m.d.sync += [
            self.left.eq(bits),
            self.divisor.eq(divisor << (bits - 1)),
            self.remainder.eq(numerator + (divisor >> 1)),
        ]

    def step(self, m: Module) -> None:
        """One bit of the quotient; the lowest are valid when ``done``."""
        # A quotient that has no room leaves every bit set.
        fits = self.remainder >= self.divisor
        m.d.sync += [
            self.left.eq(self.left - 1),
            self.divisor.eq(self.divisor >> 1),
            self.quotient.eq(Cat(fits, self.quotient)),
        ]
        with m.If(fits):
            m.d.sync += self.remainder.eq(self.remainder - self.divisor)


def _population(bits: list[Value]) -> Value:
    """Number of ones, as a balanced tree of adders (combinational)."""
    if len(bits) == 1:
        return bits[0]
    half = len(bits) // 2
    return _population(bits[:half]) + _population(bits[half:])


def _select(items: list[Value], index: Value) -> Value:
    """Item ``index`` of a power of two of items, as a tree of multiplexers (combinational)."""
    for bit in index:
        if len(items) > 1:
            pairs = zip(items[::2], items[1::2], strict=True)
            items = [Mux(bit, odd, even) for even, odd in pairs]
    return items[0]
