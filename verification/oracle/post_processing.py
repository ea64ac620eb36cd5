# SPDX-License-Identifier: Apache-2.0
"""post-processing: activations and error vectors (docs/contract)."""

import numpy as np
from numpy.typing import ArrayLike

from phasecore.rtl.spec.core import EXPONENT_BITS, CoreConfig
from phasecore.rtl.spec.instructions import DeltaSource, Function
from phasecore.verification.oracle.activation import activation, derivative
from phasecore.verification.oracle.fixed_point import Int, round_shift, saturate

__all__ = ["PostProcessing"]

SCALE_ONE = 128
OFFSET_FRACTION_BITS = 6
"""Bits by which an offset (7.1) is shifted to the fraction of a scaled code (x.7)."""


class PostProcessing:
    """Accumulators, affine tables and saturation counters of one core.

    Codes and results are those of the processed lines only, ``start`` being the line of the
    first; :meth:`place` puts them at the destination.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        self.accumulators = np.zeros(config.accumulator_lines, dtype=np.int64)
        """Partial sums by line, in 1/128 code; behind them frames of sums."""
        self.scales = np.zeros((config.affine_tables, config.lines), dtype=np.int64)
        """Affine scales (unsigned 1.7) by table and line."""
        self.offsets = np.zeros((config.affine_tables, config.lines), dtype=np.int64)
        """Affine offsets (signed 7.1) by table and line."""
        self.accumulator_saturations = 0
        self.code_saturations = 0

    def activate(
        self,
        codes: ArrayLike,
        *,
        start: int,
        function: Function,
        shift: int = 0,
        accumulate: bool = False,
        from_slot: bool = False,
        table: int | None = None,
    ) -> Int | None:
        """ACTIVATE: new vector elements by line, or None for ``Function.NONE``.

        Parameters
        ----------
        codes : codes of the lines, from the converter or (``from_slot``) from a slot
        table : affine table, or None for scale 1.0 and the offset of the source
        """
        c = np.asarray(codes, dtype=np.int64)
        lines = self._lines(start, len(c))
        if table is None:
            a = c * SCALE_ONE
            if not from_slot:
                a += 1 << OFFSET_FRACTION_BITS
        else:
            a = c * self.scales[table, lines]
            a += self.offsets[table, lines] << OFFSET_FRACTION_BITS
        if accumulate:
            a += self.accumulators[lines]
        s = saturate(a, self.config.acc_bits)
        self.accumulator_saturations += int(np.count_nonzero(s != a))
        self.accumulators[lines] = s
        if function is Function.NONE:
            return None
        y, saturated = activation(round_shift(s, shift), function)
        self.code_saturations += saturated
        return y

    def delta(
        self,
        codes: ArrayLike,
        output: ArrayLike,
        *,
        start: int,
        function: Function,
        source: DeltaSource = DeltaSource.CODES,
        shift: int | None = None,
        exponent: int = 0,
        bias: int = 0,
    ) -> tuple[Int, int]:
        """DELTA: mantissas by line and their shared exponent.

        Parameters
        ----------
        codes : codes of the lines from the converter, or bytes of a slot
        output : activations of the same lines
        source : what the codes are
        shift : fixed right shift, or None to normalise
        exponent : of the driven slot of the window, or of the mantissas; not used of targets
        """
        c = np.asarray(codes, dtype=np.int64)
        y = np.asarray(output, dtype=np.int64)
        m = {
            DeltaSource.CODES: 2 * c + 1,
            DeltaSource.DIFFERENCE: 2 * (c - y),
            DeltaSource.MANTISSAS: 2 * c,
        }[source]
        v = m * derivative(y, function)
        self.accumulators[self._lines(start, len(c))] = v
        if shift is None:
            shift = max(0, int(np.abs(v).max()).bit_length() - 7)
        known = 0 if source is DeltaSource.DIFFERENCE else exponent
        return self._mantissas(v, shift, known + bias)

    def normalise(self, sums: Int, unit: int) -> tuple[Int, int]:
        """NORMALISE: mantissas of a pixel's sums and their shared exponent; the sums become 0."""
        shift = min(max(0, int(np.abs(sums).max()).bit_length() - 7), 24)
        found = self._mantissas(sums, shift, unit)
        sums[:] = 0
        return found

    def _mantissas(self, values: Int, shift: int, exponent: int) -> tuple[Int, int]:
        rounded = round_shift(values, shift)
        mantissas = saturate(rounded, 8, symmetric=True)
        self.code_saturations += int(np.count_nonzero(mantissas != rounded))
        return mantissas, int(saturate(exponent + shift, EXPONENT_BITS))

    def place(self, values: Int, vector: Int, *, first: int) -> None:
        """Write ``values`` into ``vector`` from line ``first`` on, modulo the lines."""
        head = min(len(values), self.config.lines - first)
        vector[first : first + head] = values[:head]
        vector[: len(values) - head] = values[head:]

    def _lines(self, start: int, count: int) -> slice:
        if not 0 <= start <= start + count - 1 < self.config.lines:
            raise ValueError(
                f"lines {start}..{start + count - 1} are outside 0..{self.config.lines - 1}"
            )
        return slice(start, start + count)
