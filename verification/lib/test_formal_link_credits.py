# SPDX-License-Identifier: Apache-2.0
"""Proof of the credits of a link."""

import pytest

from phasecore.verification.lib.formal_link_credits import CreditContract
from phasecore.verification.support.formal import prove

SIZES = pytest.mark.parametrize(("channels", "depth"), [(1, 2), (2, 4), (4, 3)])


@SIZES
def test_credits_and_buffers_add_up_for_ever(tmp_path, channels, depth):
    dut = CreditContract(channels, depth)
    prove(dut, name="credits", tmp_path=tmp_path, depth=1, mode="induction")


@SIZES
def test_credits_can_run_out(tmp_path, channels, depth):
    dut = CreditContract(channels, depth)
    prove(dut, name="credits", tmp_path=tmp_path, depth=depth + 2, mode="cover")
