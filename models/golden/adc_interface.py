# SPDX-License-Identifier: Apache-2.0
"""ADC interface: calibrated, saturating read-out of the counts of a window, and calibration."""

from typing import Any

from phasecore.models.engine.jit import compiled
from phasecore.models.golden.arithmetic import Int
from phasecore.models.golden.fixed_point import clip, round_shift
from phasecore.models.golden.state import Block, Cores, CoreState, Geometry, Number, View
from phasecore.rtl.spec.core import CALIBRATION_WINDOWS_LOG2, DRIFT_FRACTION, GAIN_FRACTION
from phasecore.rtl.spec.instructions import Drift

__all__ = ["AdcInterface", "calibrate", "compare", "read_out"]

UNIT_SCALE = 1 << DRIFT_FRACTION
"""Scale of the gains where no drift is compensated."""

NOMINAL_LOG2 = CALIBRATION_WINDOWS_LOG2 + GAIN_FRACTION - DRIFT_FRACTION
"""log2 of what is divided for the gain, apart from the scale and the count of the reference."""

_NONE, _BASELINE = int(Drift.NONE), int(Drift.BASELINE)


@compiled
def read_out(cores: Cores, geometry: Geometry, k: int, first: int, count: int, codes: Int) -> Any:
    """Codes of lines ``first`` .. ``first + count - 1`` of the latest window, from ``codes[0]`` on.

    Returns how many of them are clipped, and how many were at the converter's limit.
    """
    scalars, counts = cores.scalars[k], cores.counts[k]
    offsets, gains = cores.adc_offsets[k], cores.adc_gains[k]
    shift = 4 + scalars.lsb_log2 - geometry.lsb_log2_min + geometry.input_bits - scalars.precision
    clipped = at_limit = 0
    for i in range(count):
        line = first + i
        difference = counts[line] - round_shift(offsets[line], shift)
        value = round_shift(difference * gains[line], GAIN_FRACTION)
        codes[i] = clip(value, -geometry.adc_max, geometry.adc_max)
        clipped += codes[i] != value
        at_limit += cores.at_limit[k, line]
    return clipped, at_limit


@compiled
def compare(scalars: Any, geometry: Geometry, drift: int, total: int) -> None:
    """Take what the array conducts as the baseline, or the scale from it."""
    scalars.adc_drift_scale = UNIT_SCALE
    if drift == _NONE:
        return
    if drift == _BASELINE:
        scalars.adc_drift_baseline = max(total, 0)
    if total <= 0 or scalars.adc_drift_baseline == 0:
        scalars.adc_calibration_errors += 1
    elif drift != _BASELINE:
        scale = ((scalars.adc_drift_baseline << DRIFT_FRACTION) + (total >> 1)) // total
        scalars.adc_drift_scale = min(scale, (1 << geometry.drift_scale_bits) - 1)


@compiled
def calibrate(cores: Cores, geometry: Geometry, k: int, zero: Int, reference: Int) -> None:
    """Set the registers of a core from the two sums of its counts."""
    limit = 1 << (geometry.calibration_offset_bits - 1)
    unit = 1 << (NOMINAL_LOG2 + geometry.reference_count_log2)
    nominal = unit * cores.scalars[k].adc_drift_scale
    for line in range(geometry.lines):
        difference = reference[line] - zero[line]
        gain = 1 << GAIN_FRACTION
        if difference > 0:
            gain = (nominal + (difference >> 1)) // difference
        else:
            cores.scalars[k].adc_calibration_errors += 1
        cores.adc_offsets[k, line] = clip(zero[line], -limit, limit - 1)
        cores.adc_gains[k, line] = min(gain, (1 << geometry.gain_bits) - 1)


class AdcInterface(Block):
    """Calibration registers of all lines and the converter's counters.

    Attributes
    ----------
    offsets : int64 array, shape (lines,)
        1/16 count of a full window at ``lsb_log2_min``.
    gains : int64 array, shape (lines,)
        Unsigned 2.8.
    clipped : codes clipped so far
    overranges : codes so far of lines that were at the converter's limit in a cycle of their window
    calibration_errors : lines, over all calibrations, whose reference counted nothing, and drift
        reads without a conductance or a baseline
    drift_baseline : what the array conducted at the baseline; 0 for nothing, or if there is none
    drift_scale : of the gains, unsigned 2.10
    """

    offsets, gains = View("adc_offsets"), View("adc_gains")
    clipped, overranges = Number("adc_clipped"), Number("adc_overranges")
    calibration_errors = Number("adc_calibration_errors")
    drift_baseline, drift_scale = Number("adc_drift_baseline"), Number("adc_drift_scale")

    def __init__(self, state: CoreState, number: int):
        super().__init__(state, number)
        self.gains = 1 << GAIN_FRACTION
        self.drift_scale = UNIT_SCALE
