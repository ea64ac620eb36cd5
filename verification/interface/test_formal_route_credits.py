# SPDX-License-Identifier: Apache-2.0
"""Proof of the credits of routes."""

import pytest

from phasecore.verification.interface.formal_route_credits import CreditsContract
from phasecore.verification.support.formal import prove


@pytest.mark.parametrize(
    ("mode", "depth"),
    [("bmc", 5), ("cover", 5), pytest.param("bmc", 7, marks=pytest.mark.full)],
)
def test_credits_of_every_member(tmp_path, mode, depth):
    prove(CreditsContract(), name="credits", tmp_path=tmp_path, depth=depth, mode=mode)
