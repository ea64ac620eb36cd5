# SPDX-License-Identifier: Apache-2.0
"""SCATTER and NORMALISE: the oracle against sums by hand and numpy, the kernels against it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phasecore.models.golden.chip import Chip
from phasecore.models.golden.core import Core
from phasecore.models.golden.device import IDEAL
from phasecore.models.golden.window import scatter
from phasecore.rtl.spec.chip import CHIPS
from phasecore.rtl.spec.instructions import ObjectDescriptor, Opcode, encode
from phasecore.verification.cosim.random_sums import RandomSums
from phasecore.verification.models.same import (
    HALT,
    assert_same_chip,
    assert_same_results,
    assert_same_traces,
    configure,
)
from phasecore.verification.oracle import window as oracle
from phasecore.verification.oracle.chip import Chip as OracleChip
from phasecore.verification.oracle.post_processing import PostProcessing
from phasecore.verification.support.windows import random_case

CHIP = CHIPS["tiny"]
CORE = CHIP.core


def by_hand(**changes):
    """Sums of a 2 x 2 object of two channels, after a 2 x 2 window of mantissas 1..8; the count."""
    sums = np.array([0, 100, 0, 100, 0, 100, 2**23 - 2, -(2**23)])
    given = {
        "shift": 0, "bits": 24, "origin": 0, "frame": (2, 2), "pixel": (0, 0), "pitches": (4, 2),
        "kernel": (2, 2), "segment": 2, "count": 8,
    }  # fmt: skip
    count = oracle.scatter(sums, np.arange(1, 9), **given | changes)
    return (*sums.tolist(), count)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"count": 7}, (1, 102, 3, 104, 5, 106, 2**23 - 1, -(2**23), 1)),
        ({"count": 2, "shift": 3}, (8, 116, 0, 100, 0, 100, 2**23 - 2, -(2**23), 0)),
        ({"count": 2, "shift": -1}, (0, 100, 0, 100, 0, 100, 2**23 - 2, -(2**23), 0)),
        # Beyond 13 places both sums are too small.
        ({"count": 1, "shift": 13}, (8192, 100, 0, 100, 0, 100, 2**23 - 2, -(2**23), 0)),
        ({"count": 2, "shift": 99}, (8192, 16484, 0, 100, 0, 100, 2**23 - 2, -(2**23), 2)),
        # Only the last pixel of the window is inside; only the first.
        ({"pixel": (-1, -1)}, (7, 108, 0, 100, 0, 100, 2**23 - 2, -(2**23), 0)),
        ({"pixel": (1, 1), "count": 8}, (0, 100, 0, 100, 0, 100, 2**23 - 1, -(2**23) + 2, 0)),
        # From the second channel of the second pixel on; lines 2 and 3 of the slot.
        (
            {"first": (0, 1), "skip": 1, "count": 2, "start": 2},
            (0, 100, 0, 103, 4, 100, 2**23 - 2, -(2**23), 0),
        ),
    ],
    ids=str,
)
def test_by_hand(changes, expected):
    assert by_hand(**changes) == expected


@given(
    seed=st.integers(0, 2**32 - 1), height=st.integers(1, 6), width=st.integers(1, 6),
    channels=st.integers(1, 5), kernel=st.integers(1, 4), stride=st.integers(1, 3),
    padding=st.integers(0, 2), shift=st.integers(0, 6),
)  # fmt: skip
def test_col2im_of_numpy(seed, height, width, channels, kernel, stride, padding, shift):
    """A whole layer: what is read by im2col of pixel numbers is what is added to."""
    if min(height, width) + 2 * padding < kernel:
        return
    rng = np.random.default_rng(seed)
    numbers = np.arange(height * width * channels).reshape(height, width, channels) + 1
    padded = np.pad(numbers, ((padding, padding), (padding, padding), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (0, 1))
    windows = windows[::stride, ::stride].transpose(0, 1, 3, 4, 2)
    found, expected = np.zeros(numbers.size, dtype=np.int64), np.zeros(numbers.size + 1)
    for row, col in np.ndindex(windows.shape[:2]):
        cells = windows[row, col].reshape(-1)
        mantissas = rng.integers(-127, 128, len(cells))
        np.add.at(expected, cells, mantissas * 2**shift)
        oracle.scatter(
            found, mantissas, shift=shift, bits=24, origin=0, frame=(height, width),
            pixel=(row * stride - padding, col * stride - padding),
            pitches=(width * channels, channels), kernel=(kernel, kernel), segment=channels,
            count=len(cells),
        )  # fmt: skip
    assert np.array_equal(found, expected[1:])


@pytest.mark.parametrize("name", ["default", "tiny"])
@given(
    rng=st.randoms(use_true_random=False), seed=st.integers(0, 2**32 - 1),
    shift=st.integers(-2, 13) | st.integers(14, 15),
)  # fmt: skip
@settings(max_examples=200)
def test_kernel_is_the_oracle(name, rng, seed, shift):
    """Random objects, kernels, strides, paddings, tiles, blocks, rings."""
    config = CHIPS[name].core
    case = random_case(rng, config, sums=True)
    random = np.random.default_rng(seed)
    memory = random.integers(-128, 128, config.memory_words * config.post_lanes)
    sums = random.integers(-(2**23), 2**23, config.accumulator_lines)
    expected, window = sums.copy(), case.window(config)
    first = case.fields["destination"] * config.lines
    ring = expected[window.ring_base : window.ring_base + window.ring_size]
    given_ = {name: value for name, value in case.oracle.items() if name != "largest"}
    count = oracle.scatter(
        ring, memory[first : first + config.lines], shift=shift, bits=24, **given_
    )
    assert scatter(memory, sums, config.lines, shift, 24, window) == count
    assert np.array_equal(sums, expected)


def test_normalise_by_hand():
    post = PostProcessing(CORE)
    # 10 bits: 3 places; 1000 / 8 = 125, -20 / 8 = -2.5 to even, 12 / 8 = 1.5 to even.
    sums = np.array([1000, -20, 12])
    assert post.normalise(sums, -5)[0].tolist() == [125, -2, 2]
    assert not sums.any()
    assert post.normalise(np.array([1000, 0]), -5)[1] == -2
    # Small sums keep their exponent; 127.5 is rounded up and clipped; so is an exponent.
    found = post.normalise(np.array([-127, 3]), 7)
    assert (found[0].tolist(), found[1]) == ([-127, 3], 7)
    found = post.normalise(np.array([255, 2]), 127)
    assert (found[0].tolist(), found[1], post.code_saturations) == ([127, 1], 127, 1)
    assert post.normalise(np.array([-(2**23)]), 0) == (np.array([-64]), 17)


@pytest.mark.parametrize("number", range(40))
def test_random_sums(number, seed):
    """Oracle and model agree, run after run."""
    chips = [kind(CHIP, IDEAL, 1) for kind in (OracleChip, Chip)]
    work = [RandomSums(CHIP, 1000 * seed + number) for _ in chips]
    for chip, sums in zip(chips, work, strict=True):
        configure(chip, sums.objects, sums.routes)
        for core in chip.cores.values():
            core.segments[0] = sums.segment
    for _ in range(2):
        results = [
            chip.run(sums.programs(), sums.packets())
            for chip, sums in zip(chips, work, strict=True)
        ]
        assert_same_results(*results)
        assert_same_chip(*chips)
        for node, core in chips[0].cores.items():
            assert_same_traces(core, chips[1].cores[node])
    faults = [node.faults for node in (*chips[1].interfaces.values(), chips[1].host)]
    assert not any(count for counted in faults for count in counted.values())
    assert not any(node.local.refused for node in chips[1].interfaces.values())


def test_the_random_sums_are_no_trifles(seed):
    """Pixels of few channels are sent with many zeros; some sums are saturated, or too large."""
    codes, saturations = [], 0
    for number in range(20):
        chip, sums = Chip(CHIP, IDEAL, 1, traced=False), RandomSums(CHIP, 1000 * seed + number)
        configure(chip, sums.objects, sums.routes)
        core: Core = chip.cores[sums.stages[0].node]
        core.segments[0] = sums.segment
        codes += [result.codes for result in chip.run(sums.programs(), sums.packets())]
        saturations += core.post.accumulator_saturations
    found = np.concatenate(codes)
    assert np.count_nonzero(found) > 0.04 * len(found)
    assert saturations


PIXEL = ObjectDescriptor(
    sums=1, cursor=1, base=2, size=2, height=2, out_height=2, segment=3, count=3, pixel_pitch=8,
    row_pitch=8, row_step=8, depth=2, arrived=2, kernel_height=1,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cursor": 0}, "cursor must be 1 of sums, not 0"),
        ({"packed": 1, "stride_col": 0}, "packed must be 0 of sums, not 1"),
        ({"frame_step": 8}, "frame_step must be 0 of sums, not 8"),
        ({"base": 1}, r"ring of words 1\.\.2 is outside 2\.\.15 \(sum_words\)"),
        ({"base": 15}, r"ring of words 15\.\.16 is outside 2\.\.15 \(sum_words\)"),
    ],
    ids=str,
)
def test_what_sums_cannot_be(changes, message):
    chip = Chip(CHIP, IDEAL, 1)
    chip.define_object(0, 0, PIXEL)
    with pytest.raises(ValueError, match=message):
        chip.define_object(0, 0, replace(PIXEL, **changes))


NORMALISE = encode(Opcode.NORMALISE, object=0, destination=1, destination_line=0)
SCATTER = encode(Opcode.SCATTER, object=0, slot=1, block=0, block_row=0, block_col=0)
GATHER = encode(
    Opcode.GATHER, object=0, destination=1, block=0, block_row=0, block_col=0, largest=0
)
CODES = ObjectDescriptor(base=CORE.slot_words)


@pytest.mark.parametrize(
    ("word", "entry", "message"),
    [
        (NORMALISE, CODES, "NORMALISE of object 0 of core 0: it has no sums"),
        (SCATTER, CODES, "SCATTER of object 0 of core 0: it has no sums"),
        (GATHER, PIXEL, "GATHER of object 0 of core 0: it has sums, no codes"),
        (NORMALISE, replace(PIXEL, rows=2), "rows must be 1 for its pixels, not 2"),
        (NORMALISE, replace(PIXEL, out_height=3), "ends behind its ring of 16 sums, at 19"),
        (SCATTER | 1 << 21, PIXEL, r"window at \(0, 1\) of a block has 2 pixels of its width"),
    ],
    ids=str,
)
def test_windows_that_are_refused(word, entry, message):
    for kind in (OracleChip, Chip):
        chip = kind(CHIP, IDEAL, 1)
        chip.define_object(0, 0, entry)
        with pytest.raises(ValueError, match=message):
            chip.run({0: [word, HALT]})
