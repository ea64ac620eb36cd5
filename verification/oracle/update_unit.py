# SPDX-License-Identifier: Apache-2.0
"""The update unit: chi memory, outer product, threshold transfer."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import Segment
from phasecore.verification.oracle.fixed_point import Int, round_shift, saturate

__all__ = ["UpdateUnit"]

RIGHT_SHIFT_MAX = 16
"""A product of two bytes shifted right by more is 0."""


class UpdateUnit:
    """chi of every weight of a core, and what OUTER and TRANSFER do to it.

    Pulses are returned as an int64 array of shape (n, 3): row, column and signed count, in the
    order in which the hardware emits them.

    Attributes
    ----------
    chi : int32 array (rows, cols)
    products : chi words (``update_lanes`` weights) that outer products have visited
    chi_saturations : sums clipped to ``chi_bits``, and increments of :meth:`add`
    transfer_saturations : visits that left a threshold or more in chi
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        self.chi: NDArray[np.int32] = np.zeros((config.rows, config.cols), dtype=np.int32)
        self.products = 0
        self.chi_saturations = 0
        self.transfer_saturations = 0

    def outer(
        self, segment: Segment, x: ArrayLike, d: ArrayLike, exponent: int, transfer: bool
    ) -> Int:
        """Add the outer product of ``x`` and ``d`` to the chi of a segment.

        Parameters
        ----------
        segment : rows, columns, threshold and ``chi_shift``
        x, d : signed bytes by row and by column of the array, as they lie in their slots
        exponent : shared exponent of ``d``
        transfer : threshold the visited rows in the same pass

        Returns
        -------
        pulses, shape (n, 3)
        """
        row_codes = np.asarray(x, dtype=np.int64)[segment.rows]
        rows = np.flatnonzero(row_codes)
        words = self._words(segment)
        self.products += len(rows) * words
        if not len(rows):
            return np.zeros((0, 3), dtype=np.int64)
        col_codes = np.asarray(d, dtype=np.int64)[segment.cols]
        increments = self._increments(row_codes[rows], col_codes, exponent + segment.chi_shift)
        rows += segment.row_start
        total = self.chi[rows, segment.cols] + increments
        chi = saturate(total, self.config.chi_bits)
        self.chi_saturations += int(np.count_nonzero(chi != total))
        pulses = self._shed(chi, rows, segment) if transfer else np.zeros((0, 3), dtype=np.int64)
        self.chi[rows, segment.cols] = chi
        return pulses

    def transfer(self, segment: Segment) -> Int:
        """Threshold every chi of a segment and return its pulses, shape (n, 3)."""
        rows = np.arange(segment.row_start, segment.row_start + segment.row_count)
        return self._shed(self.chi[segment.rows, segment.cols], rows, segment)

    def _words(self, segment: Segment) -> int:
        lanes = self.config.update_lanes
        last = segment.col_start + segment.col_count - 1
        return last // lanes - segment.col_start // lanes + 1

    def _increments(self, x: Int, d: Int, shift: int) -> Int:
        """Saturated chi increments of rows ``x`` and columns ``d``."""
        product = np.multiply.outer(x, d)
        if shift < -RIGHT_SHIFT_MAX:
            return np.zeros_like(product)
        # Any product but 0 leaves chi_bits when it is shifted by as much.
        shifted = round_shift(product, -min(shift, self.config.chi_bits))
        return saturate(shifted, self.config.chi_bits)

    def _shed(self, chi: NDArray[np.signedinteger], rows: Int, segment: Segment) -> Int:
        """Take the pulses out of ``chi`` in place; its rows are rows ``rows`` of the array."""
        row, col = np.nonzero(np.abs(chi) >= segment.threshold)
        before = chi[row, col]
        held = np.abs(before) // segment.threshold
        count = np.sign(before) * np.minimum(held, self.config.pulse_max)
        chi[row, col] = before - count * segment.threshold
        self.transfer_saturations += int(np.count_nonzero(held > self.config.pulse_max))
        return np.stack([rows[row], col + segment.col_start, count], axis=1)
