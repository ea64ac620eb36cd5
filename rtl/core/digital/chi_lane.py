# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of one chi word: the increment of an outer product, and its threshold transfer."""

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.lib.arithmetic import saturate
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["RIGHT_SHIFT_MAX", "ChiIncrement", "ChiLane"]

RIGHT_SHIFT_MAX = 15
"""Largest right shift that matters: the product of two bytes is at most 2**14, so 15 leaves 0."""

PRODUCT_BITS = 16
"""Bits of the product of two bytes, two's complement."""


class ChiIncrement(wiring.Component):
    """Increment of one chi word by an outer product (combinational).

    What depends on the row or the command alone is computed once for all lanes and comes in ready
    for use: a right shift s (0 without one) in three forms, a left shift l (0 without one) in two.

    Members
    -------
    x, d : elements of the row and the column
    shift : s
    half : 2**(s - 1) - 1, 0 without a shift
    parity : bit mask 2**s, 0 without a shift
    left : l, at most ``chi_bits - 1``, which takes even 1 out of the range of chi
    sign : mask of the bits of x d that must equal its sign lest l shifts it beyond the range
    increment : x d 2**l / 2**s rounded to nearest, ties to even, saturated
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "x": In(signed(8)),
                "d": In(signed(8)),
                "shift": In(RIGHT_SHIFT_MAX.bit_length()),
                "half": In(RIGHT_SHIFT_MAX - 1),
                "parity": In(RIGHT_SHIFT_MAX + 1),
                "left": In(range(config.chi_bits)),
                "sign": In(signed(config.chi_bits)),
                "increment": Out(signed(config.chi_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.config.chi_bits
        product = Signal(signed(PRODUCT_BITS))
        rounded = Signal(signed(PRODUCT_BITS))
        # The carry into an odd quotient is what turns a tie to even.
        odd = (product & self.parity).any()
        low, high = Const(-(2 ** (bits - 1)), signed(bits)), Const(2 ** (bits - 1) - 1)
        outside = ((rounded ^ (rounded >> (PRODUCT_BITS - 1))) & self.sign) != 0
        kept = (rounded << self.left)[:bits]
        m.d.comb += [
            product.eq(self.x * self.d),
            rounded.eq((product + self.half + odd) >> self.shift),
            self.increment.eq(Mux(outside, Mux(rounded < 0, low, high), kept)),
        ]
        return m


class ChiLane(wiring.Component):
    """New value of one chi word and the pulses that it sheds (combinational).

    ``stored + increment`` saturates; with ``transfer``, as many thresholds as it holds (at most
    ``pulse_max``) are taken from its magnitude.

    Members
    -------
    stored, increment : chi as it is stored, and what is added
    threshold : of one pulse, at least 1
    transfer : 0 leaves the sum as it is
    result : chi as it is to be stored
    count, negative : pulses and their sign; ``negative`` means something only with a ``count``
    chi_saturated : the sum was clipped
    transfer_saturated : ``result`` still holds a threshold
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        bits = config.chi_bits
        super().__init__(
            {
                "stored": In(signed(bits)),
                "increment": In(signed(bits)),
                "threshold": In(bits - 1),
                "transfer": In(1),
                "result": Out(signed(bits)),
                "count": Out(config.pulse_bits),
                "negative": Out(1),
                "chi_saturated": Out(1),
                "transfer_saturated": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.config.chi_bits
        exact = Signal(signed(bits + 1))
        total = Signal(signed(bits))
        # Larger than any magnitude, so that without transfer no step below takes anything.
        divisor = Signal(bits)
        magnitude = Signal(bits)
        m.d.comb += [
            exact.eq(self.stored + self.increment),
            total.eq(saturate(exact, bits)),
            self.chi_saturated.eq(exact[bits] ^ exact[bits - 1]),
            self.negative.eq(total[-1]),
            divisor.eq(Mux(self.transfer, self.threshold, Const(2**bits - 1, bits))),
            magnitude.eq(Mux(self.negative, -total, total)),
        ]
        for step in reversed(range(self.config.pulse_bits)):
            rest = Signal(bits, name=f"rest_{step}")
            taken = self.count[step]
            m.d.comb += [
                taken.eq(magnitude >= divisor << step),
                rest.eq(Mux(taken, magnitude - (divisor << step), magnitude)),
            ]
            magnitude = rest
        m.d.comb += [
            self.result.eq(Mux(self.negative, -magnitude, magnitude)),
            self.transfer_saturated.eq(magnitude >= divisor),
        ]
        return m
