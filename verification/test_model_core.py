# SPDX-License-Identifier: Apache-2.0
"""What the golden model of the core refuses: the instructions that the hardware skips."""

import pytest

from models.core import Core
from models.device import IDEAL
from rtl.config import TINY
from rtl.isa import Function, Opcode, Segment, encode

HALT = encode(Opcode.HALT)
MVM = {"segment": 0, "slot": 0, "precision": 8, "input_signs": 3, "polarities": 3}
ACTIVATE = {
    "segment": 0, "side": 0, "from_slot": 0, "slot": 0, "accumulate": 0,
    "function": Function.IDENTITY, "shift": 7, "affine": 0, "table": 0, "destination": 1,
    "start": 0,
}  # fmt: skip
ERROR = {
    "segment": 0, "side": 0, "from_slot": 0, "slot": 0, "output": 0,
    "function": Function.IDENTITY, "fixed": 0, "shift": 0, "bias": 0, "destination": 1,
    "start": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (31, r"31 is not a valid Opcode"),
        (HALT | 1 << 63, r"HALT: unused bits of 0x8000000000000000 are not zero"),
        (encode(Opcode.READ, slot=8, start=0, length=8), r"READ: slot must be in 0\.\.7, not 8"),
        (encode(Opcode.READ, slot=0, start=4, length=8), r"READ: start must be a multiple of 8, "),
        (encode(Opcode.READ, slot=0, start=8, length=9), r"READ: length must be in 1\.\.8, not 9"),
        (encode(Opcode.READ, slot=0, start=0, length=0), r"READ: length must be in 1\.\.16, not 0"),
        (encode(Opcode.LOAD, affine=1, slot=2), r"LOAD: slot must be in 0\.\.1, not 2"),
        (encode(Opcode.FORWARD, **MVM | {"precision": 4}), r"FORWARD: precision must be in 5\.\.8"),
        (encode(Opcode.BACKWARD, **MVM | {"segment": 1}), r"segment rows 9\.\.16 are outside 0\."),
        (encode(Opcode.FORWARD, **MVM | {"segment": 2}), r"segment 2 is not defined"),
        (encode(Opcode.FORWARD, **MVM | {"segment": 9}), r"segment 9 is not defined"),
        (encode(Opcode.ACTIVATE, **ACTIVATE | {"table": 2}), r"ACTIVATE: table must be in 0\.\.1"),
        (encode(Opcode.ACTIVATE, **ACTIVATE | {"start": 16}), r"ACTIVATE: start must be in 0\.\.1"),
        (encode(Opcode.ERROR, **ERROR | {"function": 0}), r"ERROR: function must be in 1\.\.4"),
        (encode(Opcode.PROGRAM, segment=0, row=7, slot=0), r"PROGRAM: row must be in 8\.\.9"),
        (encode(Opcode.LOOP, counter=0, target=0, count=0), r"LOOP: count must be in 1\.\."),
        (encode(Opcode.LOOP, counter=0, target=64, count=2), r"LOOP: target must be in 0\.\.63"),
    ],
)
def test_illegal_instructions_are_refused(word, message):
    core = Core(TINY, IDEAL, 1)
    legal = Segment(row_start=8, row_count=2, col_start=0, col_count=16)
    core.segments[:2] = [legal, Segment(row_start=9, row_count=8, col_start=0, col_count=1)]
    with pytest.raises(ValueError, match=rf"^{message}"):
        core.run([word, HALT])
