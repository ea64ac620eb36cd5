# SPDX-License-Identifier: Apache-2.0
"""ADC interface: calibrated, saturating read-out of the counts of a window, and calibration."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phasecore.rtl.spec.core import (
    CALIBRATION_WINDOWS_LOG2,
    DRIFT_FRACTION,
    GAIN_FRACTION,
    CoreConfig,
)
from phasecore.rtl.spec.instructions import Drift
from phasecore.verification.oracle.fixed_point import Int, round_shift, saturate

__all__ = ["AdcInterface"]

UNIT_SCALE = 1 << DRIFT_FRACTION


class AdcInterface:
    """Calibration registers of all lines and the converter's counters.

    Attributes
    ----------
    offsets : int64 array, shape (lines,)
        1/16 count of a full window at ``lsb_log2_min``.
    gains : int64 array, shape (lines,)
        Unsigned 2.8.
    clipped : int
        Codes clipped so far.
    overranges : int
        Codes so far of lines that were at the converter's limit in a cycle of their window.
    calibration_errors : int
        Lines, over all calibrations, whose reference counted nothing, and drift reads without a
        conductance or a baseline.
    drift_baseline : int
        What the array conducted at the baseline; 0 for nothing, or if there is none.
    drift_scale : int
        Of the gains, unsigned 2.10.
    """

    offsets: Int
    gains: Int

    def __init__(self, config: CoreConfig):
        self.config = config
        self.offsets = np.zeros(config.lines, dtype=np.int64)
        self.gains = np.full(config.lines, 1 << GAIN_FRACTION, dtype=np.int64)
        self.clipped = 0
        self.overranges = 0
        self.calibration_errors = 0
        self.drift_baseline = 0
        self.drift_scale = UNIT_SCALE

    def read_out(
        self,
        counts: ArrayLike,
        lsb_log2: int,
        precision: int,
        mask: NDArray[np.bool_] | None = None,
        at_limit: ArrayLike = False,
    ) -> Int:
        """Codes of the final counts of a window.

        Parameters
        ----------
        counts : shape (lines,)
        lsb_log2, precision : of the window
        mask : shape (lines,); lines whose clipped codes are counted, None for all
        at_limit : shape (lines,); lines that were at the converter's limit in a cycle

        Returns
        -------
        int64 array, shape (lines,), at most ``adc_max`` up or down
        """
        config = self.config
        if not config.lsb_log2_min <= lsb_log2 <= config.lsb_log2_max:
            raise ValueError(
                f"lsb_log2 must be in {config.lsb_log2_min}..{config.lsb_log2_max}, not {lsb_log2}"
            )
        if not 5 <= precision <= config.input_bits:
            raise ValueError(f"precision must be in 5..{config.input_bits}, not {precision}")
        shift = 4 + (lsb_log2 - config.lsb_log2_min) + (config.input_bits - precision)
        difference = np.asarray(counts, dtype=np.int64) - round_shift(self.offsets, shift)
        value = round_shift(difference * self.gains, GAIN_FRACTION)
        codes = saturate(value, config.adc_bits, symmetric=True)
        counted = True if mask is None else mask
        self.clipped += int(np.count_nonzero((codes != value) & counted))
        self.overranges += int(np.count_nonzero(np.asarray(at_limit) & counted))
        return codes

    def compare(self, drift: Drift, total: int) -> int:
        """Take what the array conducts as the baseline, or the scale from it.

        Parameters
        ----------
        drift : what to do; NONE takes the scale back, whatever ``total`` is
        total : counts of a drift read, summed over all lines, of G+ less those of G-

        Returns
        -------
        int
            1 if there is nothing to compare; the scale is 1 then.
        """
        self.drift_scale = UNIT_SCALE
        if drift is Drift.NONE:
            return 0
        if drift is Drift.BASELINE:
            self.drift_baseline = max(total, 0)
        elif total > 0:
            scale = ((self.drift_baseline << DRIFT_FRACTION) + (total >> 1)) // total
            if self.drift_baseline:
                self.drift_scale = min(scale, (1 << self.config.drift_scale_bits) - 1)
        error = int(total <= 0 or self.drift_baseline == 0)
        self.calibration_errors += error
        return error

    def calibrate(self, sum0: ArrayLike, sum1: ArrayLike) -> int:
        """Set the registers from two measurements, the gains with the scale.

        Parameters
        ----------
        sum0, sum1 : shape (lines,)
            Counts summed over the calibration windows without a current and with the reference.

        Returns
        -------
        int
            Lines whose reference counted nothing; they keep a gain of 1.
        """
        zero = np.asarray(sum0, dtype=np.int64)
        difference = np.asarray(sum1, dtype=np.int64) - zero
        failed = difference <= 0
        divisor = np.where(failed, 1, difference)
        log2 = self.config.reference_count_log2 + CALIBRATION_WINDOWS_LOG2 + GAIN_FRACTION
        nominal = (1 << (log2 - DRIFT_FRACTION)) * self.drift_scale
        gain = np.minimum((nominal + (divisor >> 1)) // divisor, (1 << self.config.gain_bits) - 1)
        self.offsets = saturate(zero, self.config.calibration_offset_bits)
        self.gains = np.where(failed, 1 << GAIN_FRACTION, gain)
        errors = int(np.count_nonzero(failed))
        self.calibration_errors += errors
        return errors
