# SPDX-License-Identifier: Apache-2.0
"""The programmer: blind pulses, selective refresh, program-and-verify."""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike

from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import Segment
from phasecore.verification.oracle.fixed_point import Int

__all__ = ["Programmer"]

Devices = Callable[[Int, Int, Int, Int], object]
"""Pulses devices given by equally long arrays ``(row, col, negative, device)``, all different."""

POSITIVE, NEGATIVE = 1, 2
"""Polarity masks of a row read."""


class Programmer:
    """Decides which device is pulsed when; the crossbar is what the three functions make of it.

    Parameters
    ----------
    config : geometry
    read_row : ``read_row(row, polarities)`` runs one window with that row alone driven and returns
        the converter's signed codes by column (any beyond ``cols`` are ignored); polarities is 1
        for G+ and 2 for G-
    set_pulse, reset : one SET (RESET) of every device in the arrays ``(row, col, negative,
        device)``, which are in the order of selection; no device is in one call twice

    Attributes
    ----------
    selection : devices that take the next potentiation and the next depression
    dirty : bool array (rows,), rows pulsed since their last refresh
    set_pulses, reset_pulses : devices pulsed
    refreshed : worn pairs RESET
    unverified : columns that took their last pulse without having reached their target
    """

    def __init__(
        self,
        config: CoreConfig,
        *,
        read_row: Callable[[int, int], ArrayLike],
        set_pulse: Devices,
        reset: Devices,
    ):
        self.config = config
        self._read_row = read_row
        self._set_pulse = set_pulse
        self._reset = reset
        self.selection = [0, 0]
        self.dirty = np.zeros(config.rows, dtype=np.bool_)
        self.set_pulses = 0
        self.reset_pulses = 0
        self.refreshed = 0
        self.unverified = 0

    def pulses(self, pulses: Iterable[tuple[int, int, int]] | Int) -> Int:
        """Apply blind pulses (row, col, signed count) in order.

        Returns
        -------
        int64 array (n, 4) : row, col, negative and device of every single pulse, in order
        """
        done = []
        for row, col, count in pulses:
            self.dirty[row] = True
            for _ in range(abs(int(count))):
                place = np.array([[row], [col], [count < 0]], dtype=np.int64)
                device = self._select(place[2])
                self._set_pulse(*place, device)
                self.set_pulses += 1
                done.append([*place[:, 0], device[0]])
        return np.array(done, dtype=np.int64).reshape(-1, 4)

    def refresh(self, segment: Segment, all_rows: bool, high: int, low: int) -> None:
        """Rebuild the worn pairs of the segment's dirty rows (or of all its rows).

        A pair is worn when the larger of its codes exceeds ``high`` and the smaller ``low``.
        """
        for row in range(segment.row_start, segment.row_start + segment.row_count):
            if not (all_rows or self.dirty[row]):
                continue
            above = self._read(row, POSITIVE)[segment.cols]
            below = self._read(row, NEGATIVE)[segment.cols]
            worn = (np.maximum(above, below) > high) & (np.minimum(above, below) > low)
            if worn.any():
                self.refreshed += int(np.count_nonzero(worn))
                cols = segment.col_start + np.flatnonzero(worn)
                self._rebuild(row, cols, (above - below)[worn])
            self.dirty[row] = False

    def program(self, segment: Segment, row: int, targets: ArrayLike) -> None:
        """Set the segment's columns of a row to ``targets`` (a vector, one code per line)."""
        codes = np.asarray(targets, dtype=np.int64)[segment.cols]
        limit = self.config.code_max
        cols = np.arange(segment.col_start, segment.col_start + segment.col_count)
        self._rebuild(row, cols, np.clip(codes, -limit, limit))

    def _rebuild(self, row: int, cols: Int, targets: Int) -> None:
        """RESET both polarities of ``cols``, then SET one of them up to its target."""
        copies = 2 * self.config.devices_per_polarity
        negative, device = np.divmod(
            np.tile(np.arange(copies), len(cols)), self.config.devices_per_polarity
        )
        self._reset(np.full(len(negative), row), np.repeat(cols, copies), negative, device)
        self.reset_pulses += len(negative)
        pending = targets != 0
        for _ in range(self.config.verify_iterations):
            for polarity, side in [(POSITIVE, targets > 0), (NEGATIVE, targets < 0)]:
                if (pending & side).any():
                    codes = self._read(row, polarity)[cols]
                    pending &= ~(side & (codes >= np.abs(targets)))
            if not pending.any():
                return
            negative = (targets[pending] < 0).astype(np.int64)
            rows = np.full(len(negative), row)
            self._set_pulse(rows, cols[pending], negative, self._select(negative))
            self.set_pulses += len(negative)
        self.unverified += int(np.count_nonzero(pending))

    def _read(self, row: int, polarity: int) -> Int:
        """Conductance codes of one polarity of a row, by column."""
        codes = np.asarray(self._read_row(row, polarity), dtype=np.int64)
        return -codes if polarity == NEGATIVE else codes

    def _select(self, negative: Int) -> Int:
        """Devices named by the selection counters for pulses of these kinds, in this order."""
        devices = []
        for kind in negative.tolist():
            devices.append(self.selection[kind])
            self.selection[kind] = (self.selection[kind] + 1) % self.config.devices_per_polarity
        return np.array(devices, dtype=np.int64)
