# SPDX-License-Identifier: Apache-2.0
"""Read-out and calibration of the converters; see ``models/adc_interface.py``."""

from models.adc_interface import REFERENCE_COUNT
from models.arithmetic import Int
from models.compiled.arithmetic import clip, round_shift, saturate_code
from models.compiled.jit import compiled
from models.compiled.state import Cores, Geometry
from rtl.config import CALIBRATION_WINDOWS_LOG2, GAIN_FRACTION

__all__ = ["calibrate", "read_out"]

NOMINAL = REFERENCE_COUNT << (CALIBRATION_WINDOWS_LOG2 + GAIN_FRACTION)


@compiled
def read_out(
    cores: Cores, geometry: Geometry, k: int, first: int, count: int, codes: Int
) -> int:
    """Codes of lines ``first`` .. ``first + count - 1`` of the latest window, from ``codes[0]`` on.

    Returns how many of them are clipped.
    """
    scalars, counts = cores.scalars[k], cores.counts[k]
    offsets, gains = cores.adc_offsets[k], cores.adc_gains[k]
    shift = 4 + scalars.range - geometry.range_min + geometry.input_bits - scalars.precision
    clipped = 0
    for i in range(count):
        line = first + i
        difference = counts[line] - round_shift(offsets[line], shift)
        value = round_shift(difference * gains[line], GAIN_FRACTION)
        codes[i] = saturate_code(value)
        clipped += codes[i] != value
    return clipped


@compiled
def calibrate(cores: Cores, geometry: Geometry, k: int, zero: Int, reference: Int) -> None:
    """Set the registers of a core from the two sums of its counts."""
    limit = 1 << (geometry.calibration_offset_bits - 1)
    for line in range(geometry.lines):
        difference = reference[line] - zero[line]
        gain = 1 << GAIN_FRACTION
        if difference > 0:
            gain = (NOMINAL + (difference >> 1)) // difference
        else:
            cores.scalars[k].adc_calibration_errors += 1
        cores.adc_offsets[k, line] = clip(zero[line], -limit, limit - 1)
        cores.adc_gains[k, line] = min(gain, (1 << geometry.gain_bits) - 1)
