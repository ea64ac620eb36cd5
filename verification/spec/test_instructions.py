# SPDX-License-Identifier: Apache-2.0
"""Instruction, segment and header tables: packing, its inverse, and the words of its errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasecore.models.golden.packets import header
from phasecore.rtl.spec.core import DEFAULT, TINY
from phasecore.rtl.spec.instructions import (
    HEADER,
    INSTRUCTION_BITS,
    INSTRUCTIONS,
    OPCODE_BITS,
    SEGMENT,
    Drift,
    Field,
    ObjectDescriptor,
    Opcode,
    PacketKind,
    RouteDescriptor,
    Segment,
    decode,
    encode,
    pack,
    unpack,
)
from phasecore.rtl.spec.messages import message_head
from phasecore.rtl.spec.packets import HEADER as FLIT_HEADER


def values_of(fields):
    """Strategy of one value per field."""
    return st.fixed_dictionaries(
        {
            field.name: st.integers(
                -(1 << (field.width - 1)) if field.signed else 0,
                (1 << (field.width - field.signed)) - 1,
            )
            for field in fields
        }
    )


INSTRUCTION = st.sampled_from(list(Opcode)).flatmap(
    lambda opcode: st.tuples(st.just(opcode), values_of(INSTRUCTIONS[opcode]))
)


@given(INSTRUCTION)
def test_decode_is_the_inverse_of_encode(instruction):
    opcode, values = instruction
    word = encode(opcode, **values)
    assert 0 <= word < 1 << INSTRUCTION_BITS
    assert decode(word) == (opcode, values)


@given(values_of(SEGMENT))
def test_segment_is_four_words(values):
    segment = Segment(**values)
    assert 0 <= segment.pack() < 1 << 120
    assert unpack(SEGMENT, segment.pack()) == values


@pytest.mark.parametrize("opcode", list(Opcode))
def test_every_instruction_fits(opcode):
    fields = INSTRUCTIONS[opcode]
    assert OPCODE_BITS + sum(field.width for field in fields) <= INSTRUCTION_BITS
    assert len({field.name for field in fields}) == len(fields)
    assert all(field.doc for field in fields)


def test_tables_have_the_sizes_that_registers_and_beats_have():
    assert sum(field.width for field in SEGMENT) == 120
    assert sum(field.width for field in HEADER) == 64


def test_words_by_hand():
    assert encode(Opcode.HALT) == 0
    assert encode(Opcode.WAIT, units=0b100001) == 12 | 0b100001 << 5
    assert encode(Opcode.READ, slot=3, first_line=8, length=16) == 2 | 3 << 5 | 8 << 10 | 16 << 20
    assert encode(Opcode.LOOP, counter=1, target=5, count=7) == 13 | 1 << 5 | 5 << 7 | 7 << 17


def test_fields_with_a_default_may_be_left_out():
    assert encode(Opcode.CALIBRATE) == encode(Opcode.CALIBRATE, drift=Drift.NONE) == 11
    assert encode(Opcode.CALIBRATE, drift=Drift.COMPENSATE) == 11 | 2 << 5
    assert decode(11) == (Opcode.CALIBRATE, {"drift": 0})


def test_negative_fields_are_twos_complement():
    bias = Field("bias", 7, "signed", signed=True)
    assert pack((bias,), {"bias": -1}) == 0x7F
    assert unpack((bias,), 0x40) == {"bias": -64}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"slot": 0, "first_line": 0}, "READ: missing field 'length'"),
        ({"slot": 32, "first_line": 0, "length": 8}, r"READ: slot must be in 0\.\.31, not 32"),
        (
            {"slot": 0, "first_line": -1, "length": 8},
            r"READ: first_line must be in 0\.\.1023, not -1",
        ),
        ({"slot": 0, "first_line": 0, "length": 8, "stop": 1}, "READ: unknown field 'stop'"),
    ],
)
def test_encode_names_instruction_field_and_value(values, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        encode(Opcode.READ, **values)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: encode(Opcode.READ, slot=1.5, first_line=0, length=8), "READ: slot .*, not 1.5"),
        (lambda: encode(Opcode.READ, slot="1", first_line=0, length=8), "READ: slot .*, not '1'"),
        (lambda: Segment(row_start=0.0, row_count=8, col_start=0, col_count=8), "row_start .* 0.0"),
        (lambda: ObjectDescriptor(x="0", y=0, route=0), "x must be an integer, not '0'"),
        (lambda: RouteDescriptor(object=None), "object must be an integer, not None"),
        (lambda: FLIT_HEADER.pack(x=2.0), "x must be an integer, not 2.0"),
        (lambda: message_head(0, start=1.5), "start must be an integer, not 1.5"),
        (lambda: header(PacketKind.VECTOR, start=8.0, length=8), "start must be an integer, not 8"),
        (lambda: FLIT_HEADER.pack(z=1), "unknown header field 'z'; known: multicast, order, "),
        (lambda: message_head(0, z=1), "unknown message field 'z'; known: kind, object, "),
        (lambda: encode(99), "99 is not a valid Opcode"),
    ],
)
def test_fields_are_known_and_integers(make, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        make()


def test_signed_range_in_the_message():
    with pytest.raises(ValueError, match=r"^bias must be in -64\.\.63, not 64$"):
        Field("bias", 7, "signed", signed=True).check(64)


def test_decode_refuses_an_unknown_opcode():
    with pytest.raises(ValueError, match=r"^31 is not a valid Opcode$"):
        decode(31)


GOOD = {"row_start": 0, "row_count": 16, "col_start": 8, "col_count": 8}


def test_legal_segment():
    segment = Segment(**GOOD)
    segment.check(TINY)
    assert (segment.rows, segment.cols) == (slice(0, 16), slice(8, 16))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"row_count": 17}, r"segment rows 0\.\.16 are outside 0\.\.15"),
        ({"col_start": 9}, r"segment cols 9\.\.16 are outside 0\.\.15"),
        ({"col_count": 0}, r"segment cols 8\.\.7 are outside 0\.\.15"),
        ({"threshold": 0}, r"threshold must be in 1\.\.32767, not 0"),
        ({"threshold": 32768}, r"threshold must be in 1\.\.32767, not 32768"),
        ({"forward_lsb_log2": 9}, r"forward_lsb_log2 must be in 10\.\.21, not 9"),
        ({"backward_lsb_log2": 22}, r"backward_lsb_log2 must be in 10\.\.21, not 22"),
    ],
)
def test_segment_check_names_what_is_wrong(change, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Segment(**GOOD | change).check(TINY)


def test_default_segment_covers_the_array():
    Segment(row_start=0, row_count=256, col_start=0, col_count=256).check(DEFAULT)
