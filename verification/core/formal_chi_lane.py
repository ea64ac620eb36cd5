# SPDX-License-Identifier: Apache-2.0
"""What a chi lane promises, as assertions over every operand."""

from amaranth.hdl import Assert, Assume, Const, Cover, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from phasecore.rtl.core.digital.chi_lane import PRODUCT_BITS, RIGHT_SHIFT_MAX, ChiIncrement, ChiLane
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["ChiIncrementContract", "ChiLaneContract"]


class ChiLaneContract(wiring.Component):
    """Nothing of chi gets lost: what is not stored has left as whole thresholds."""

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "stored": In(signed(config.chi_bits)),
                "increment": In(signed(config.chi_bits)),
                "threshold": In(config.chi_bits - 1),
                "transfer": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits, pulse_max = self.config.chi_bits, self.config.pulse_max
        m.submodules.lane = lane = ChiLane(self.config)
        m.d.comb += [
            Assume(self.threshold != 0),
            lane.stored.eq(self.stored),
            lane.increment.eq(self.increment),
            lane.threshold.eq(self.threshold),
            lane.transfer.eq(self.transfer),
        ]
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        exact, total = Signal(signed(bits + 1)), Signal(signed(bits))
        pulses = Signal(signed(self.config.pulse_bits + 1))
        left = Signal(bits)
        m.d.comb += [
            exact.eq(self.stored + self.increment),
            total.eq(Mux(exact > high, high, Mux(exact < low, low, exact))),
            pulses.eq(Mux(lane.negative, -lane.count, lane.count)),
            left.eq(Mux(lane.result < 0, -lane.result, lane.result)),
        ]
        m.d.comb += [
            Assert(total == lane.result + pulses * self.threshold),
            Assert(lane.chi_saturated == (total != exact)),
            Assert(lane.count <= pulse_max),
        ]
        with m.If(lane.count != 0):
            # p and what remains have the sign of the sum: division truncates toward zero.
            m.d.comb += [
                Assert(self.transfer),
                Assert(lane.negative == (total < 0)),
                Assert((lane.result == 0) | ((lane.result < 0) == (total < 0))),
            ]
        with m.If(self.transfer):
            m.d.comb += [
                Assert((left < self.threshold) | lane.transfer_saturated),
                Assert(~lane.transfer_saturated | (left >= self.threshold)),
                Assert(~lane.transfer_saturated | (lane.count == pulse_max)),
            ]
        with m.Else():
            m.d.comb += [Assert(lane.result == total), Assert(~lane.transfer_saturated)]
        m.d.comb += [
            Cover(lane.transfer_saturated & lane.negative),
            Cover((lane.count == pulse_max) & ~lane.transfer_saturated & lane.chi_saturated),
        ]
        return m


class ChiIncrementContract(wiring.Component):
    """The increment is the nearest one; of two nearest ones the even, and clipped at the ends."""

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "x": In(signed(8)),
                "d": In(signed(8)),
                "shift": In(range(RIGHT_SHIFT_MAX + 1)),
                "left": In(range(config.chi_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.config.chi_bits
        m.submodules.increment = unit = ChiIncrement(self.config)
        one = Signal(RIGHT_SHIFT_MAX + 1)
        product = Signal(signed(PRODUCT_BITS + bits))
        error = Signal(signed(PRODUCT_BITS + bits + 1))
        m.d.comb += [
            Assume((self.shift == 0) | (self.left == 0)),
            Assume(self.left < bits),
            one.eq(1 << self.shift),
            unit.x.eq(self.x),
            unit.d.eq(self.d),
            unit.shift.eq(self.shift),
            unit.half.eq(Mux(self.shift == 0, 0, (one >> 1) - 1)),
            unit.parity.eq(Mux(self.shift == 0, 0, one)),
            unit.left.eq(self.left),
            unit.sign.eq(Const(-(2 ** (bits - 1)), signed(bits)) >> self.left),
            product.eq((self.x * self.d) << self.left),
            error.eq(product - (unit.increment << self.shift)),
        ]
        high = unit.increment == 2 ** (bits - 1) - 1
        low = unit.increment == -(2 ** (bits - 1))
        twice = Signal(signed(PRODUCT_BITS + bits + 2))
        m.d.comb += [
            twice.eq(2 * error),
            Assert((twice <= one) | high),
            Assert((twice >= -one) | low),
            Assert(((twice != one) & (twice != -one)) | ~unit.increment[0] | high | low),
            Cover((twice == one) & (unit.increment == -2)),
        ]
        return m
