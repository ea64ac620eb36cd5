# SPDX-License-Identifier: Apache-2.0
"""Input driver: golden model, and RTL against it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasecore.rtl.core.analog.input_driver import InputDriver
from phasecore.rtl.lib.verilog import to_verilog
from phasecore.rtl.spec.core import DEFAULT, SMALL, TINY
from phasecore.verification.oracle.input_driver import (
    drive_all,
    drive_one_hot,
    drive_slot,
    waveform,
)

NARROW = TINY.replace(input_bits=6, post_lanes=16, devices_per_polarity=4)


@pytest.mark.parametrize(("config", "windows"), [(TINY, 30), (SMALL, 20), (NARROW, 40)])
def test_rtl_matches_golden_model(simulate, config, windows):
    simulate(
        InputDriver(config),
        config,
        bench="phasecore.verification.core.tb_input_driver",
        top="input_driver",
        env={"WINDOWS": str(windows)},
    )


def test_default_preset_generates_verilog():
    text = to_verilog(InputDriver(DEFAULT), name="input_driver")
    assert "output [255:0] pwm_positive" in text


CODES = np.array([127, -127, -128, 100, -100, 7, -7, 0, *[1] * 8])


@pytest.mark.parametrize(
    ("precision", "signs", "expected"),
    [
        (8, 3, [127, -127, -127, 100, -100, 7, -7, 0, *[1] * 8]),
        (7, 3, [63, -63, -63, 50, -50, 3, -3, 0, *[0] * 8]),
        (6, 3, [31, -31, -31, 25, -25, 1, -1, 0, *[0] * 8]),
        (5, 3, [15, -15, -15, 12, -12, 0, 0, 0, *[0] * 8]),
        (8, 1, [127, 0, 0, 100, 0, 7, 0, 0, *[1] * 8]),
        (8, 2, [0, -127, -127, 0, -100, 0, -7, 0, *[0] * 8]),
        (8, 0, [0] * 16),
    ],
)
def test_magnitudes_by_hand(precision, signs, expected):
    drive = drive_slot(TINY, CODES, precision=precision, input_signs=signs)
    assert drive.tolist() == expected


def test_lines_outside_the_segment_are_silent():
    drive = drive_slot(TINY, np.full(16, -3), precision=8, start=2, count=3)
    assert drive.tolist() == [0, 0, -3, -3, -3, *[0] * 11]


def test_one_hot_by_hand():
    assert drive_one_hot(TINY, 3, precision=6).tolist() == [0, 0, 0, 31, *[0] * 12]


def test_all_lines_by_hand():
    assert drive_all(TINY, precision=8, count=16).tolist() == [127] * 16
    assert drive_all(NARROW, precision=5, start=2, count=3).tolist() == [0, 0, *[15] * 3, *[0] * 11]


def test_waveform_by_hand():
    drive = np.array([2, -1, 0, 15, *[0] * 12])
    positive, negative = waveform(TINY, drive, precision=5)
    assert positive.shape == (16, 16)
    assert positive[:, 0].tolist() == [True, True, *[False] * 14]
    assert negative[:, 1].tolist() == [True, *[False] * 15]
    assert positive[:, 3].tolist() == [*[True] * 15, False]


@given(
    vector=st.lists(st.integers(-128, 127), min_size=16, max_size=16),
    precision=st.integers(5, 8),
    signs=st.integers(0, 3),
)
def test_charge_is_the_drive(vector, precision, signs):
    """Cycles driven positive minus cycles driven negative are the signed drive; never both."""
    drive = drive_slot(TINY, vector, precision=precision, input_signs=signs)
    positive, negative = waveform(TINY, drive, precision=precision)
    assert not (positive & negative).any()
    assert (positive.sum(axis=0) - negative.sum(axis=0) == drive).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: drive_slot(TINY, np.zeros(15), precision=8),
            r"^vector must have 16 lines, not shape \(15,\)$",
        ),
        (lambda: drive_slot(TINY, CODES, precision=4), r"^precision must be in 5\.\.8, not 4$"),
        (
            lambda: waveform(NARROW, np.zeros(16, int), precision=7),
            r"^precision must be in 5\.\.6, not 7$",
        ),
        (lambda: drive_one_hot(TINY, 16, precision=8), r"^line must be in 0\.\.15, not 16$"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
