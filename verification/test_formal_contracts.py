# SPDX-License-Identifier: Apache-2.0
"""Bounded proofs of the stream contract for the blocks whose own tests do not have one."""

import pytest

from rtl.config import TINY
from rtl.core.adc_interface import AdcInterface
from rtl.core.input_driver import InputDriver
from rtl.core.post_processing import PostProcessing
from rtl.core.update_unit import UpdateUnit
from verification.formal import prove
from verification.formal_streams import StreamContract

NARROW = TINY.replace(rows=8, cols=8, update_lanes=4, chi_bits=8, pulse_bits=1, slots=4)


@pytest.mark.parametrize(
    ("block", "requests", "depth"),
    [
        (UpdateUnit, (), 18),
        (AdcInterface, (), 8),
        (InputDriver, ("read",), 10),
        (PostProcessing, ("read", "write"), 10),
    ],
)
def test_valid_and_payload_are_held(block, requests, depth, tmp_path):
    contract = StreamContract(block(NARROW), requests=requests)
    prove(contract, name="contract", tmp_path=tmp_path, depth=depth)


@pytest.mark.parametrize(("block", "depth"), [(UpdateUnit, 16), (AdcInterface, 8)])
def test_valid_does_not_wait_for_ready(block, depth, tmp_path):
    prove(
        StreamContract(block(NARROW)), name="contract", tmp_path=tmp_path, depth=depth,
        mode="cover",
    )  # fmt: skip
