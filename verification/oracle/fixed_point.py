# SPDX-License-Identifier: Apache-2.0
"""The one rounding and the one saturation of the arithmetic contract."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Int", "round_shift", "saturate"]

Int = NDArray[np.int64]


def round_shift(value: ArrayLike, shift: int) -> Int:
    """``value / 2**shift`` rounded to nearest, ties to even; a negative shift multiplies.

    >>> round_shift([5, 6, 7, -5, -6, -7, 2, 10], 2).tolist()
    [1, 2, 2, -1, -2, -2, 0, 2]
    """
    values = np.asarray(value, dtype=np.int64)
    if shift <= 0:
        scaled: Int = values << -shift
        return scaled
    quotient = values >> shift
    remainder = values & ((1 << shift) - 1)
    half = 1 << (shift - 1)
    up = (remainder > half) | ((remainder == half) & (quotient & 1 == 1))
    rounded: Int = quotient + up
    return rounded


def saturate(value: ArrayLike, bits: int, *, symmetric: bool = False) -> Int:
    """Clip to ``bits`` two's-complement bits; ``symmetric`` excludes the most negative code."""
    high = (1 << (bits - 1)) - 1
    low = -high if symmetric else -high - 1
    result: Int = np.clip(np.asarray(value, dtype=np.int64), low, high)
    return result
