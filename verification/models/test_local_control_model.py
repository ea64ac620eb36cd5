# SPDX-License-Identifier: Apache-2.0
"""Golden local control against a simulation of convolution windows, vector by vector."""

import itertools

import pytest

from phasecore.rtl.spec.core import TINY
from phasecore.rtl.spec.instructions import ObjectDescriptor
from phasecore.verification.oracle.local_control import Grant, LocalControl

CONFIG = TINY.replace(objects=4, routes=4, slots=32)

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


def descriptor(shape, **changes):
    names = (
        "height", "width", "out_height", "out_width", "kernel_height", "kernel_width", "stride",
        "padding",
    )  # fmt: skip
    return ObjectDescriptor(x=0, y=0, route=0, **dict(zip(names, shape, strict=True)), **changes)


def window(d, row, col):
    """Raster numbers of what an iteration reads."""
    top, left = row * d.stride - d.padding, col * d.stride - d.padding
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
        if later and row * d.stride >= d.padding:
            left = min(max(0, (col + 1) * d.stride - d.padding), d.width)
            assert dead == (row * d.stride - d.padding) * d.width + left
        before = dead
    assert dead == d.height * d.width


def test_iterations_behind_the_object():
    """They free all of it, and no more."""
    d = descriptor((2, 2, 4, 2, 1, 1, 1, 0))
    assert [(d.need(*place), d.dead(*place)) for place in iterations(d)] == [
        (1, 1), (2, 2), (3, 3), (4, 4), *[(3, 4), (4, 4)] * 2,
    ]  # fmt: skip


def smallest_ring(d):
    """Slots with which the producer never waits for ever."""
    dead = [0, *(d.dead(*place) for place in iterations(d))]
    needs = [d.need(*place) for place in iterations(d)]
    return max(need - before for need, before in zip(needs, dead, strict=False))


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("slack", [0, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_window_finds_its_vectors(shape, slack, eager):
    """A ring of the smallest size holds what three frames of windows read, and never jams."""
    d = descriptor(shape)
    d = descriptor(shape, depth=min(smallest_ring(d) + slack, 31))
    frame, frames = d.height * d.width, 3
    control = LocalControl(CONFIG)
    control.define(1, d)
    credits, sent, ring = d.depth, 0, {}
    for number in range(frames):
        for row, col in iterations(d):
            while credits and sent < frames * frame and (eager or not control.ready(1)):
                assert not control.full(1)
                ring[control.slot(1)] = sent
                control.arrive(1)
                credits, sent = credits - 1, sent + 1
            assert control.ready(1)
            assert set(ring) <= set(range(d.depth))
            held = set(ring.values())
            assert held >= {number * frame + n for n in window(d, row, col)}
            credits += sum(grant.credits for grant in control.release(0b10))
    assert control.refused == 0
    assert control.arrived[1] == sent - frames * frame
    assert credits == d.depth - control.arrived[1]


def test_vectors_one_by_one():
    control = LocalControl(CONFIG)
    control.define(2, ObjectDescriptor(x=1, y=0, route=3, slot=4, depth=2, arrived=1))
    assert control.ready(2)
    assert not control.full(2)
    # What is there at the start takes no position.
    assert control.slot(2) == 4
    control.arrive(2)
    assert control.full(2)
    assert control.slot(2) == 5
    assert control.release(0b100) == [Grant(2, 1)]
    assert control.present(2) == 1
    control.arrive(2)
    assert control.slot(2) == 4
    assert control.release(0b100) == control.release(0b100) == [Grant(2, 1)]
    assert not control.ready(2)
    assert control.release(0b100) == []
    assert control.refused == 1


def test_masks():
    control = LocalControl(CONFIG)
    for index in (0, 1, 3):
        control.define(index, ObjectDescriptor(x=0, y=0, route=0, arrived=int(index != 1)))
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
    control.define(0, descriptor((30, 20, 1, 1, 30, 20, 1, 0), depth=31, arrived=0))
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
    d = descriptor((2, 2, 2, 2, 1, 1, 1, 0), depth=3, slot=7, arrived=1)
    control.define(1, d)
    control.arrive(1)
    assert control.release(0b10) == [Grant(1, 1)]
    assert (control.arrived[1], control.dead[1], control.col[1], control.slot(1)) == (2, 1, 1, 8)
    control.define(1, d)
    assert (control.arrived[1], control.dead[1], control.col[1], control.slot(1)) == (1, 0, 0, 7)
    control.define(1, ObjectDescriptor(x=0, y=0, route=0, enable=0))
    assert control.descriptor(1) is None
    assert not control.ready(1)
    with pytest.raises(ValueError, match=r"^object 1 is not enabled$"):
        control.arrive(1)
    with pytest.raises(ValueError, match=r"^object must be in 0\.\.3, not 4$"):
        control.define(4, d)
