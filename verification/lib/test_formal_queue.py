# SPDX-License-Identifier: Apache-2.0
"""Proof of the queue on narrow entries."""

import pytest

from phasecore.rtl.lib.queue import Queue
from phasecore.verification.lib.formal_queue import QueueContract
from phasecore.verification.support.formal import prove

DEPTHS = [2, 3, 4, 8]
WIDTH = 4
REFILL = pytest.mark.parametrize("refill", [False, True], ids=["plain", "refill"])


@REFILL
@pytest.mark.parametrize("depth", DEPTHS)
def test_queue_is_a_queue_for_ever(tmp_path, depth, refill):
    dut = QueueContract(WIDTH, depth=depth, refill=refill)
    prove(dut, name="queue", tmp_path=tmp_path, depth=2, mode="induction")


@REFILL
@pytest.mark.parametrize("depth", DEPTHS)
def test_queue_can_fill_and_drain(tmp_path, depth, refill):
    dut = QueueContract(WIDTH, depth=depth, refill=refill)
    prove(dut, name="queue", tmp_path=tmp_path, depth=2 * depth + 4, mode="cover")


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_queue_of_one_is_refused():
    with pytest.raises(ValueError, match=r"^depth must be at least 2, not 1$"):
        Queue(WIDTH, depth=1)
