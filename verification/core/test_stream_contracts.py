# SPDX-License-Identifier: Apache-2.0
"""Bounded proofs of the stream contract for the blocks whose own tests do not have one."""

import pytest

from phasecore.rtl.core.analog.adc_interface import AdcInterface
from phasecore.rtl.core.analog.input_driver import InputDriver
from phasecore.rtl.core.digital.post_processing import PostProcessing
from phasecore.rtl.core.digital.update_unit import UpdateUnit
from phasecore.rtl.spec.core import TINY
from phasecore.verification.support.formal import prove
from phasecore.verification.support.formal_streams import StreamContract

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
