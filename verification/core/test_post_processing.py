# SPDX-License-Identifier: Apache-2.0
"""Post-processing: RTL against the model, and the model against numbers worked by hand."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasecore.rtl.core.digital.post_processing import PostProcessing as Unit
from phasecore.rtl.spec.chip import CHIPS
from phasecore.rtl.spec.core import DEFAULT, SMALL, TINY
from phasecore.rtl.spec.instructions import DeltaSource, Function
from phasecore.verification.oracle.activation import SIGMOID, TANH, activation, derivative
from phasecore.verification.oracle.post_processing import PostProcessing

BENCH = "phasecore.verification.core.tb_post_processing"

CONFIGS = {
    "tiny": (TINY, 100),
    "one-block": (TINY.replace(post_lanes=16, affine_tables=1, acc_bits=32), 60),
    "more-cols-four-blocks": (TINY.replace(cols=32, slots=4), 60),
    "small": (SMALL, 25),
    "sums": (CHIPS["tiny"].core, 150),
    "sums-one-block": (CHIPS["tiny"].core.replace(post_lanes=16, acc_bits=32), 100),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_unit_matches_the_model(simulate, name):
    config, commands = CONFIGS[name]
    simulate(Unit(config), config, bench=BENCH, env={"COMMANDS": str(commands)})


def test_256_lines_take_four_cycles(simulate):
    env = {"COCOTB_TEST_FILTER": "one_block_per_cycle"}
    simulate(Unit(DEFAULT), DEFAULT, bench=BENCH, env=env)


def test_activate_by_hand():
    post = PostProcessing(TINY)
    y = post.activate([100, -100, 127, 0], start=3, function=Function.IDENTITY, shift=8)
    # 12864 / 256 = 50.25, -12736 / 256 = -49.75, 16320 / 256 = 63.75, 64 / 256 = 0.25
    assert y.tolist() == [50, -50, 64, 0]
    assert post.accumulators.tolist() == [0] * 3 + [12864, -12736, 16320, 64] + [0] * 9
    assert post.code_saturations == 0
    # 12864 + 1280 = 14144, -12736 - 1280 = -14016, 16320 + 16256 = 32576, 64 - 128 = -64; / 128:
    # 110.5 to even, -109.5 to even, 254.5 clipped, -0.5 to even; from a slot there is no offset.
    y = post.activate(
        [10, -10, 127, -1], start=3, function=Function.RELU, shift=7, accumulate=True,
        from_slot=True,
    )  # fmt: skip
    assert y.tolist() == [110, 0, 127, 0]
    assert post.code_saturations == 1


def test_affine_by_hand():
    post = PostProcessing(TINY)
    post.scales[1, 5] = 255
    post.offsets[1, 5] = -128
    # 100 * 255 - 128 * 64 = 17308; / 512 = 33.8; sigmoid(34/32) * 127 = 94.35
    assert post.activate([100], start=5, function=Function.SIGMOID, shift=9, table=1) == [94]
    assert post.accumulators[5] == 17308


def test_none_keeps_the_sum_only():
    post = PostProcessing(TINY)
    assert post.activate([1], start=0, function=Function.NONE) is None
    assert post.accumulators[0] == 192


def test_accumulators_saturate_and_are_counted():
    post = PostProcessing(TINY)
    post.accumulators[:2] = 2**23 - 1, -(2**23)
    assert post.activate([0, -1], start=0, function=Function.NONE, accumulate=True) is None
    assert post.accumulators[:2].tolist() == [2**23 - 1, -(2**23)]
    assert post.accumulator_saturations == 2


def test_error_by_hand():
    post = PostProcessing(TINY)
    # m = 201, -1, 21; der = 127 * 0, 64 * 63, 1 * 126: v = 0, -4032, 2646; 12 bits, shift 5
    mantissas, exponent = post.delta(
        [100, -1, 10], [127, 64, 1], start=0, function=Function.SIGMOID, exponent=-3, bias=4
    )
    assert (mantissas.tolist(), exponent) == ([0, -126, 83], 6)  # 82.6875 -> 83
    # 2 (3 - 1) (16129 - 1) = 64512: 16 bits, shift 9: 126; the window's exponent is not used.
    mantissas, exponent = post.delta(
        [3], [1], start=0, function=Function.TANH, source=DeltaSource.DIFFERENCE, exponent=50
    )
    assert (mantissas.tolist(), exponent) == ([126], 9)
    # 2 * 3 (16129 - 1) = 96768: 17 bits, shift 10: 94.5 to even; the mantissas' exponent is.
    mantissas, exponent = post.delta(
        [3], [1], start=0, function=Function.TANH, source=DeltaSource.MANTISSAS, exponent=-50
    )
    assert (mantissas.tolist(), exponent) == ([94], -40)
    # 255 * 16129 = 4112895 = 125.5 * 2**15 needs no clip, a fixed shift of 14 does.
    mantissas, exponent = post.delta([127], [1], start=0, function=Function.RELU, shift=14, bias=60)
    assert (mantissas.tolist(), exponent, post.code_saturations) == ([127], 74, 1)


def test_bytes_of_minus_128_by_hand():
    """-128 is what it says: only a driven line and a target of PROGRAM take it for -127."""
    functions = [Function.IDENTITY, Function.RELU, Function.SIGMOID, Function.TANH]
    found = [derivative(np.array([-128]), function).tolist() for function in functions]
    assert found == [[16129], [0], [0], [-255]]
    post = PostProcessing(TINY)
    y = post.activate([-128], start=0, function=Function.IDENTITY, shift=7, from_slot=True)
    assert (y.tolist(), post.accumulators[0], post.code_saturations) == ([-127], -16384, 1)
    # 2 (127 + 128) (-255) = -130050, 17 bits: 10
    mantissas, exponent = post.delta(
        [127], [-128], start=0, function=Function.TANH, source=DeltaSource.DIFFERENCE
    )
    assert (mantissas.tolist(), exponent, post.accumulators[0]) == ([-127], 10, -130050)


def test_normalised_mantissa_that_rounds_up_to_128_is_clipped():
    post = PostProcessing(TINY)
    # m = 65, der = 16129: v = 1048385, 20 bits, shift 13: 127.98
    mantissas, exponent = post.delta([32], [0], start=0, function=Function.TANH)
    assert (mantissas.tolist(), exponent, post.code_saturations) == ([127], 13, 1)


def test_exponent_saturates():
    post = PostProcessing(TINY)
    for exponent, bias, expected in ((120, 63, 127), (-128, -64, -128)):
        assert post.delta(
            [0], [0], start=0, function=Function.IDENTITY, shift=1, exponent=exponent, bias=bias
        )[1] == expected  # fmt: skip


def test_zero_error_keeps_its_exponent():
    mantissas, exponent = PostProcessing(TINY).delta(
        [5, 5], [0, -3], start=0, function=Function.RELU, exponent=7
    )
    assert (mantissas.tolist(), exponent) == ([0, 0], 7)


def test_place_wraps():
    post, vector = PostProcessing(TINY), np.full(16, 9)
    post.place(np.arange(5), vector, first=14)
    assert vector.tolist() == [2, 3, 4, *[9] * 11, 0, 1]


def test_tables_follow_their_functions():
    for index in range(-255, 256):
        assert abs(SIGMOID[index + 255] - 127 / (1 + math.exp(-index / 32))) <= 0.5 + 1e-9
        assert abs(TANH[index + 255] - 127 * math.tanh(index / 64)) <= 0.5 + 1e-9
    assert (SIGMOID + SIGMOID[::-1] == 127)[np.arange(511) != 255].all()
    assert SIGMOID[255] == 64
    assert (TANH + TANH[::-1] == 0).all()


@given(
    codes=st.lists(st.integers(-127, 127), min_size=1, max_size=16),
    function=st.sampled_from([Function.IDENTITY, Function.RELU, Function.SIGMOID, Function.TANH]),
    output=st.integers(-127, 127),
)
def test_normalised_errors_are_as_exact_as_their_format(codes, function, output):
    post = PostProcessing(TINY)
    mantissas, exponent = post.delta(codes, [output] * len(codes), start=0, function=function)
    factor = int(derivative(np.array([output]), function)[0])
    exact = [Fraction((2 * c + 1) * factor) for c in codes]
    # Half a unit, or one where 127.5 and more is clipped.
    for mantissa, value in zip(mantissas.tolist(), exact, strict=True):
        assert abs(mantissa * 2**exponent - value) <= Fraction(2) ** exponent
    assert exponent == 0 or max(abs(mantissas)) >= 64


@given(values=st.lists(st.integers(-(2**24), 2**24), min_size=1), shift=st.integers(0, 15))
def test_activations_are_monotonic(values, shift):
    for function in (Function.IDENTITY, Function.RELU, Function.SIGMOID, Function.TANH):
        y, _ = activation(np.sort(values) >> shift, function)
        assert (np.diff(y) >= 0).all()
        assert (abs(y) <= 127).all()


@pytest.mark.parametrize("call", [activation, derivative])
def test_none_is_no_function(call):
    message = {activation: r"^NONE gives no activations$", derivative: r"^NONE has no derivative$"}
    with pytest.raises(ValueError, match=message[call]):
        call(np.zeros(1, dtype=np.int64), Function.NONE)


def test_lines_outside_are_refused():
    with pytest.raises(ValueError, match=r"^lines 10\.\.17 are outside 0\.\.15$"):
        PostProcessing(TINY).activate([0] * 8, start=10, function=Function.NONE)
