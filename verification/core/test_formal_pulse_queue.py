# SPDX-License-Identifier: Apache-2.0
"""Proof of the pulse queue on narrow entries."""

import pytest

from phasecore.rtl.spec.core import TINY
from phasecore.verification.core.formal_pulse_queue import PulseQueueContract
from phasecore.verification.support.formal import prove

DEPTHS = [2, 4, 8]


def contract(depth):
    """Queue of 8-bit entries."""
    return PulseQueueContract(TINY.replace(rows=8, cols=8, pulse_bits=1, queue_depth=depth))


@pytest.mark.parametrize("depth", DEPTHS)
def test_queue_is_a_queue_for_ever(tmp_path, depth):
    prove(contract(depth), name="pulse_queue", tmp_path=tmp_path, depth=2, mode="induction")


@pytest.mark.parametrize("depth", DEPTHS)
def test_queue_is_a_queue_from_reset(tmp_path, depth):
    prove(contract(depth), name="pulse_queue", tmp_path=tmp_path, depth=2 * depth + 4)


@pytest.mark.parametrize("depth", DEPTHS)
def test_queue_can_fill_and_drain(tmp_path, depth):
    prove(contract(depth), name="pulse_queue", tmp_path=tmp_path, depth=2 * depth + 4, mode="cover")
