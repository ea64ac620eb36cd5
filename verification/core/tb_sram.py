# SPDX-License-Identifier: Apache-2.0
"""The behavioural SRAM against a Python list."""

import random

import cocotb
from cocotb.triggers import RisingEdge

from phasecore.verification.support.streams import reset


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def matches_a_list(dut):
    """Random masked writes and reads, also of one word in one cycle; reads return the old word."""
    words = [0] * 16
    await reset(dut, w_en=0, r_en=0, w_address=0, r_address=0, w_mask=0, w_data=0)
    expected = None
    for _ in range(500):
        write, read = random.random() < 0.6, random.random() < 0.6
        w_address, r_address = random.randrange(16), random.randrange(16)
        mask, data = random.choice([15, random.randrange(16)]), random.getrandbits(32)
        dut.w_en.value, dut.r_en.value = write, read
        dut.w_address.value, dut.r_address.value = w_address, r_address
        dut.w_mask.value, dut.w_data.value = mask, data
        await RisingEdge(dut.clk)
        if expected is not None:
            assert int(dut.r_data.value) == expected
        if read:
            expected = words[r_address]
        if write:
            lanes = sum(0xFF << 8 * i for i in range(4) if mask >> i & 1)
            words[w_address] = (words[w_address] & ~lanes) | (data & lanes)
