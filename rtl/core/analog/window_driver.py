# SPDX-License-Identifier: Apache-2.0
"""Last stage of the input driver: pulse-width modulated lines."""

from functools import reduce
from operator import and_

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import IncrementTiming, MvmCommand, MvmSource
from phasecore.rtl.spec.core import EXPONENT_BITS, CoreConfig

__all__ = ["WindowDriver"]


class WindowDriver(wiring.Component):
    """Runs a window: a line is cleared when the elapsed cycles reach its magnitude.

    Members
    -------
    start : In(1)
        A window begins in the next cycle.
    command, exponent, magnitude, positive, negative : In
        Of that window, as in VectorLoader.
    timing, backward, polarities, range, reference, first, active, pwm_positive, pwm_negative : Out
        As in InputDriver.
    last : Out(1)
        Last cycle of a window.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "command": In(MvmCommand(config)),
                "exponent": In(signed(EXPONENT_BITS)),
                "magnitude": In(config.lines).array(config.input_bits - 1),
                "positive": In(config.lines),
                "negative": In(config.lines),
                "timing": Out(IncrementTiming(config)),
                "backward": Out(1),
                "polarities": Out(2),
                "lsb_log2": Out(config.lsb_log2_bits),
                "reference": Out(1),
                "first": Out(1),
                "active": Out(1),
                "pwm_positive": Out(config.lines),
                "pwm_negative": Out(config.lines),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, command, timing = self.config, self.command, self.timing
        lines = config.lines
        magnitude = [
            Signal(lines, name=f"magnitude_{k}", reset_less=True)
            for k in range(config.input_bits - 1)
        ]
        elapsed, length = Signal(config.input_bits), Signal(config.input_bits)
        expired = Signal(lines)
        m.d.comb += [
            self.last.eq(self.active & (elapsed == length)),
            expired.eq(
                reduce(and_, (~(p ^ elapsed[k].replicate(lines)) for k, p in enumerate(magnitude)))
            ),
            timing.first.eq(self.first),
            timing.active.eq(self.active),
            timing.last.eq(self.last),
            timing.lsb_log2.eq(self.lsb_log2),
        ]
        m.d.sync += [
            self.first.eq(self.start),
            self.active.eq(self.start | (self.active & ~self.last)),
            elapsed.eq(elapsed + 1),
            self.pwm_positive.eq(self.pwm_positive & ~expired),
            self.pwm_negative.eq(self.pwm_negative & ~expired),
        ]
        with m.If(self.start):
            m.d.sync += [
                elapsed.eq(1),
                [now.eq(later) for now, later in zip(magnitude, self.magnitude, strict=True)],
                self.pwm_positive.eq(self.positive),
                self.pwm_negative.eq(self.negative),
                self.backward.eq(command.backward),
                self.polarities.eq(command.polarities),
                self.lsb_log2.eq(command.lsb_log2),
                self.reference.eq(command.source == MvmSource.REFERENCE),
                timing.precision.eq(command.precision),
                timing.exponent.eq(self.exponent),
            ]
            with m.Switch(command.precision):
                for precision in range(5, config.input_bits + 1):
                    with m.Case(precision):
                        m.d.sync += length.eq(1 << (precision - 1))
        return m
