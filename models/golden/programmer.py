# SPDX-License-Identifier: Apache-2.0
"""Golden model of the programmer: blind pulses, selective refresh, program-and-verify."""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike

from phasecore.models.golden.fixed_point import Int
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import Segment

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
        entries = np.array(list(pulses), dtype=np.int64).reshape(-1, 3)
        row, col, count = np.repeat(entries, np.abs(entries[:, 2]), axis=0).T
        negative = (count < 0).astype(np.int64)
        device = self._select(negative)
        self.dirty[row] = True
        self.set_pulses += len(row)
        # Devices have their own event counters, so only pulses of one device need their order.
        weight = row * self.config.cols + col
        for turn in _turns((weight * 2 + negative) * self.config.devices_per_polarity + device):
            self._set_pulse(row[turn], col[turn], negative[turn], device[turn])
        return np.stack([row, col, negative, device], axis=1)

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
        device = np.zeros_like(negative)
        for kind in (0, 1):
            pulsed = negative == kind
            count = int(np.count_nonzero(pulsed))
            device[pulsed] = self.selection[kind] + np.arange(count)
            self.selection[kind] = (self.selection[kind] + count) % self.config.devices_per_polarity
        return device % self.config.devices_per_polarity


def _turns(devices: Int) -> list[Int]:
    """Positions of the first occurrence of every device number, of the second, and so on."""
    _, which, counts = np.unique(devices, return_inverse=True, return_counts=True)
    order = np.argsort(which, kind="stable")
    turn = np.empty_like(which)
    turn[order] = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    return [np.flatnonzero(turn == number) for number in range(int(turn.max(initial=-1)) + 1)]
