# SPDX-License-Identifier: Apache-2.0
"""Input driver: from stored codes to signed drive magnitudes and PWM lines."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phasecore.rtl.spec.core import CoreConfig
from phasecore.verification.oracle.fixed_point import Int

__all__ = ["drive_all", "drive_one_hot", "drive_slot", "waveform"]


def _shift(config: CoreConfig, precision: int) -> int:
    if not 5 <= precision <= config.input_bits:
        raise ValueError(f"precision must be in 5..{config.input_bits}, not {precision}")
    return 8 - precision


def drive_slot(
    config: CoreConfig,
    vector: ArrayLike,
    *,
    precision: int,
    input_signs: int = 0b11,
    start: int = 0,
    count: int | None = None,
) -> Int:
    """Signed cycles for which each line is driven by a stored vector.

    Parameters
    ----------
    vector : signed bytes, shape (lines,)
    precision : a window lasts ``2**(precision - 1)`` cycles
    input_signs : bit 0 drives positive, bit 1 negative codes
    start, count : lines driven; ``count`` None for all from ``start``

    Returns
    -------
    int64 array, shape (lines,), magnitudes below ``2**(precision - 1)``
    """
    codes = np.asarray(vector, dtype=np.int64)
    if codes.shape != (config.lines,):
        raise ValueError(f"vector must have {config.lines} lines, not shape {codes.shape}")
    magnitude = np.minimum(np.abs(codes), 127) >> _shift(config, precision)
    line = np.arange(config.lines)
    end = config.lines if count is None else start + count
    driven = (line >= start) & (line < end)
    driven &= ((codes > 0) & bool(input_signs & 1)) | ((codes < 0) & bool(input_signs & 2))
    return np.where(driven, np.sign(codes) * magnitude, 0)


def drive_one_hot(config: CoreConfig, line: int, *, precision: int) -> Int:
    """Signed cycles of each line when ``line`` alone is driven with the largest code."""
    if not 0 <= line < config.lines:
        raise ValueError(f"line must be in 0..{config.lines - 1}, not {line}")
    magnitude = np.zeros(config.lines, dtype=np.int64)
    magnitude[line] = 127 >> _shift(config, precision)
    return magnitude


def drive_all(config: CoreConfig, *, precision: int, start: int = 0, count: int) -> Int:
    """Signed cycles of each line when ``count`` lines are driven with the largest code."""
    line = np.arange(config.lines)
    driven = (line >= start) & (line < start + count)
    return driven * (127 >> _shift(config, precision))


def waveform(
    config: CoreConfig, drive: Int, *, precision: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Positive and negative PWM lines of a window, each of shape (cycles, lines)."""
    _shift(config, precision)
    cycle = np.arange(1 << (precision - 1))[:, None]
    return cycle < drive, cycle < -drive
