# SPDX-License-Identifier: Apache-2.0
"""SRAM wrapper and behavioural model."""

import gc

import pytest

from phasecore.rtl.lib.sram import Sram
from phasecore.rtl.spec.core import TINY


@pytest.mark.parametrize("sim", ["icarus", "verilator"])
def test_sram_matches_a_list(simulate, sim):
    sram = Sram(width=32, depth=16, granularity=8)
    simulate(sram, TINY, bench="phasecore.verification.core.tb_sram", sim=sim)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_mask_must_divide_the_width():
    with pytest.raises(ValueError, match=r"^no SRAM of 16 x 32 bits with a mask per 7$"):
        Sram(width=32, depth=16, granularity=7)
    gc.collect()
