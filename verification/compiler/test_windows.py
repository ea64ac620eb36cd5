# SPDX-License-Identifier: Apache-2.0
"""Objects of layers: fields by hand, rings, and what is refused; verification/models has the bits.

That windows are those of numpy is in ``test_gather.py``, that rings are long enough in
``test_local_control_model.py``.
"""

from dataclasses import replace

import numpy as np
import pytest

from phasecore.models.compiler.windows import (
    LayerInput,
    check_rings,
    smallest_depth,
    window_object,
)
from phasecore.rtl.spec.chip import CHIPS
from phasecore.rtl.spec.instructions import ObjectDescriptor, slot_ring

TINY, DEFAULT = CHIPS["tiny"].core, CHIPS["default"].core
FRAME = {"height": 5, "width": 6, "channels": 3}
LAYER = LayerInput(**FRAME, kernel=(3, 3), padding=(1, 1, 1, 1))
PACKED = LayerInput(
    height=28, width=28, channels=1, kernel=(5, 5), padding=(2, 2, 2, 2), block=(2, 2), packed=True
)


def fields(descriptor, *names):
    return tuple(getattr(descriptor, name) for name in names)


def test_positions_blocks_and_rows():
    assert LAYER.positions == LAYER.iterations == (5, 6)
    assert (LAYER.matrix_rows, LAYER.places) == (27, [(0, 0)])
    # The last row and column of positions are in no block.
    halved = LayerInput(height=8, width=9, channels=2, kernel=(2, 3), stride=(1, 2), block=(2, 3))
    assert (halved.positions, halved.iterations) == ((7, 4), (3, 1))
    assert halved.places == [(0, 0), (0, 2), (0, 4), (1, 0), (1, 2), (1, 4)]
    uneven = LayerInput(height=3, width=3, channels=1, kernel=(2, 2), padding=(1, 0, 0, 1))
    assert uneven.positions == (3, 3)


def test_a_window_by_hand():
    """3 x 3 pixels of 3 bytes at 8 bytes, on a ring of at least 15 vectors of 30."""
    entry = window_object(DEFAULT, LAYER, base=64, x=1, y=2, route=3)
    assert fields(entry, "x", "y", "route", "base", "size", "pitch", "depth") == (
        1, 2, 3, 64, 2, 1, 16,
    )  # fmt: skip
    assert fields(entry, "padding_row", "padding_col", "kernel_height", "kernel_width") == (
        1, 1, 3, 3,
    )  # fmt: skip
    assert fields(entry, "segment", "rows", "cols", "first_col", "skip", "count") == (
        3, 3, 3, 0, 0, 27,
    )  # fmt: skip
    # The pixel above and left of the first one is 56 bytes before it, on a ring of 128.
    assert fields(entry, "pixel_pitch", "row_pitch", "origin") == (8, 48, 128 - 56)
    assert fields(entry, "col_step", "row_step", "frame_step") == (8, 48, 240 - 128)


@pytest.mark.parametrize(
    ("tile", "paddings", "kernel", "window"),
    [
        # (padding), (kernel_height, kernel_width), (rows, cols, first_col, skip, count)
        ((0, 9), (1, 1), (1, 3), (1, 3, 0, 0, 9)),
        ((9, 18), (0, 1), (1, 3), (1, 3, 0, 0, 9)),
        ((4, 8), (1, 0), (1, 2), (1, 2, 0, 1, 4)),
        ((4, 14), (1, 1), (2, 3), (2, 3, 1, 1, 10)),
        ((24, 27), (-1, -1), (1, 1), (1, 1, 0, 0, 3)),
        ((26, 27), (-1, -1), (1, 1), (1, 1, 0, 2, 1)),
    ],
    ids=str,
)
def test_tiles_by_hand(tile, paddings, kernel, window):
    entry = window_object(TINY, LAYER, base=16, tile=tile)
    assert fields(entry, "padding_row", "padding_col") == paddings
    assert fields(entry, "kernel_height", "kernel_width") == kernel
    assert fields(entry, "rows", "cols", "first_col", "skip", "count") == window


def test_packed_rows_by_hand():
    """28 pixels of a byte and two of padding on either side: 32 bytes."""
    entry = window_object(DEFAULT, PACKED, base=64)
    assert fields(entry, "packed", "height", "width", "pitch") == (1, 28, 1, 4)
    assert fields(entry, "out_height", "out_width", "stride_row", "stride_col") == (14, 14, 2, 0)
    assert fields(entry, "kernel_height", "kernel_width", "padding_row", "padding_col") == (
        6, 1, 2, 0,
    )  # fmt: skip
    assert fields(entry, "segment", "rows", "cols", "count", "pixel_pitch") == (5, 5, 1, 25, 1)
    assert fields(entry, "size", "depth") == (4, 8)
    assert fields(entry, "origin", "col_step", "row_step") == (256 - 64, 2, 64)
    wide = LayerInput(height=9, width=224, channels=3, kernel=(7, 7), stride=(2, 2), packed=True)
    entry = window_object(DEFAULT, wide, base=64)
    assert fields(entry, "width", "kernel_width", "pitch", "row_pitch", "col_step") == (
        3, 3, 28, 672, 6,
    )  # fmt: skip


