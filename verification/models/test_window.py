# SPDX-License-Identifier: Apache-2.0
"""GATHER: the oracle against vectors worked by hand and another im2col, the kernel against it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phasecore.models.golden.window import Window, gather, gather_cycles
from phasecore.verification.oracle import window as oracle
from phasecore.verification.support.windows import Geometry, random_case

GEOMETRIES = {
    "64 lanes": Geometry(lines=256, lanes=64, words=512, slots=16),
    "8 lanes": Geometry(lines=16, lanes=8, words=64, slots=4),
}
PIXELS = {
    "height": 3, "width": 3, "segment": 2, "pitch": 8, "row_pitch": 24, "ring_base": 512,
    "ring_size": 128, "rows": 2, "cols": 2, "count": 8,
}  # fmt: skip
"""Nine pixels of two channels, a 2 x 2 window."""


def by_hand(**changes):
    """Lines of a slot of 12 that held 9s; pixel p of the 3 x 3 object is (p, -p)."""
    ring = np.zeros(72, dtype=np.int8)
    ring[::8], ring[1::8] = range(9), range(0, -9, -1)
    slot = np.full(12, 9, dtype=np.int8)
    settings = {
        "origin": 0, "frame": (3, 3), "pixel": (0, 0), "pitches": (24, 8), "kernel": (2, 2),
        "segment": 2, "count": 8,
    }  # fmt: skip
    oracle.gather(np.roll(ring, changes.get("origin", 0)), slot, **settings | changes)
    return slot.tolist()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [0, 0, 1, -1, 3, -3, 4, -4, 9, 9, 9, 9]),
        # Above and left of the object there are zeros; the other lines are kept.
        ({"pixel": (-1, -1), "start": 4}, [9, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0]),
        ({"pixel": (-1, 1)}, [0, 0, 0, 0, 1, -1, 2, -2, 9, 9, 9, 9]),
        ({"pixel": (1, 2)}, [5, -5, 0, 0, 8, -8, 0, 0, 9, 9, 9, 9]),
        # The second byte of pixel (0, 1), then pixel (1, 0): the second of two row tiles.
        ({"first": (0, 1), "skip": 1, "count": 3}, [-1, 3, -3, *[9] * 9]),
        # The object begins near the end of the ring.
        ({"origin": 64}, [0, 0, 1, -1, 3, -3, 4, -4, 9, 9, 9, 9]),
        # Of pixels 0, 1, 3, 4, by channel; of the pixels inside; there is none inside.
        ({"largest": True, "count": 2}, [4, 0, *[9] * 10]),
        ({"largest": True, "count": 2, "pixel": (2, 2)}, [8, -8, *[9] * 10]),
        ({"largest": True, "count": 1, "skip": 1, "pixel": (-1, 0)}, [0, *[9] * 11]),
        ({"largest": True, "count": 2, "pixel": (3, 0)}, [-128, -128, *[9] * 10]),
    ],
    ids=str,
)
def test_by_hand(changes, expected):
    assert by_hand(**changes) == expected


@given(
    seed=st.integers(0, 2**32 - 1), height=st.integers(1, 6), width=st.integers(1, 6),
    channels=st.integers(1, 5), kernel=st.integers(1, 4), stride=st.integers(1, 3),
    padding=st.integers(0, 2), largest=st.booleans(),
)  # fmt: skip
def test_im2col_of_numpy(seed, height, width, channels, kernel, stride, padding, largest):
    """A whole layer: ``sliding_window_view`` of the padded tensor is made in another way."""
    if min(height, width) + 2 * padding < kernel:
        return
    rng = np.random.default_rng(seed)
    tensor = rng.integers(-128, 128, (height, width, channels), dtype=np.int8)
    pads = ((padding, padding), (padding, padding), (0, 0))
    padded = np.pad(tensor, pads, constant_values=-128 if largest else 0)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (0, 1))
    windows = windows[::stride, ::stride].transpose(0, 1, 3, 4, 2)
    for row, col in np.ndindex(windows.shape[:2]):
        expected = windows[row, col].max((0, 1)) if largest else windows[row, col].reshape(-1)
        slot = np.zeros(len(expected), dtype=np.int8)
        oracle.gather(
            tensor.reshape(-1), slot, origin=0, frame=(height, width),
            pixel=(row * stride - padding, col * stride - padding),
            pitches=(width * channels, channels), kernel=(kernel, kernel), segment=channels,
            count=len(expected), largest=largest,
        )  # fmt: skip
        assert np.array_equal(slot, expected)


@pytest.mark.parametrize("name", GEOMETRIES)
@given(rng=st.randoms(use_true_random=False), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=300)
def test_kernel_is_the_oracle(name, rng, seed):
    """Random objects, kernels, strides, paddings, tiles, blocks, rings."""
    geometry = GEOMETRIES[name]
    case = random_case(rng, geometry)
    memory = np.random.default_rng(seed).integers(-128, 128, geometry.words * geometry.lanes)
    expected, window = memory.copy(), case.window
    first = case.position["slot"] * geometry.lines
    ring = memory[window.ring_base : window.ring_base + window.ring_size]
    oracle.gather(ring, expected[first : first + geometry.lines], **case.oracle)
    gather(memory, geometry.lines, window.at(**case.position))
    assert np.array_equal(memory, expected)


@pytest.mark.parametrize(
    ("changes", "cycles"),
    [
        # Reads, and two cycles until the last word is written.
        ({"rows": 5, "cols": 5, "segment": 6, "pitch": 8, "count": 150}, 27),
        ({"rows": 3, "cols": 3, "segment": 16, "pitch": 16, "count": 144}, 11),
        ({"rows": 3, "cols": 3, "segment": 64, "pitch": 64, "count": 64, "largest": True}, 11),
        # A pixel of 24 bytes lies in two words of the memory at three of the nine places.
        ({"rows": 3, "cols": 3, "segment": 24, "pitch": 24, "count": 216}, 14),
        ({"rows": 1, "cols": 1, "segment": 256, "pitch": 256, "count": 256}, 6),
    ],
    ids=str,
)
def test_cycles_by_hand(changes, cycles):
    sizes = {
        "height": 8,
        "width": 8,
        "row_pitch": 8 * changes["pitch"],
        "ring_base": 0,
        "ring_size": 16384,
    }
    window = Window(**sizes | {"row_pitch": sizes["row_pitch"] % 16384} | changes)
    assert gather_cycles(64, window.at(0, 0, slot=0)) == cycles


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": 4}, "rows must be 1..3, not 4"),
        ({"cols": 6, "padding_col": 1}, "cols must be 1..5, not 6"),
        ({"first_row": 2}, "first_row must be 0..1, not 2"),
        ({"first_col": 1, "largest": True}, "first_col must be 0..0, not 1"),
        ({"skip": 2}, "skip must be 0..1, not 2"),
        ({"first_row": 1, "skip": 1}, "count must be 1..3, not 8"),
        ({"largest": True}, "count must be 1..2, not 8"),
        ({"row_pitch": 128}, "row_pitch must be 0..127, not 128"),
        ({"origin": -8}, "origin must be 0..127, not -8"),
        ({"ring_size": 1}, "pitch must be 0..1, not 8"),
        (
            {"ring_size": 8, "row_pitch": 0},
            "ring_size must be at least 16, a row of the window, not 8",
        ),
    ],
    ids=str,
)
def test_windows_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Window(**PIXELS | changes)


def test_block_beyond_the_ring_is_refused():
    with pytest.raises(ValueError, match=r"^block \(5, 1\) begins 128 bytes on, beyond the ring$"):
        Window(**PIXELS).at(0, 0, slot=0, block=(5, 1))
