# SPDX-License-Identifier: Apache-2.0
"""Proofs of the trees: combinational, so one cycle of every operand is all there is."""

import pytest

from phasecore.verification.lib.formal_trees import (
    FirstOneContract,
    LaneMaskContract,
    OnesCounterContract,
    SelectContract,
)
from phasecore.verification.support.formal import prove


@pytest.mark.parametrize("mode", ["bmc", "cover"])
@pytest.mark.parametrize("width", [1, 2, 7, 16, 40])
def test_all_ones_are_counted(tmp_path, width, mode):
    prove(OnesCounterContract(width), name="ones", tmp_path=tmp_path, depth=1, mode=mode)


@pytest.mark.parametrize("mode", ["bmc", "cover"])
@pytest.mark.parametrize(("width", "item_bits"), [(1, 2), (2, 1), (16, 3)])
def test_the_lowest_one_is_found(tmp_path, width, item_bits, mode):
    prove(FirstOneContract(width, item_bits), name="first", tmp_path=tmp_path, depth=1, mode=mode)


@pytest.mark.parametrize(("count", "index_bits"), [(1, 1), (2, 1), (8, 3), (4, 3)])
def test_the_item_of_the_index_is_selected(tmp_path, count, index_bits):
    prove(SelectContract(count, index_bits), name="select", tmp_path=tmp_path, depth=1)


@pytest.mark.parametrize("mode", ["bmc", "cover"])
@pytest.mark.parametrize(("lanes", "blocks"), [(8, 1), (8, 2), (16, 8), (2, 4)])
def test_lanes_between_the_ends_are_in_the_mask(tmp_path, lanes, blocks, mode):
    prove(LaneMaskContract(lanes, blocks), name="lanes", tmp_path=tmp_path, depth=1, mode=mode)
