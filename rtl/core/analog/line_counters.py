# SPDX-License-Identifier: Apache-2.0
"""Counters of the ADC interface: one per line, and the counts of the last window."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import IncrementTiming
from phasecore.rtl.spec.core import EXPONENT_BITS, CoreConfig

__all__ = ["LineCounters", "count_shift_max"]


def count_shift_max(config: CoreConfig) -> int:
    """Largest right shift of an offset register."""
    return 4 + config.lsb_log2_max - config.lsb_log2_min + config.input_bits - 5


class LineCounters(wiring.Component):
    """Adds up the increments of a window and holds the final counts.

    Members
    -------
    timing, increments : In
        As in AdcInterface.
    latch : Out(1)
        The counts of a window are held from the next cycle on.
    counts : Out, one per line
        Held.
    at_limit : Out(lines)
        Lines that counted ``increment_max`` in a cycle of the held window.
    shift : Out
        Right shift of the offset registers that fits the held counts.
    exponent, latched : Out(signed(8)), Out(2)
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "timing": In(IncrementTiming(config)),
                "increments": In(config.lines * config.increment_bits),
                "latch": Out(1),
                "counts": Out(signed(config.count_bits)).array(config.lines),
                "at_limit": Out(config.lines),
                "shift": Out(range(count_shift_max(config) + 1), init=4),
                "exponent": Out(signed(EXPONENT_BITS)),
                "latched": Out(2),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, timing = self.config, self.timing
        first, active = Signal(), Signal()
        shift, exponent = Signal.like(self.shift), Signal.like(self.exponent)
        m.d.sync += [
            first.eq(timing.first),
            active.eq(timing.active),
            self.latch.eq(timing.active & timing.last),
        ]
        with m.If(timing.active):
            m.d.sync += [
                shift.eq(
                    4 + config.input_bits - config.lsb_log2_min + timing.lsb_log2 - timing.precision
                ),
                exponent.eq(timing.exponent),
            ]

        limited, reached = Signal(config.lines), Signal(config.lines)
        limit = config.increment_max
        for j, held in enumerate(self.counts):
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
            with m.If(self.latch):
                m.d.sync += held.eq(total)
        with m.If(active):
            m.d.sync += limited.eq(reached)
        with m.If(self.latch):
            m.d.sync += [
                self.at_limit.eq(reached),
                self.shift.eq(shift),
                self.exponent.eq(exponent),
                self.latched.eq(self.latched + 1),
            ]
        return m
