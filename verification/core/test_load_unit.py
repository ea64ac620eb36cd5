# SPDX-License-Identifier: Apache-2.0
"""LOAD unit, and the packets that the host makes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasecore.models.golden.packets import affine_packet, header, parse_result, vector_packet
from phasecore.rtl.core.control.load_unit import LoadUnit
from phasecore.rtl.spec.core import SMALL, TINY
from phasecore.rtl.spec.instructions import PacketKind
from phasecore.verification.support.formal import prove
from phasecore.verification.support.formal_streams import StreamContract

# One block per vector; one beat per block.
ONE_BLOCK = TINY.replace(post_lanes=16)


@pytest.mark.parametrize("config", [TINY, SMALL, ONE_BLOCK], ids=["tiny", "small", "one-block"])
def test_load_unit(simulate, config):
    simulate(LoadUnit(config), config, bench="phasecore.verification.core.tb_load_unit")


def test_writes_are_held(tmp_path):
    dut = StreamContract(LoadUnit(TINY.replace(rows=8, cols=8)), requests=("write",))
    prove(dut, name="load_unit", tmp_path=tmp_path, depth=12)


def test_vector_packet_by_hand():
    packet = vector_packet([1, -1, 127], config=TINY, start=8)
    assert packet == bytes.fromhex("01 00 0800 0300 4350 01 ff 7f")


def test_affine_packet_by_hand():
    packet = affine_packet([128, 255], [1, -2], config=TINY)
    assert packet == bytes.fromhex("02 00 0000 0200 4350 80 01 ff fe")


def test_result_by_hand():
    result = parse_result(bytes.fromhex("81 05 1000 0200 4350 81 7f"))
    assert (result.slot, result.start, result.codes.tolist()) == (5, 16, [-127, 127])


@given(
    st.integers(0, 1).map(lambda block: 8 * block),
    st.lists(st.integers(-127, 127), min_size=1, max_size=8),
    st.integers(0, 255),
)
def test_result_is_the_inverse_of_a_packet(start, codes, slot):
    body = vector_packet(codes, config=TINY, start=start)[8:]
    head = header(PacketKind.RESULT, start=start, length=len(codes), slot=slot)
    result = parse_result(head + body)
    assert (result.slot, result.start, result.codes.tolist()) == (slot, start, codes)


@pytest.mark.parametrize(
    ("codes", "start", "message"),
    [
        ([], 0, "a packet needs at least one line"),
        ([0], 4, "start must be a multiple of 8, not 4"),
        ([0], -8, "start must be a multiple of 8, not -8"),
        ([0] * 9, 8, r"lines 8\.\.16 are outside 0\.\.15"),
        ([3, -128], 0, r"codes must be in -127\.\.127, not -128 \(index 1\)"),
        ([[1]], 0, "codes must have one dimension, not 2"),
    ],
)
def test_vector_packet_refuses(codes, start, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        vector_packet(codes, config=TINY, start=start)


def test_vector_packet_refuses_floats():
    with pytest.raises(TypeError, match=r"^codes must be integers, not float64$"):
        vector_packet(np.array([0.5]), config=TINY)


@pytest.mark.parametrize(
    ("scale", "offset", "message"),
    [
        ([256], [0], r"scale must be in 0\.\.255, not 256 \(index 0\)"),
        ([1], [128], r"offset must be in -128\.\.127, not 128 \(index 0\)"),
        ([1, 2], [1], "2 scales and 1 offsets"),
    ],
)
def test_affine_packet_refuses(scale, offset, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        affine_packet(scale, offset, config=TINY)


@pytest.mark.parametrize(
    ("packet", "message"),
    [
        ("8105", "packet of 2 bytes has no header"),
        ("8105100002004450817f", "packet magic is 0x5044, not 0x5043"),
        ("0105100002004350817f", r"packet kind is 1, not RESULT \(129\)"),
        ("810510000200435081", "packet has 1 bytes, its header says 2"),
    ],
)
def test_parse_result_refuses(packet, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        parse_result(bytes.fromhex(packet))
