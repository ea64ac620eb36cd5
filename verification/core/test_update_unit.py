# SPDX-License-Identifier: Apache-2.0
"""Update unit: benches, and the model by hand-worked vectors and properties."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phasecore.rtl.core.digital.update_unit import UpdateUnit
from phasecore.rtl.spec.core import SMALL, TINY
from phasecore.rtl.spec.instructions import Segment
from phasecore.verification.oracle.update_unit import UpdateUnit as Model

NARROW = TINY.replace(chi_bits=8, update_lanes=4, pulse_bits=1)
WIDE = TINY.replace(rows=32, chi_bits=24, update_lanes=16, pulse_bits=4)


@pytest.mark.parametrize(
    ("config", "commands"),
    [
        pytest.param(TINY, 60, id="tiny"),
        pytest.param(SMALL, 20, id="small", marks=pytest.mark.full),
        pytest.param(NARROW, 60, id="narrow"),
        pytest.param(WIDE, 40, id="wide"),
    ],
)
def test_unit_matches_the_model(simulate, config, commands):
    simulate(
        UpdateUnit(config),
        config,
        bench="phasecore.verification.core.tb_update_unit",
        top="update_unit",
        env={"COMMANDS": str(commands)},
    )


def vector(**codes):
    """A slot of TINY with some lines set: ``vector(l3=7)``."""
    slot = np.zeros(TINY.lines, dtype=np.int64)
    for name, code in codes.items():
        slot[int(name[1:])] = code
    return slot


def segment(**fields):
    return Segment(**{
        "row_start": 0, "row_count": 16, "col_start": 0, "col_count": 16, "threshold": 1000,
        **fields,
    })  # fmt: skip


def test_outer_product_by_hand():
    model = Model(TINY)
    x, d = vector(l2=100, l5=-3), vector(l1=-50, l15=7)
    pulses = model.outer(segment(), x, d, exponent=0, transfer=True)
    # -5000 is five thresholds; 700, 150 and -21 are below one.
    assert pulses.tolist() == [[2, 1, -5]]
    assert (model.chi[2, 1], model.chi[2, 15]) == (0, 700)
    assert (model.chi[5, 1], model.chi[5, 15]) == (150, -21)
    assert np.count_nonzero(model.chi) == 3
    # 2 rows of 2 words of 8 lanes
    assert (model.products, model.chi_saturations, model.transfer_saturations) == (4, 0, 0)


@pytest.mark.parametrize(
    ("x", "d", "exponent", "chi_shift", "increment"),
    [
        (5, 4, 0, 0, 20),
        (5, 4, -3, 0, 2),  # 2.5, a tie, to even
        (7, 4, 0, -3, 4),  # 3.5, a tie, to even
        (-5, 4, -2, -1, -2),  # -2.5
        (-7, 4, -3, 0, -4),  # -3.5
        (-21, 1, -3, 0, -3),  # -2.625
        (5, -4, 2, 3, -640),
        (127, 127, 1, 0, 32258),
        (127, 127, 2, 0, 32767),  # 64516
        (127, -127, 2, 0, -32768),
        (-1, 1, 15, 0, -32768),
        (1, 1, 15, 0, 32767),
        (1, 1, 127, 127, 32767),
        (-1, 1, 127, 127, -32768),
        (-128, -128, -15, 0, 0),  # a half, a tie, to even
        (-128, -128, -14, 0, 1),
        (127, 127, -13, 0, 2),  # 1.97
        (127, 127, -17, 0, 0),
        (127, 127, -128, -128, 0),
    ],
)
def test_increments_by_hand(x, d, exponent, chi_shift, increment):
    model = Model(TINY)
    model.outer(segment(chi_shift=chi_shift), vector(l0=x), vector(l0=d), exponent, False)
    assert model.chi[0, 0] == increment


def test_an_increment_is_clipped_before_it_is_added():
    """5985 to 127, whatever the shift's sign; only the sum's saturation is counted."""
    for exponent, expected in ((-1, 3), (0, 3), (-7, -30)):
        model = Model(NARROW)
        model.chi[0, 0] = -124
        model.outer(segment(threshold=1), vector(l0=126), vector(l0=95), exponent, False)
        assert (model.chi[0, 0], model.chi_saturations) == (expected, 0)


def test_saturation_and_transfer_by_hand():
    model = Model(TINY)
    model.chi[3, 3:6] = [32000, -32768, -5000]
    model.chi[4, 0] = 999
    area = segment(row_start=3, row_count=1, col_start=3, col_count=3, threshold=600)
    model.outer(area, vector(l3=100), vector(l3=10, l4=-1, l5=0), 0, False)
    assert model.chi[3, 3:6].tolist() == [32767, -32768, -5000]
    assert model.chi_saturations == 2
    # 54, 54 and 8 thresholds, of which one visit sheds 7.
    assert model.transfer(area).tolist() == [[3, 3, 7], [3, 4, -7], [3, 5, -7]]
    assert model.chi[3, 3:6].tolist() == [28567, -28568, -800]
    assert model.transfer_saturations == 3
    assert model.transfer(segment(threshold=999)).tolist() == [[3, 3, 7], [3, 4, -7], [4, 0, 1]]
    assert model.chi[4, 0] == 0


def test_zero_rows_are_skipped_even_with_transfer():
    model = Model(TINY)
    model.chi[:] = 1500
    pulses = model.outer(segment(), vector(l9=1), vector(l0=1), 0, True)
    assert pulses.tolist() == [[9, col, 1] for col in range(16)]
    assert len(model.transfer(segment())) == 15 * 16


@given(
    chi=st.integers(-(2**15), 2**15 - 1),
    x=st.integers(-128, 127),
    d=st.integers(-128, 127),
    shift=st.integers(-20, 20),
    threshold=st.integers(1, 2**15 - 1),
)
@example(chi=7000, x=1, d=0, shift=0, threshold=1000)
@example(chi=8000, x=1, d=0, shift=0, threshold=1000)
def test_model_agrees_with_exact_arithmetic(chi, x, d, shift, threshold):
    model = Model(TINY)
    model.chi[7, 11] = chi
    area = segment(threshold=threshold, chi_shift=shift)
    pulses = model.outer(area, vector(l7=x), vector(l11=d), 0, True)
    if x == 0:
        assert pulses.tolist() == []
        assert model.chi[7, 11] == chi
        return
    increment = min(max(round(Fraction(x * d) * Fraction(2) ** shift), -(2**15)), 2**15 - 1)
    total = min(max(chi + increment, -(2**15)), 2**15 - 1)
    count = min(abs(total) // threshold, 7) * (1 if total > 0 else -1)
    assert pulses.tolist() == ([[7, 11, count]] if count else [])
    assert model.chi[7, 11] == total - count * threshold
    assert model.chi_saturations == (total != chi + increment)
    assert model.transfer_saturations == (abs(model.chi[7, 11]) >= threshold)