def test_vectors_of_a_frame():
    frame = np.arange(90).reshape(5, 6, 3)
    assert [codes.tolist() for codes in LAYER.vectors(frame, TINY)[:2]] == [[0, 1, 2], [3, 4, 5]]
    # 8 pixels of 3 bytes, with the padding: a vector of 16 and one of 8.
    packed = replace(LAYER, packed=True)
    vectors = packed.vectors(frame, TINY)
    assert [len(codes) for codes in vectors] == [16, 8] * 5
    assert vectors[1].tolist() == [13, 14, 15, 16, 17, 0, 0, 0]
    assert vectors[2].tolist()[:4] == [0, 0, 0, 18]


def test_the_smallest_ring():
    """Of a fully connected layer a whole frame; of a pixel one; of 3 x 3 two rows and more."""
    assert smallest_depth(ObjectDescriptor()) == 1
    whole = LayerInput(height=4, width=4, channels=8, kernel=(4, 4))
    assert smallest_depth(window_object(DEFAULT, whole, base=64)) == 16
    # Between two iterations of a row, one pixel is forgotten and the next one comes.
    assert smallest_depth(window_object(DEFAULT, LAYER, base=64)) == 2 * 6 + 3
    assert window_object(DEFAULT, LAYER, base=64, ahead=3).depth == 24


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height": 0}, r"height must be in 1\.\.1023, not 0"),
        ({"kernel": (6, 3)}, r"kernel height must be in 1\.\.5, not 6"),
        ({"kernel": (3, 7)}, r"kernel width must be in 1\.\.6, not 7"),
        ({"kernel": (3, 0)}, r"kernel width must be in 1\.\.6, not 0"),
        ({"stride": (0, 1)}, r"stride of rows must be in 1\.\.15, not 0"),
        ({"padding": (0, 1, 0, 0)}, r"padding on the left must be in 0\.\.0, not 1"),
        ({"kernel": (2, 2), "padding": (0, 0, 2, 0)}, r"padding below must be in 0\.\.1, not 2"),
        ({"stride": (2, 1), "block": (5, 1)}, r"rows of a block must be in 1\.\.4, not 5"),
        ({"stride": (2, 1), "block": (4, 1)}, r"rows of a block must be at most 3, not 4"),
        ({"block": (1, 7)}, r"columns of a block must be at most 6, not 7"),
        (
            {"packed": True, "largest": True},
            "packed rows must not be pooled: their padding would count as zeros",
        ),
    ],
)
def test_layers_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        LayerInput(**FRAME | changes)


@pytest.mark.parametrize(
    ("layer", "values", "message"),
    [
        (LAYER, {"tile": (3, 3)}, r"tile must be part of 0\.\.27, not 3\.\.3"),
        (LAYER, {"tile": (3, 28)}, r"tile must be part of 0\.\.27, not 3\.\.28"),
        (
            replace(LAYER, largest=True), {"tile": (2, 4)},
            r"tile must be part of 0\.\.3, not 2\.\.4",
        ),
        (LAYER, {}, "tile must have at most 16 rows, not 27"),
        (replace(LAYER, channels=17), {"tile": (0, 1)}, "channels must be at most 16, not 17"),
        (
            LAYER, {"tile": (0, 16), "size": 8},
            "size must be at least 9 words for windows of 9 vectors of 8 bytes, not 8",
        ),
        (
            LAYER, {"tile": (0, 16), "base": 60},
            r"ring of words 60\.\.68 is outside 0\.\.63 \(vector_words\)",
        ),
        (LAYER, {"tile": (0, 16), "x": 16}, r"x must be in 0\.\.15, not 16"),
        (
            LayerInput(height=16, width=1, channels=1, kernel=(16, 1)), {"tile": (0, 16)},
            r"rows must be in 1\.\.15, not 16",
        ),
    ],
    ids=str,
)  # fmt: skip
def test_objects_that_are_refused(layer, values, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        window_object(TINY, layer, **{"base": 16, **values})


def test_rings_of_a_core():
    first, second = (window_object(TINY, LAYER, base=base, tile=(0, 16)) for base in (16, 25))
    cursor = replace(first, cursor=1, source=0)
    slots = ObjectDescriptor(**slot_ring(TINY, 0, 8))
    sums = ObjectDescriptor(partial=1)
    check_rings(TINY, [first, second, cursor, slots, sums, first])
    check_rings(TINY, [first, replace(second, base=16, enable=0)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": 24}, r"ring of object 1, words 24\.\.32, overlaps that of object 0, words 16.*"),
        ({"base": 8}, r"ring of object 1, words 8\.\.16, overlaps that of object 0, words 16.*"),
        ({"pitch": 2, "depth": 4}, r"ring of object 1, words 16\.\.24, overlaps .*"),
        ({"base": 60}, r"object 1: ring of words 60\.\.68 is outside 0\.\.63 \(vector_words\)"),
        (
            {"cursor": 1, "source": 2},
            "source must be an object with the ring of its cursor 1, not 2",
        ),
        (
            {"cursor": 1, "source": 1},
            "source must be an object with the ring of its cursor 1, not 1",
        ),
        (
            {"cursor": 1, "source": 0, "base": 30},
            "source must be an object with the ring of its cursor 1, not 0",
        ),
    ],
    ids=str,
)  # fmt: skip
def test_rings_that_do_not_go_together(changes, message):
    first = window_object(TINY, LAYER, base=16, tile=(0, 16))
    other = ObjectDescriptor(**slot_ring(TINY, 0))
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_rings(TINY, [first, replace(first, **changes), other])
