# SPDX-License-Identifier: Apache-2.0
"""Programs as arrays of records: checked, decoded, with their segments and live lines."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from phasecore.models.engine.jit import compiled, record, records
from phasecore.models.golden.arithmetic import Int
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import (
    GROUP,
    INSTRUCTIONS,
    SEGMENT,
    DeltaSource,
    Drift,
    Function,
    Opcode,
    Segment,
    decode,
    encode,
)

__all__ = ["HALTED", "NO_HALT", "WAITS", "Decoder", "Programs", "checked", "next_instruction"]

Segments = Sequence[Segment | None]
"""Segment descriptors of a core, None where undefined."""

_FIELDS = {field.name for fields in INSTRUCTIONS.values() for field in fields}
_SEGMENT = [field.name for field in SEGMENT]

INSTRUCTION = record("opcode", *sorted(_FIELDS), *_SEGMENT, "live_start", "live_stop")
"""The fields of all opcodes, those of the segment named, and of a product the lines that may be
read out before the next window."""

PLACE = record("pc", "loop0", "loop1", "loop2", "loop3", "sending", "status", "steps")
"""Where a program is: address of the next instruction, passes of the loops, address of a SEND that
is under way or -1, how it stands, instructions done."""

HALTED, WAITS, NO_HALT = range(3)
"""How a program stands: finished, may go on (or waits), or left behind its last instruction."""

_LOOP = int(Opcode.LOOP)
_PRODUCTS = {int(Opcode.FORWARD), int(Opcode.BACKWARD)}
_WINDOWS = {*_PRODUCTS, int(Opcode.CALIBRATE)}
"""Instructions that replace the latest window in any case."""

_READERS = {int(Opcode.ACTIVATE), int(Opcode.DELTA)}
"""Instructions that may read it out."""

_ENDS = {int(Opcode.HALT), int(Opcode.LOAD)}
"""Instructions at which a program may end (LOAD for want of a packet)."""

_NAMES = list(INSTRUCTION.names or ())
_OPCODE, _LIVE, _TARGET, _SIDE, _FROM_SLOT, _SOURCE, _ROW_START, _COL_START = map(
    _NAMES.index,
    ("opcode", "live_start", "target", "axis", "from_slot", "source", "row_start", "col_start"),
)
"""Places of the fields in a record; counts follow the starts."""

_STAND_ALONE = (Opcode.LOAD, Opcode.READ)
"""Instructions of AXI-Streams, which a core on a chip does not have."""

_OF_SUMS = (Opcode.SCATTER, Opcode.NORMALISE)
"""Instructions of cores with room for frames of sums."""

_ON_A_CHIP = (Opcode.SEND, Opcode.AWAIT, Opcode.RELEASE, Opcode.GATHER, *_OF_SUMS)
"""Instructions of a network interface."""

REMEMBERED = 4096
"""Most instructions that are remembered."""


class Programs(NamedTuple):
    """Programs of several cores, one behind the other, and where they are."""

    code: Any
    """Instructions of all."""
    ends: Int
    """Core k has ``code[ends[k] : ends[k + 1]]``."""
    places: Any
    """``PLACE`` by core."""

    @classmethod
    def of(
        cls, decoder: "Decoder", segments: Sequence[Segments],
        words: Sequence[Sequence[int] | None],
    ) -> "Programs":  # fmt: skip
        """Programs at their beginnings, by core; one without a program has finished.

        ``ValueError`` for an instruction that the hardware would refuse.
        """
        parts = [
            decoder.decode(part or (), known) for part, known in zip(words, segments, strict=True)
        ]
        places = records(len(parts), PLACE)
        places["sending"] = -1
        places["status"] = [HALTED if part is None else WAITS for part in words]
        code = np.concatenate(parts).view(np.recarray)
        return cls(code, np.cumsum([0, *map(len, parts)]), places)

    def part(self, k: int) -> NDArray[Any]:
        """Instructions of core ``k``."""
        code: NDArray[Any] = self.code[self.ends[k] : self.ends[k + 1]]
        return code


class Decoder:
    """Makes records of instructions for cores of ``config``; those seen before are remembered."""

    def __init__(self, config: CoreConfig) -> None:
        self._config = config
        self._fields: dict[int, dict[str, int]] = {}
        self._records: dict[tuple[int, Segment | None], list[int]] = {}

    def decode(self, program: Sequence[int], segments: Segments) -> NDArray[Any]:
        """``INSTRUCTION`` records; ``ValueError`` for what the hardware would refuse."""
        found = [self._record(word, segments).copy() for word in program]
        _set_live_lines(found, self._config.lines)
        code = np.array([tuple(fields) for fields in found], dtype=INSTRUCTION)
        return code.view(np.recarray)

    def _record(self, word: int, segments: Segments) -> list[int]:
        """Fields of an instruction."""
        known = self._fields.get(word)
        if known is not None:
            found = self._records.get((word, _segment(segments, known)))
            if found is not None:
                return found
        opcode, values = checked(word, self._config, segments)
        segment = _segment(segments, values)
        named = {**values, **(vars(segment) if segment else {}), "opcode": int(opcode)}
        fields = [named.get(name, 0) for name in _NAMES]
        # Segments change with the learning rate: those of long ago are not needed any more.
        if len(self._records) >= REMEMBERED:
            self._records.clear()
        self._fields[word] = values
        self._records[word, segment] = fields
        return fields


def _segment(segments: Segments, values: Mapping[str, int]) -> Segment | None:
    return segments[values["segment"]] if "segment" in values else None


def checked(word: int, config: CoreConfig, segments: Segments) -> tuple[Opcode, dict[str, int]]:
    """Opcode and fields of a legal instruction; every field is checked, used or not.

    ``ValueError`` for an instruction that the hardware would refuse.
    """
    opcode, values = decode(word)
    if encode(opcode, **values) != word:
        raise ValueError(f"{opcode.name}: unused bits of {word:#x} are not zero")
    if opcode in _OF_SUMS and config.objects and not config.sum_words:
        raise ValueError(f"{opcode.name} is illegal for a core without sum_words")
    if opcode in (_STAND_ALONE if config.objects else _ON_A_CHIP):
        kind = "on a chip" if config.objects else "that stands alone"
        raise ValueError(f"{opcode.name} is illegal for a core {kind}")
    bounds = dict.fromkeys(("slot", "output", "delta", "destination"), (0, config.slots - 1))
    bounds |= {
        "table": (0, config.affine_tables - 1),
        "destination_line": (0, config.lines - 1),
        "first_line": (0, config.lines - 1),
        "length": (1, config.lines - values.get("first_line", 0)),
        "source": (0, max(DeltaSource)),
        "function": (int(opcode is Opcode.DELTA), max(Function)),
        "precision": (5, config.input_bits),
        "drift": (0, max(Drift)),
        "count": (1, 0xFFFF),
        "target": (0, config.program_depth - 1),
        "block": (0, config.blocks - 1),
        "route": (0, config.routes - 1),
        "object": (0, config.objects - 1),
        "objects": (0, (1 << config.objects) - 1),
    }
    if opcode is Opcode.LOAD and values["affine"]:
        bounds["slot"] = bounds["table"]
    if "segment" in values:
        segment = _segment(segments, values) if values["segment"] < len(segments) else None
        if segment is None:
            raise ValueError(f"segment {values['segment']} is not defined")
        segment.check(config)
        bounds["row"] = (segment.rows.start, segment.rows.stop - 1)
    for name, value in values.items():
        low, high = bounds.get(name, (value, value))
        if not low <= value <= high:
            raise ValueError(f"{opcode.name}: {name} must be in {low}..{high}, not {value}")
    if opcode in (Opcode.READ, Opcode.SEND) and values["first_line"] % GROUP:
        line = values["first_line"]
        raise ValueError(f"{opcode.name}: first_line must be a multiple of {GROUP}, not {line}")
    return opcode, values


def _set_live_lines(records: list[list[int]], lines: int) -> None:
    for pc, fields in enumerate(records):
        if fields[_OPCODE] in _PRODUCTS:
            fields[_LIVE], fields[_LIVE + 1] = _live_lines(records, pc, lines)


def _live_lines(records: list[list[int]], pc: int, lines: int) -> tuple[int, int]:
    """Range of the lines of the window of instruction ``pc`` that are read out, or are left when
    the program ends."""
    first, stop = lines, 0
    pending, seen = [pc + 1], set()
    while pending:
        at = pending.pop()
        if at >= len(records) or records[at][_OPCODE] in _ENDS:
            return 0, lines
        fields = records[at]
        if at in seen or fields[_OPCODE] in _WINDOWS:
            continue
        seen.add(at)
        pending.append(at + 1)
        if fields[_OPCODE] == _LOOP:
            pending.append(fields[_TARGET])
        elif fields[_OPCODE] in _READERS and not (fields[_FROM_SLOT] or fields[_SOURCE]):
            start = _ROW_START if fields[_SIDE] else _COL_START
            first = min(first, fields[start])
            stop = max(stop, fields[start] + fields[start + 1])
    return (first, stop) if stop else (0, 0)


@compiled
def next_instruction(code: Any, place: Any) -> int:
    """Address of the next instruction that is no LOOP, or -1 behind the last one.

    ``place`` (a ``PLACE``) goes on to that instruction, which is not passed.
    """
    while place.pc < len(code):
        i = code[place.pc]
        if i.opcode != _LOOP:
            return place.pc
        passes = _passes(place, i.counter) + 1
        if passes < i.count:
            place.pc = i.target
        else:
            place.pc += 1
            passes = 0
        if i.counter == 0:
            place.loop0 = passes
        elif i.counter == 1:
            place.loop1 = passes
        elif i.counter == 2:
            place.loop2 = passes
        else:
            place.loop3 = passes
    return -1


@compiled
def _passes(place: Any, counter: int) -> int:
    if counter == 0:
        return place.loop0
    if counter == 1:
        return place.loop1
    return place.loop2 if counter == 2 else place.loop3
