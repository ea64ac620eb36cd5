# SPDX-License-Identifier: Apache-2.0
"""Shared combinational arithmetic: the one rounding and the one saturation of the whole core."""

from amaranth.hdl import Const, Mux, Value, ValueLike, signed

__all__ = ["any_outside", "round_shift", "saturate"]


def round_shift(value: ValueLike, shift: ValueLike | int, *, shift_max: int | None = None) -> Value:
    """``value / 2**shift`` rounded to nearest, ties to even (combinational).

    Parameters
    ----------
    value : signed value of n bits
    shift : unsigned; a Python integer, or a value of at most ``shift_max``
    shift_max : largest value of a variable ``shift``

    Returns
    -------
    signed value of n + 1 bits
    """
    value = Value.cast(value)
    if isinstance(shift, int):
        if shift == 0:
            return value.as_signed()
        width = len(value) + 1
        half_even = Const((1 << (shift - 1)) - 1, signed(shift + 1)) + (value >> shift)[0]
        return ((value + half_even) >> shift)[:width].as_signed()
    assert shift_max is not None
    width = len(value) + 1
    shifts = range(shift_max + 1)
    shift = Value.cast(shift)
    # sum(2**(shift-1) - 1) as a thermometer below bit shift - 1
    ones = Const(0, 1)
    for amount in shifts[2:]:
        ones = ones | ((shift >= amount) << (amount - 2))
    odd = (value >> shift)[0] & (shift != 0)
    total = Value.cast(value + (ones + odd).as_unsigned())
    return (total >> shift)[:width].as_signed()


def saturate(value: ValueLike, bits: int, *, symmetric: bool = False) -> Value:
    """``value`` clipped to ``bits`` two's-complement bits (combinational).

    ``symmetric`` excludes the most negative code, so that the result is in
    ``-(2**(bits-1)-1)..2**(bits-1)-1``.
    """
    value = Value.cast(value)
    high = (1 << (bits - 1)) - 1
    low = -high if symmetric else -high - 1
    clipped = Mux(value > high, Const(high, signed(bits)), Const(low, signed(bits)))
    return Mux(any_outside(value, low, high), clipped, value[:bits].as_signed()).as_signed()


def any_outside(value: ValueLike, low: int, high: int) -> Value:
    """1 where ``value`` is below ``low`` or above ``high`` (combinational)."""
    value = Value.cast(value)
    return (value < low) | (value > high)
