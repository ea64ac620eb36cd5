# SPDX-License-Identifier: Apache-2.0
"""Oracle of GATHER and SCATTER (docs/contract/window_unit.md): byte by byte, as the text has it."""

import numpy as np
from numpy.typing import NDArray

from phasecore.verification.oracle.fixed_point import Int

__all__ = ["gather", "scatter"]


def gather(
    ring: NDArray[np.int8],
    slot: NDArray[np.int8],
    *,
    origin: int,
    frame: tuple[int, int],
    pixel: tuple[int, int],
    pitches: tuple[int, int],
    kernel: tuple[int, int],
    segment: int,
    first: tuple[int, int] = (0, 0),
    skip: int = 0,
    start: int = 0,
    count: int,
    largest: bool = False,
) -> None:
    """Write the window into lines ``start .. start + count - 1`` of ``slot``.

    Parameters
    ----------
    ring : bytes of the ring that holds the object
    slot : lines, of which the others are kept
    origin : byte of the object's pixel (0, 0)
    frame : height and width of the object
    pixel : row and column, in the object, of the window's pixel (0, 0)
    pitches : bytes from a pixel to the one below, and to the one right of it
    kernel : rows and columns of the window
    segment : bytes of a pixel
    first, skip : row and column of the first pixel that is taken, bytes of it that are left out
    start, count : lines
    largest : the largest of all pixels, of each its bytes from ``skip`` on
    """
    window = []
    for row in range(kernel[0]):
        for col in range(kernel[1]):
            y, x = pixel[0] + row, pixel[1] + col
            inside = 0 <= y < frame[0] and 0 <= x < frame[1]
            address = origin + y * pitches[0] + x * pitches[1]
            values = [int(ring[(address + byte) % len(ring)]) for byte in range(segment)]
            window.append(values if inside else None)
    window = window[first[0] * kernel[1] + first[1] :]
    if largest:
        seen = [values for values in window if values is not None]
        for line in range(count):
            slot[start + line] = max((values[skip + line] for values in seen), default=-128)
        return
    line = -skip
    for values in window:
        for value in values or [0] * segment:
            if 0 <= line < count:
                slot[start + line] = value
            line += 1


def scatter(
    sums: Int,
    slot: Int,
    *,
    shift: int,
    bits: int,
    origin: int,
    frame: tuple[int, int],
    pixel: tuple[int, int],
    pitches: tuple[int, int],
    kernel: tuple[int, int],
    segment: int,
    first: tuple[int, int] = (0, 0),
    skip: int = 0,
    start: int = 0,
    count: int,
) -> int:
    """Add lines ``start .. start + count - 1`` of ``slot`` to the window's sums.

    Parameters
    ----------
    sums : ring that holds the object, of accumulators of ``bits``
    shift : exponent of the slot less that of a sum
    others : as in :func:`gather`

    Returns
    -------
    sums that were saturated, or got less than they should for want of a larger shift
    """
    begins = (first[0] * kernel[1] + first[1]) * segment + skip
    saturated = 0
    for number in range(begins, begins + count):
        (row, col), channel = divmod(number // segment, kernel[1]), number % segment
        y, x = pixel[0] + row, pixel[1] + col
        if shift < 0 or not (0 <= y < frame[0] and 0 <= x < frame[1]):
            continue
        at = (origin + y * pitches[0] + x * pitches[1] + channel) % len(sums)
        mantissa = int(slot[start + number - begins])
        exact = int(sums[at]) + mantissa * 2 ** min(shift, 13)
        sums[at] = min(max(exact, -(2 ** (bits - 1))), 2 ** (bits - 1) - 1)
        saturated += bool(sums[at] != exact or (shift > 13 and mantissa))
    return saturated
