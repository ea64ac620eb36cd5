# SPDX-License-Identifier: Apache-2.0
"""GATHER: the oracle against vectors worked by hand and another im2col, the kernel against it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phasecore.models.golden.window import gather, gather_cycles
from phasecore.rtl.spec.chip import CHIPS
from phasecore.rtl.spec.instructions import ObjectDescriptor
from phasecore.verification.oracle import window as oracle
from phasecore.verification.support.windows import random_case, window_at

CONFIGS = {"64 lanes": CHIPS["default"].core, "8 lanes": CHIPS["tiny"].core}


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


@pytest.mark.parametrize("name", CONFIGS)
@given(rng=st.randoms(use_true_random=False), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=300)
def test_kernel_is_the_oracle(name, rng, seed):
    """Random objects, kernels, strides, paddings, tiles, blocks, rings, frames."""
    config = CONFIGS[name]
    case = random_case(rng, config)
    size = config.memory_words * config.post_lanes
    memory = np.random.default_rng(seed).integers(-128, 128, size)
    expected, window = memory.copy(), case.window(config)
    first = case.fields["destination"] * config.lines
    ring = memory[window.ring_base : window.ring_base + window.ring_size]
    oracle.gather(ring, expected[first : first + config.lines], **case.oracle)
    gather(memory, config.lines, window)
    assert np.array_equal(memory, expected)


@pytest.mark.parametrize(
    ("changes", "cycles"),
    [
        # Reads, and two cycles until the last word is written.
        ({"rows": 5, "cols": 5, "segment": 6, "pixel_pitch": 8, "count": 150}, 27),
        ({"rows": 3, "cols": 3, "segment": 16, "pixel_pitch": 16, "count": 144}, 11),
        ({"rows": 3, "cols": 3, "segment": 64, "pixel_pitch": 64, "count": 64, "largest": 1}, 11),
        # A pixel of 24 bytes lies in two words of the memory at three of the nine places.
        ({"rows": 3, "cols": 3, "segment": 24, "pixel_pitch": 24, "count": 216}, 14),
        ({"rows": 1, "cols": 1, "segment": 256, "pixel_pitch": 256, "count": 256}, 6),
    ],
    ids=str,
)
def test_cycles_by_hand(changes, cycles):
    config, pixels = CONFIGS["64 lanes"], dict(changes)
    gathered = {"largest": pixels.pop("largest", 0)}
    entry = ObjectDescriptor(
        height=8, width=8, base=256, size=256, row_pitch=8 * pixels["pixel_pitch"], **pixels
    )
    assert gather_cycles(64, window_at(config, entry, gathered)) == cycles
