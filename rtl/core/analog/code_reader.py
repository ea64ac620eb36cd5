# SPDX-License-Identifier: Apache-2.0
"""Read-out of the ADC interface: counts become calibrated codes."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.analog.line_counters import count_shift_max
from phasecore.rtl.lib.arithmetic import any_outside, round_shift, saturate
from phasecore.rtl.lib.trees import OnesCounter
from phasecore.rtl.spec.core import GAIN_FRACTION, CoreConfig

__all__ = ["CodeReader"]


class CodeReader(wiring.Component):
    """Two stages: subtract the offset; multiply by the gain, round and saturate.

    Members
    -------
    en, mask : In(1), In(post_lanes)
        Lanes that are read, and those among which to count.
    counts, offsets, gains : In, one per lane
        Of the lines that are read, with ``en``.
    shift : In
        Right shift of the offsets.
    at_limit : In(post_lanes)
        Lines whose converter was at its limit, with ``en``.
    codes : Out(8 * post_lanes)
        Two cycles after ``en``.
    clipped, overranges : Out
        Codes on ``codes`` that were clipped, and whose line was at its limit.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        lanes = config.post_lanes
        super().__init__(
            {
                "en": In(1),
                "mask": In(lanes),
                "counts": In(signed(config.count_bits)).array(lanes),
                "offsets": In(signed(config.calibration_offset_bits)).array(lanes),
                "gains": In(config.gain_bits).array(lanes),
                "shift": In(range(count_shift_max(config) + 1)),
                "at_limit": In(lanes),
                "codes": Out(config.output_bits * lanes),
                "clipped": Out(range(lanes + 1)),
                "overranges": Out(range(lanes + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, lanes = self.config, self.config.post_lanes
        high = config.adc_max
        m.submodules.clips = clips = OnesCounter(lanes)
        m.submodules.limits = limits = OnesCounter(lanes)
        mask, clipped = Signal(lanes), Signal(lanes)
        among, counted = Signal(lanes), Signal(lanes)
        m.d.sync += [
            mask.eq(Mux(self.en, self.mask, 0)),
            among.eq(Mux(self.en, self.mask & self.at_limit, 0)),
            counted.eq(among),
        ]
        for lane, (count, offset, gain) in enumerate(
            zip(self.counts, self.offsets, self.gains, strict=True)
        ):
            difference = Signal(
                signed(config.count_bits + 1), name=f"difference_{lane}", reset_less=True
            )
            factor = Signal(config.gain_bits, name=f"factor_{lane}", reset_less=True)
            rounded = round_shift(offset, self.shift, shift_max=count_shift_max(config))
            with m.If(self.en):
                m.d.sync += [difference.eq(count - rounded), factor.eq(gain)]

            code = Signal(signed(config.count_bits + 4), name=f"code_{lane}")
            m.d.comb += code.eq(round_shift(difference * factor, GAIN_FRACTION))
            m.d.sync += [
                self.codes.word_select(lane, config.output_bits).eq(
                    saturate(code, config.adc_bits, symmetric=True)
                ),
                clipped[lane].eq(mask[lane] & any_outside(code, -high, high)),
            ]
        m.d.comb += [
            clips.bits.eq(clipped),
            limits.bits.eq(counted),
            self.clipped.eq(clips.count),
            self.overranges.eq(limits.count),
        ]
        return m
