# SPDX-License-Identifier: Apache-2.0
"""ADC interface: golden model, and RTL against it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasecore.rtl.core.analog.adc_interface import AdcInterface
from phasecore.rtl.lib.verilog import to_verilog
from phasecore.rtl.spec.core import DEFAULT, SMALL, TINY
from phasecore.rtl.spec.instructions import Drift
from phasecore.verification.oracle.adc_interface import AdcInterface as Model

NARROW = TINY.replace(
    input_bits=6, adc_bits=6, increment_bits=7, post_lanes=16, lsb_log2_min=8, lsb_log2_max=12
)


@pytest.mark.parametrize(
    "config",
    [TINY, pytest.param(SMALL, marks=pytest.mark.full), NARROW],
    ids=["tiny", "small", "narrow"],
)
def test_rtl_matches_golden_model(simulate, config):
    simulate(
        AdcInterface(config),
        config,
        bench="phasecore.verification.core.tb_adc_interface",
        top="adc_interface",
    )


def test_default_preset_generates_verilog():
    text = to_verilog(AdcInterface(DEFAULT), name="adc_interface")
    bits = DEFAULT.lines * DEFAULT.increment_bits
    assert f"input [{bits - 1}:0] increments" in text


def lines(*values):
    """One value per line of the tiny core, the rest zero."""
    return np.array([*values, *[0] * (TINY.lines - len(values))])


def test_reset_registers_pass_counts_and_clip_symmetrically():
    model = Model(TINY)
    codes = model.read_out(lines(5, -5, 127, 128, -127, -128, 5000), 10, 8)
    assert codes.tolist() == lines(5, -5, 127, 127, -127, -127, 127).tolist()
    assert model.clipped == 3


@pytest.mark.parametrize(("adc_bits", "code"), [(4, 7), (5, 15), (7, 63)])
def test_codes_of_fewer_bits_saturate(adc_bits, code):
    model = Model(TINY.replace(adc_bits=adc_bits))
    codes = model.read_out(lines(code, code + 1, -code - 1, 5), 10, 8)
    assert codes[:4].tolist() == [code, code, -code, 5]
    assert model.clipped == 2


def test_clips_and_limits_are_counted_within_the_mask():
    model = Model(TINY)
    mask, at_limit = lines(1, 1).astype(bool), lines(0, 1, 1).astype(bool)
    model.read_out(lines(200, -200, 200), 10, 8, mask, at_limit)
    assert (model.clipped, model.overranges) == (2, 1)


@pytest.mark.parametrize(
    ("lsb_log2", "precision", "offset", "count", "code"),
    [
        (10, 8, 16, 0, -1),  # 1 count
        (10, 8, 24, 0, -2),  # 1.5 counts, to even
        (10, 8, 40, 0, -2),  # 2.5 counts, to even
        (10, 8, -24, 100, 102),
        (12, 8, 160, 0, -2),  # 10 counts at the finest range are 2.5 at this one
        (10, 6, 224, 0, -4),  # 14 counts of a full window are 3.5 of a quarter of it
        (13, 5, -8191, 0, 8),  # 512 counts over 8 and 8
    ],
)
def test_offsets_by_hand(lsb_log2, precision, offset, count, code):
    model = Model(TINY)
    model.offsets[3] = offset
    assert model.read_out(lines(0, 0, 0, count), lsb_log2, precision)[3] == code


@pytest.mark.parametrize(
    ("gain", "count", "code"),
    [(384, 3, 4), (384, 5, 8), (384, -3, -4), (128, 5, 2), (1023, 32, 127), (1023, 31, 124)],
)
def test_gains_by_hand(gain, count, code):
    model = Model(TINY)
    model.gains[0] = gain
    assert model.read_out(lines(count), 10, 8)[0] == code


def test_a_full_window_of_a_narrower_core_has_the_full_offset():
    model = Model(NARROW)
    model.offsets[0] = 48
    assert model.read_out(lines(0), 8, 6)[0] == -3
    assert model.read_out(lines(0), 8, 5)[0] == -2  # 1.5, to even


@pytest.mark.parametrize(
    ("sum0", "sum1", "offset", "gain"),
    [
        (0, 16384, 0, 256),  # exactly 1024 per window
        (160, 16544, 160, 256),
        (-1600, 18048, -1600, 213),  # 19648: 213.47
        (0, 12288, 0, 341),  # 341.33
        (0, 10923, 0, 384),  # 383.99
        (0, 4100, 0, 1023),  # 1023.0
        (0, 1, 0, 1023),
        (0, 2**24, 0, 0),  # 0.25
        (0, 2**23, 0, 1),  # 0.5, up
        (9000, 25384, 8191, 256),
        (-9000, 7384, -8192, 256),
    ],
)
def test_calibration_by_hand(sum0, sum1, offset, gain):
    model = Model(TINY)
    model.calibrate(lines(sum0), np.where(np.arange(16) == 0, sum1, 16384))
    assert (model.offsets[0], model.gains[0]) == (offset, gain)
    assert model.calibration_errors == 0


def test_dead_and_inverted_lines_get_gain_one_and_are_counted():
    model = Model(TINY)
    model.gains[:] = 300
    assert model.calibrate(lines(100, 100), lines(100, 99)) == 16
    assert model.gains.tolist() == [256] * 16
    assert model.offsets.tolist() == lines(100, 100).tolist()


@pytest.mark.parametrize(
    ("baseline", "total", "scale", "gain"),
    [
        (1000, 1000, 1024, 256),
        (1000, 800, 1280, 320),
        (3, 2, 1536, 384),
        (1000, 999, 1025, 256),  # 1025.03; 256.25
        (2, 3, 683, 171),  # 682.67; 170.75
        (1, 2048, 1, 0),  # 0.5, up; 0.25
        (1, 2049, 0, 0),
        (1000, 251, 4080, 1020),
        (1000, 1, 4095, 1023),  # 1023.75
    ],
)
def test_drift_by_hand(baseline, total, scale, gain):
    model = Model(TINY)
    assert model.compare(Drift.BASELINE, baseline) == 0
    assert (model.drift_baseline, model.drift_scale) == (baseline, 1024)
    assert model.compare(Drift.COMPENSATE, total) == 0
    model.calibrate(lines(), np.full(16, 16384))
    assert (model.drift_scale, model.gains[0]) == (scale, gain)
    assert model.compare(Drift.NONE, total) == model.calibration_errors == 0
    assert (model.drift_baseline, model.drift_scale) == (baseline, 1024)


def test_the_scaled_gain_is_rounded_once():
    """12100 counts: 346.65 and 433.30 with 1.25, where 347 with 1.25 would round to 434."""
    model = Model(TINY)
    model.drift_scale = 1280
    model.calibrate(lines(), np.full(16, 12100))
    assert model.gains[0] == 433


@pytest.mark.parametrize(
    ("baseline", "drift", "total", "after"),
    [
        (0, Drift.COMPENSATE, 500, 0),
        (500, Drift.COMPENSATE, 0, 500),
        (500, Drift.COMPENSATE, -1, 500),
        (500, Drift.BASELINE, 0, 0),
        (500, Drift.BASELINE, -5, 0),
    ],
)
def test_drift_without_a_comparison(baseline, drift, total, after):
    model = Model(TINY)
    model.drift_baseline, model.drift_scale = baseline, 2000
    assert model.compare(drift, total) == model.calibration_errors == 1
    assert (model.drift_baseline, model.drift_scale) == (after, 1024)


@given(gain=st.integers(300, 3000), offset=st.integers(-500, 500), value=st.integers(-120, 120))
def test_calibration_undoes_gain_and_offset(gain, offset, value):
    """A line whose counts are ``offset + value * gain / 1024`` reads ``value`` within a step."""
    model = Model(TINY)
    model.calibrate(np.full(16, 16 * offset), np.full(16, 16 * (offset + gain)))
    code = model.read_out(np.full(16, offset + round(value * gain / 1024)), 10, 8)[0]
    assert abs(code - value) <= 1 + 1024 / gain


@pytest.mark.parametrize(
    ("lsb_log2", "precision", "message"),
    [
        (9, 8, r"^lsb_log2 must be in 10\.\.21, not 9$"),
        (22, 8, r"^lsb_log2 must be in 10\.\.21, not 22$"),
        (10, 4, r"^precision must be in 5\.\.8, not 4$"),
        (10, 9, r"^precision must be in 5\.\.8, not 9$"),
    ],
)
def test_errors(lsb_log2, precision, message):
    with pytest.raises(ValueError, match=message):
        Model(TINY).read_out(lines(), lsb_log2, precision)
