# SPDX-License-Identifier: Apache-2.0
"""Rounding and saturation of single integers; see ``models/arithmetic.py``."""

from models.compiled.jit import compiled

__all__ = ["clip", "round_shift", "saturate_code"]

CODE_MAX = 127


@compiled
def round_shift(value: int, shift: int) -> int:
    """``value / 2**shift`` rounded to nearest, ties to even; a negative shift multiplies."""
    if shift <= 0:
        return value << -shift
    odd = value >> shift & 1
    return (value + (1 << (shift - 1)) - 1 + odd) >> shift


@compiled
def clip(value: int, low: int, high: int) -> int:
    """``value`` between ``low`` and ``high``."""
    return min(max(value, low), high)


@compiled
def saturate_code(value: int) -> int:
    """``value`` as a symmetric signed byte."""
    return min(max(value, -CODE_MAX), CODE_MAX)
