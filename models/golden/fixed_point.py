# SPDX-License-Identifier: Apache-2.0
"""The one rounding and the one saturation of the arithmetic contract, as kernels."""

from typing import Any

import numpy as np

from phasecore.models.engine.jit import compiled

__all__ = [
    "CODE_MAX", "clip", "copy", "count_nonzero", "isqrt", "round_shift", "saturate_code", "wrapped",
]  # fmt: skip

CODE_MAX = 127
"""Largest code; the smallest is its negative."""


@compiled
def round_shift(value: int, shift: int) -> int:
    """``value / 2**shift`` rounded to nearest, ties to even; a negative shift multiplies.

    >>> [round_shift(value, 2) for value in (5, 6, 7, -5, -6, -7, 2, 10)]
    [1, 2, 2, -1, -2, -2, 0, 2]
    """
    if shift <= 0:
        return value << -shift
    odd = value >> shift & 1
    return (value + (1 << (shift - 1)) - 1 + odd) >> shift


@compiled
def clip(value: int, low: int, high: int) -> int:
    """``value`` between ``low`` and ``high``."""
    return min(max(value, low), high)


@compiled
def copy(target: Any, source: Any) -> None:
    """Copy ``source`` into the beginning of ``target``, another array."""
    # An assignment would first see whether they overlap, and make room for it.
    for at in range(len(source)):
        target[at] = source[at]


@compiled
def count_nonzero(values: Any) -> int:
    """Elements that are not 0."""
    count = 0
    for at in range(len(values)):
        count += values[at] != 0
    return count


@compiled
def isqrt(value: int) -> int:
    """Largest integer whose square is at most ``value``, 0 .. 2**63 - 1."""
    root = int(np.sqrt(float(value)))
    # The floating-point root is off by one at most.
    if root * root > value:
        root -= 1
    elif (root + 1) * (root + 1) <= value:
        root += 1
    return root


@compiled
def saturate_code(value: int) -> int:
    """``value`` as a symmetric signed byte."""
    return min(max(value, -CODE_MAX), CODE_MAX)


@compiled
def wrapped(place: int, size: int) -> int:
    """A place in a ring; those inside take no division."""
    return place if 0 <= place < size else place % size
