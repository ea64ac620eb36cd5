# SPDX-License-Identifier: Apache-2.0
"""Activation functions and the factor of their derivatives, on all lanes of post-processing."""

from math import exp, tanh

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.spec.core import ACTIVATION_INDEX_MAX
from phasecore.rtl.spec.instructions import Function

__all__ = ["Activation", "Derivative"]

_MAX = 127
_INDICES = range(ACTIVATION_INDEX_MAX + 1)
_TABLE = [
    *(round(_MAX / (1 + exp(-k / 32))) for k in _INDICES),
    *(round(_MAX * tanh(k / 64)) for k in _INDICES),
]


class Activation(wiring.Component):
    """Activation codes of clipped accumulator values (combinational).

    Sigmoid and tanh are looked up by magnitude in one table that all lanes read; the other half
    of each function follows from its symmetry.

    Parameters
    ----------
    lanes : int

    Members
    -------
    enable : In(1)
        Without it all results are 0, which keeps idle lanes quiet.
    function : In(3)
        Function other than NONE.
    values : In, one per lane, -255..255
        What lies further out has been clipped, which changes no result.
    codes : Out(8 * lanes)
        One byte per lane, lane 0 lowest.
    saturated : Out(lanes)
        Lanes whose linear result does not fit a code.
    """

    def __init__(self, lanes: int):
        self.lanes = lanes
        super().__init__(
            {
                "enable": In(1),
                "function": In(3),
                "values": In(signed(9)).array(lanes),
                "codes": Out(8 * lanes),
                "saturated": Out(lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.table = table = memory.Memory(
            shape=unsigned(7), depth=len(_TABLE), init=_TABLE
        )
        is_sigmoid = Signal()
        is_tanh = Signal()
        is_relu = Signal()
        m.d.comb += [
            is_sigmoid.eq(self.function == Function.SIGMOID),
            is_tanh.eq(self.function == Function.TANH),
            is_relu.eq(self.function == Function.RELU),
        ]
        codes = []
        saturated = []
        for value in self.values:
            negative = value[-1]
            magnitude = Signal(8)
            result = Signal(7)
            port = table.read_port(domain="comb")
            linear = Mux(magnitude[7], Const(_MAX, 7), magnitude[:7])
            with m.If(self.enable):
                m.d.comb += [
                    magnitude.eq(Mux(negative, -value, value)),
                    port.addr.eq(Cat(magnitude, is_tanh)),
                    result.eq(Mux(is_sigmoid | is_tanh, port.data, linear)),
                ]
            mirrored = Mux(is_sigmoid, Cat(~result, Const(0, 1)), Mux(is_relu, 0, -result)[:8])
            codes.append(Mux(negative, mirrored, result)[:8])
            saturated.append(magnitude[7] & ~(is_sigmoid | is_tanh | (is_relu & negative)))
        with m.If(self.enable):
            m.d.comb += [self.codes.eq(Cat(codes)), self.saturated.eq(Cat(saturated))]
        return m


class Derivative(wiring.Component):
    """Derivative in 1/16129 of an activation function, from the activations (combinational).

    Every function is a product of two factors of its output y: sigmoid ``(127 - y) y``, tanh
    ``(127 - y) (127 + y)``, otherwise ``127 * 127`` or 0.

    Parameters
    ----------
    lanes : int

    Members
    -------
    enable : In(1)
        Without it all factors are 0, which keeps idle lanes quiet.
    function : In(3)
        Function other than NONE.
    outputs : In(8 * lanes)
        One signed byte per lane.
    factors : Out, one per lane, -255..16129
    """

    def __init__(self, lanes: int):
        self.lanes = lanes
        super().__init__(
            {
                "enable": In(1),
                "function": In(3),
                "outputs": In(8 * lanes),
                "factors": Out(signed(15)).array(lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        is_sigmoid = Signal()
        is_tanh = Signal()
        is_relu = Signal()
        m.d.comb += [
            is_sigmoid.eq(self.function == Function.SIGMOID),
            is_tanh.eq(self.function == Function.TANH),
            is_relu.eq(self.function == Function.RELU),
        ]
        for lane in range(self.lanes):
            y = self.outputs.word_select(lane, 8).as_signed()
            falling = Mux(is_sigmoid | is_tanh, _MAX - y, _MAX)[:8]
            linear = Mux(is_relu & (y <= 0), 0, _MAX)
            rising = Mux(is_tanh, _MAX + y, Mux(is_sigmoid, Mux(y < 0, 0, y)[:7], linear))
            with m.If(self.enable):
                m.d.comb += self.factors[lane].eq(falling * rising)
        return m
