# SPDX-License-Identifier: Apache-2.0
"""Proofs of the arbiter and of narrow routers."""

import pytest

from phasecore.rtl.noc.routing import Port
from phasecore.rtl.spec.noc import NocConfig
from phasecore.verification.noc.formal_router import ArbiterContract, RouterContract
from phasecore.verification.support.formal import prove

NARROW = NocConfig(width=2, height=2, depth=2, virtual_channels=1, timeout=3)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_round_robin_serves_everybody_for_ever(tmp_path, n):
    prove(ArbiterContract(n), name="arbiter", tmp_path=tmp_path, depth=2, mode="induction")


def test_age_serves_everybody(tmp_path):
    prove(ArbiterContract(2, 4), name="arbiter", tmp_path=tmp_path, depth=20)


@pytest.mark.parametrize("channels", [1, 2])
def test_credits_add_up_for_ever(tmp_path, channels):
    """By induction, and so: an output channel has one holder from head to tail."""
    prove(
        RouterContract(NARROW.replace(virtual_channels=channels), trace=False),
        name="router", tmp_path=tmp_path, depth=2, mode="induction",
    )  # fmt: skip


@pytest.mark.parametrize(
    "port", [pytest.param(Port.WEST, marks=pytest.mark.full), Port.SOUTH], ids=["west", "south"]
)
def test_flits_arrive_once_whole_and_where_they_should(tmp_path, port):
    prove(RouterContract(NARROW, port=port), name="router", tmp_path=tmp_path, depth=6)


def test_a_marked_flit_can_leave(tmp_path):
    prove(RouterContract(NARROW), name="router", tmp_path=tmp_path, depth=6, mode="cover")
