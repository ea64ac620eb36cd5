# SPDX-License-Identifier: Apache-2.0
"""Object and route descriptors: registers, and what objects cannot be."""

from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasecore.rtl.spec.chip import CHIPS
from phasecore.rtl.spec.instructions import (
    OBJECT,
    ROUTE,
    ObjectDescriptor,
    RouteDescriptor,
    pack_words,
    slot_ring,
    unpack,
)

TINY = CHIPS["tiny"].core
GOOD = ObjectDescriptor(
    base=16, size=4, pitch=1, depth=4, height=2, width=2, out_height=2, out_width=2, segment=3,
    rows=2, cols=2, count=12, pixel_pitch=8, row_pitch=16,
)  # fmt: skip
"""Four pixels of three bytes on a ring of 32 bytes behind the slots."""


def values_of(words):
    """Strategy of one value per field."""
    return st.fixed_dictionaries(
        {
            field.name: st.integers(
                -(1 << (field.width - 1)) if field.signed else 0,
                (1 << (field.width - field.signed)) - 1,
            )
            for word in words
            for field in word
        }
    )


@pytest.mark.parametrize("words", [OBJECT, ROUTE], ids=["object", "route"])
def test_every_register_has_room_for_its_fields(words):
    assert all(sum(field.width for field in word) <= 32 for word in words)
    names = [field.name for word in words for field in word]
    assert len(set(names)) == len(names)


@given(values_of(OBJECT), values_of(ROUTE))
def test_registers_are_the_fields(of_object, of_route):
    for words, values, descriptor in (
        (OBJECT, of_object, ObjectDescriptor(**of_object)),
        (ROUTE, of_route, RouteDescriptor(**of_route)),
    ):
        registers = descriptor.pack()
        assert all(0 <= register < 1 << 32 for register in registers)
        found = {}
        for word, register in zip(words, registers, strict=True):
            found |= unpack(word, register)
        assert found == values == asdict(descriptor)


def test_words_by_hand():
    entry = ObjectDescriptor(
        x=1, route=5, vc=1, cursor=1, base=3, size=2, pitch=9, padding_row=-1, padding_col=2,
    )  # fmt: skip
    assert entry.pack()[:2] == [
        1 | 1 << 3 | 1 << 5 | 5 << 13 | 1 << 21, 3 | 2 << 10 | 9 << 21,
    ]  # fmt: skip
    assert entry.pack()[4] == 1 | 1 << 10 | 31 << 20 | 2 << 25


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"base": 1024}, r"base must be in 0\.\.1023, not 1024"),
        ({"padding_row": -17}, r"padding_row must be in -16\.\.15, not -17"),
        ({"row_pitch": 1 << 16}, r"row_pitch must be in 0\.\.65535, not 65536"),
    ],
)
def test_registers_name_the_field_that_does_not_fit(values, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        ObjectDescriptor(**values).pack()


def test_missing_and_unknown_fields():
    values = asdict(RouteDescriptor(object=1))
    with pytest.raises(ValueError, match=r"^unknown field 'z'$"):
        pack_words(ROUTE, {**values, "z": 1})
    del values["vc"]
    with pytest.raises(KeyError, match="vc"):
        pack_words(ROUTE, values)


def test_routes_have_1_to_16_consumers():
    for consumers in (1, 16):
        RouteDescriptor(object=0, consumers=consumers).check()
    for consumers in (0, 17):
        with pytest.raises(ValueError, match=rf"^consumers must be in 1\.\.16, not {consumers}$"):
            RouteDescriptor(object=0, consumers=consumers).check()


def test_rings_of_slots():
    assert slot_ring(TINY, 3, 2) == {"base": 6, "size": 4, "pitch": 2, "depth": 2}
    ObjectDescriptor(**slot_ring(TINY, 7)).check(TINY)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"base": 60},
        {"depth": 1, "pitch": 4},
        {"cursor": 1, "depth": 0},
        {"first_col": 1, "skip": 2, "count": 7},
        {"origin": 31, "col_step": 31, "row_step": 31, "frame_step": 31},
        {"packed": 1, "stride_col": 0},
        {"stride_row": 0, "stride_col": 0},
        {"stride_row": 0, "out_height": 1},
        {"out_height": 1020, "stride_row": 2},
        # Of partial sums, nothing of a ring counts.
        {"partial": 1, "size": 0, "segment": 0},
    ],
    ids=str,
)
def test_objects_that_can_be(changes):
    replace(GOOD, **changes).check(TINY)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": 61}, r"ring of words 61\.\.64 is outside 0\.\.63 \(vector_words\)"),
        ({"size": 0}, r"ring of words 16\.\.15 is outside 0\.\.63 \(vector_words\)"),
        ({"depth": 0}, r"depth \* pitch must be in 1\.\.4 for a ring of 32 bytes, not 0 \* 1"),
        ({"depth": 5}, r"depth \* pitch must be in 1\.\.4 for a ring of 32 bytes, not 5 \* 1"),
        ({"pitch": 2}, r"depth \* pitch must be in 1\.\.4 for a ring of 32 bytes, not 4 \* 2"),
        ({"segment": 0}, r"segment must be in 1\.\.32, not 0"),
        ({"segment": 33}, r"segment must be in 1\.\.32, not 33"),
        ({"rows": 0}, r"rows must be in 1\.\.15, not 0"),
        ({"cols": 16}, r"cols must be in 1\.\.15, not 16"),
        ({"first_col": 2}, r"first_col must be in 0\.\.1, not 2"),
        ({"skip": 3}, r"skip must be in 0\.\.2, not 3"),
        ({"count": 0}, r"count must be in 1\.\.12, not 0"),
        ({"first_col": 1}, r"count must be in 1\.\.9, not 12"),
        ({"skip": 1}, r"count must be in 1\.\.11, not 12"),
        ({"segment": 8, "count": 17}, r"count must be in 1\.\.16, not 17"),
        ({"pixel_pitch": 33}, r"pixel_pitch must be in 0\.\.32, not 33"),
        ({"pixel_pitch": 17}, r"cols \* pixel_pitch must be at most 32, the ring, not 2 \* 17"),
        *(
            ({name: 32}, rf"{name} must be in 0\.\.31, not 32")
            for name in ("row_pitch", "origin", "col_step", "row_step", "frame_step")
        ),
        ({"stride_row": 0}, "stride_row must be at least 1 with 2 rows, not 0"),
        ({"packed": 1, "padding_col": 1}, "padding_col must be 0 of packed rows, not 1"),
        ({"packed": 1}, "stride_col must be 0 of packed rows, not 1"),
        (
            {"out_height": 1021, "stride_row": 2},
            "out_height must not lead beyond pixel 2047, as 1021 does",
        ),
        (
            {"out_width": 683, "stride_col": 3},
            "out_width must not lead beyond pixel 2047, as 683 does",
        ),
    ],
    ids=str,
)
def test_objects_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        replace(GOOD, **changes).check(TINY)
