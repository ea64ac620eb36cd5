# SPDX-License-Identifier: Apache-2.0
"""Golden local control against a simulation of convolution windows, vector by vector."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from phasecore.models.compiler.windows import LayerInput, smallest_depth, window_object
from phasecore.rtl.spec.chip import CHIPS
from phasecore.rtl.spec.instructions import ObjectDescriptor, slot_ring
from phasecore.verification.oracle.local_control import Grant, LocalControl

CONFIG = CHIPS["tiny"].core.replace(slots=32, vector_words=1024)

SHAPES = [
    # (height, width, out_height, out_width, kernel_height, kernel_width, stride, padding)
    (1, 1, 1, 1, 1, 1, 1, 0),
    (5, 6, 5, 6, 1, 1, 1, 0),
    (5, 4, 1, 1, 5, 4, 1, 0),
    (6, 5, 4, 3, 3, 3, 1, 0),
    (6, 5, 6, 5, 3, 3, 1, 1),
    (7, 7, 4, 4, 3, 3, 2, 1),
    (6, 8, 3, 4, 2, 2, 2, 0),
    (7, 5, 3, 2, 2, 3, 2, 0),  # The last row and column are in no window.
    (7, 9, 2, 3, 2, 2, 3, 0),  # Windows do not touch.
    (7, 5, 2, 2, 2, 2, 3, 0),  # The step behind the last column leaves the object.
    (5, 5, 5, 5, 5, 5, 1, 2),
    (7, 6, 4, 3, 1, 2, 2, 0),
    (3, 8, 1, 4, 3, 2, 2, 0),
]


def descriptor(shape, slot=0, depth=1, **changes):
    """On a ring of slots."""
    names = ("height", "width", "out_height", "out_width", "kernel_height", "kernel_width")
    *sizes, stride, padding = shape
    steps = {
        "stride_row": stride, "stride_col": stride, "padding_row": padding, "padding_col": padding,
    }  # fmt: skip
    return ring(slot, depth, **dict(zip(names, sizes, strict=True)), **steps, **changes)


def ring(slot=0, depth=1, **values):
    """Object on a ring of slots."""
    return ObjectDescriptor(**slot_ring(CONFIG, slot, depth), **values)


def window(d, row, col):
    """Raster numbers of what an iteration reads."""
    top, left = row * d.stride_row - d.padding_row, col * d.stride_col - d.padding_col
    return [
        r * d.width + c
        for r in range(top, top + d.kernel_height)
        for c in range(left, left + d.kernel_width)
        if 0 <= r < d.height and 0 <= c < d.width
    ]


def iterations(d):
    return list(itertools.product(range(d.out_height), range(d.out_width)))


@pytest.mark.parametrize("shape", SHAPES)
def test_closed_forms(shape):
    d = descriptor(shape)
    order = iterations(d)
    before = 0
    for index, (row, col) in enumerate(order):
        assert d.need(row, col) == max(window(d, row, col)) + 1
        later = [n for place in order[index + 1 :] for n in window(d, *place)]
        dead = d.dead(row, col)
        assert before <= dead <= min(later, default=d.height * d.width)
        # Nothing dead is kept inside a row of iterations.
        if later and row * d.stride_row >= d.padding_row:
            left = min(max(0, (col + 1) * d.stride_col - d.padding_col), d.width)
            assert dead == (row * d.stride_row - d.padding_row) * d.width + left
        before = dead
    assert dead == d.height * d.width


def test_iterations_behind_the_object():
    """They free all of it, and no more."""
    d = descriptor((2, 2, 4, 2, 1, 1, 1, 0))
    assert [(d.need(*place), d.dead(*place)) for place in iterations(d)] == [
        (1, 1), (2, 2), (3, 3), (4, 4), *[(3, 4), (4, 4)] * 2,
    ]  # fmt: skip


@st.composite
def layers(draw):
    """Layers of pooled blocks, packed rows, uneven strides and paddings; and a tile of rows."""
    kernel = draw(st.tuples(*[st.integers(1, 4)] * 2))
    stride, block = (draw(st.tuples(*[st.integers(1, 3)] * 2)) for _ in range(2))
    padding = tuple(draw(st.integers(0, size - 1)) for size in kernel * 2)
    sizes = [draw(st.integers(1, 9)) for _ in range(2)]
    packed = draw(st.booleans())
    # A row of packed pixels is up to three vectors.
    channels = draw(st.integers(1, 5))
    try:
        layer = LayerInput(
            height=sizes[0], width=sizes[1], channels=channels, kernel=kernel, stride=stride,
            padding=padding, block=block, packed=packed,
        )  # fmt: skip
    except ValueError:
        assume(False)
    first = draw(st.integers(0, layer.matrix_rows - 1))
    most = min(layer.matrix_rows - first, CONFIG.lines)
    return layer, (first, first + draw(st.one_of(st.just(most), st.integers(1, most))))


def object_of(layer, tile, **values):
    """Behind the slots."""
    return window_object(CONFIG, layer, base=CONFIG.slot_words, tile=tile, **values)


def read(layer, tile, row, col):
    """Raster numbers of the vectors of which an iteration reads a code: cell by cell."""
    found = set()
    for (dr, dc), cell in itertools.product(layer.places, range(*tile)):
        kh, rest = divmod(cell, layer.kernel[1] * layer.channels)
        kw, channel = divmod(rest, layer.channels)
        y = row * layer.block[0] * layer.stride[0] + dr + kh - layer.padding[0]
        x = col * layer.block[1] * layer.stride[1] + dc + kw - layer.padding[1]
        if not 0 <= y < layer.height:
            continue
        if layer.packed:
            byte = (x + layer.padding[1]) * layer.channels + channel
            vector = byte // (8 * layer.pitch(CONFIG))
            found.add(y * layer.row_vectors(CONFIG) + vector)
        elif 0 <= x < layer.width:
            found.add(y * layer.width + x)
    return found


@given(layers())
@settings(max_examples=300)
def test_closed_forms_of_tiles_blocks_and_packed_rows(case):
    """An iteration waits for all that it reads; nothing is released that a later one reads.

    It waits for no more than the last pixel of its rows and columns.
    """
    layer, tile = case
    d = object_of(layer, tile)
    order = iterations(d)
    assert len(order) == np.prod(layer.iterations)
    reads = [read(layer, tile, *place) for place in order]
    before, whole = 0, tile == (0, layer.matrix_rows)
    for index, place in enumerate(order):
        need, dead = d.need(*place), d.dead(*place)
        if reads[index]:
            assert (
                max(reads[index]) + 1 <= need <= max(reads[index]) + 1 + d.kernel_height * d.width
            )
            if whole and not layer.packed:
                assert need == max(reads[index]) + 1
        assert need <= max((n + 1 for n in window(d, *place)), default=need)
        later = set().union(*reads[index + 1 :])
        assert before <= dead <= min(later, default=d.height * d.width)
        before = dead
    assert before == d.height * d.width


@given(layers(), st.integers(0, 3), st.booleans())
@settings(max_examples=100)
def test_every_layer_finds_its_vectors(case, ahead, eager):
    """The smallest ring, whose end is in the middle of a vector, holds what is read."""
    layer, tile = case
    stream(object_of(layer, tile, ahead=ahead), eager, lambda *place: read(layer, tile, *place))


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("slack", [0, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_window_finds_its_vectors(shape, slack, eager):
    depth = min(smallest_depth(descriptor(shape)) + slack, 31)
    d = descriptor(shape, depth=depth)
    stream(d, eager, lambda *place: window(d, *place))


def stream(d, eager, reads):
    """A ring holds what three frames of iterations read, and never jams."""
    frame, frames = d.height * d.width, 3
    control = LocalControl(CONFIG)
    control.define(1, d)
    credits, sent, ring = d.depth, 0, {}
    for number in range(frames):
        for row, col in iterations(d):
            while credits and sent < frames * frame and (eager or not control.ready(1)):
                assert not control.full(1)
                for byte in control.place(1, np.arange(8 * d.pitch)).tolist():
                    ring[byte] = sent
                control.arrive(1)
                credits, sent = credits - 1, sent + 1
            assert control.ready(1)
            words = range(d.base * CONFIG.post_lanes, (d.base + d.size) * CONFIG.post_lanes)
            assert not ring or (words[0] <= min(ring) and max(ring) <= words[-1])
            held = list(ring.values())
            for n in reads(row, col):
                assert held.count(number * frame + n) == 8 * d.pitch
            credits += sum(grant.credits for grant in control.release(0b10))
    assert control.refused == 0
    assert control.arrived[1] == sent - frames * frame
    assert credits == d.depth - control.arrived[1]


def test_cursors_go_their_own_way():
    """They count the arrivals of another object, and give no credits."""
    control = LocalControl(CONFIG)
    control.define(0, ring(4, 4))
    control.define(1, ring(4, 4, source=0, cursor=1, height=2, kernel_height=2))
    control.define(3, ring(4, 4, source=1, cursor=1))
    assert [control.all_ready(1 << index) for index in (0, 1, 3)] == [False] * 3
    control.arrive(0)
    assert [control.ready(index) for index in (0, 1, 3)] == [True, False, False]
    control.arrive(0)
    assert control.release(0b0011) == [Grant(0, 1)]
    assert (control.arrived[:2], control.frame_number[:2], control.at[0]) == (
        [1, 0],
        [1, 1],
        2 * 16,
    )
    assert control.release(0b0010) == []
    assert control.refused == 1


def test_vectors_one_by_one():
    control = LocalControl(CONFIG)
    control.define(2, ring(4, 2, arrived=1))
    assert control.ready(2)
    assert not control.full(2)
    # What is there at the start takes no position.
    assert control.at[2] == 0
    control.arrive(2)
    assert control.full(2)
    assert control.at[2] == CONFIG.lines
    assert control.release(0b100) == [Grant(2, 1)]
    assert control.present(2) == 1
    control.arrive(2)
    assert control.at[2] == 0
    assert control.release(0b100) == control.release(0b100) == [Grant(2, 1)]
    assert not control.ready(2)
    assert control.release(0b100) == []
    assert control.refused == 1


def test_masks():
    control = LocalControl(CONFIG)
    for index in (0, 1, 3):
        control.define(index, ring(arrived=int(index != 1)))
    assert control.all_ready(0)
    assert control.all_ready(0b1001)
    assert not control.all_ready(0b1011)
    # Undefined objects are never ready.
    assert not control.all_ready(0b0100)
    assert control.release(0b1111) == [Grant(0, 1), Grant(3, 1)]
    assert control.refused == 2
    assert control.arrived == [0, 0, 0, 0]


def test_many_credits_go_in_several_messages():
    control = LocalControl(CONFIG)
    control.define(0, descriptor((30, 20, 1, 1, 30, 20, 1, 0), depth=31))
    for _ in range(600):
        control.arrive(0)
    assert control.release(1) == [Grant(0, 255), Grant(0, 255), Grant(0, 90)]


def test_an_iteration_that_frees_nothing_gives_no_credit():
    control = LocalControl(CONFIG)
    control.define(0, descriptor((3, 3, 3, 3, 3, 3, 1, 1), depth=9))
    for _ in range(9):
        control.arrive(0)
    granted = [sum(grant.credits for grant in control.release(1)) for _ in range(9)]
    assert granted == [0, 0, 0, 0, 1, 1, 1, 1, 5]


def test_writing_an_entry_restarts_it():
    control = LocalControl(CONFIG)
    d = descriptor((2, 2, 2, 2, 1, 1, 1, 0), slot=7, depth=3, arrived=1)
    control.define(1, d)
    control.arrive(1)
    assert control.release(0b10) == [Grant(1, 1)]
    assert (control.arrived[1], control.dead[1], control.col[1], control.at[1]) == (2, 1, 1, 16)
    control.define(1, d)
    assert (control.arrived[1], control.dead[1], control.col[1], control.at[1]) == (1, 0, 0, 0)
    assert control.place(1, np.arange(2)).tolist() == [7 * 16, 7 * 16 + 1]
    control.define(1, ObjectDescriptor(enable=0))
    assert control.descriptor(1) is None
    assert not control.ready(1)
    with pytest.raises(ValueError, match=r"^object 1 is not enabled$"):
        control.arrive(1)
    with pytest.raises(ValueError, match=r"^object must be in 0\.\.3, not 4$"):
        control.define(4, d)
