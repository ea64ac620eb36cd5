# SPDX-License-Identifier: Apache-2.0
"""Proofs of the chi lane: combinational, so one cycle of every operand is all there is."""

import pytest

from phasecore.rtl.spec.core import TINY
from phasecore.verification.core.formal_chi_lane import ChiIncrementContract, ChiLaneContract
from phasecore.verification.support.formal import prove


@pytest.mark.parametrize("mode", ["bmc", "cover"])
@pytest.mark.parametrize(
    "changes",
    [{"chi_bits": 10}, {"chi_bits": 8, "pulse_bits": 1}, {"chi_bits": 9, "pulse_bits": 4}],
    ids=str,
)
def test_lane_loses_nothing(tmp_path, changes, mode):
    prove(
        ChiLaneContract(TINY.replace(**changes)), name="chi_lane", tmp_path=tmp_path, depth=1,
        mode=mode,
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["bmc", "cover"])
@pytest.mark.parametrize("chi_bits", [8, 12])
def test_increment_is_the_nearest(tmp_path, chi_bits, mode):
    prove(
        ChiIncrementContract(TINY.replace(chi_bits=chi_bits)), name="chi_increment",
        tmp_path=tmp_path, depth=1, mode=mode,
    )  # fmt: skip
