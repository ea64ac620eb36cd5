# SPDX-License-Identifier: Apache-2.0
"""What the registers of a core and of a chip share: kinds of registers, errors, documents.

Every register is one 32-bit word, addressed by its byte offset. No Amaranth import.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, IntEnum

from phasecore.rtl.spec.instructions import OBJECT, ROUTE, SEGMENT, Words

__all__ = [
    "ADDRESS_BITS",
    "FAULT_COUNTERS",
    "FAULT_DOCS",
    "OBJECT_WORDS",
    "ROUTE_WORDS",
    "SEGMENT_WORDS",
    "WORD_BYTES",
    "Access",
    "BitField",
    "FaultCode",
    "FaultCounter",
    "Origin",
    "Register",
    "Window",
    "defines",
    "describe",
    "fault_counter",
    "markdown_table",
]

ADDRESS_BITS = 14
"""Bits of a byte address; the program window fills the upper half."""
WORD_BYTES = 4
SEGMENT_WORDS = 4
OBJECT_WORDS = len(OBJECT)
ROUTE_WORDS = len(ROUTE)


class Access(Enum):
    """What a bus access may do."""

    READ_ONLY = "ro"
    READ_WRITE = "rw"
    STROBE = "w1"
    """Reads 0; writing 1 to a bit acts once."""


class Origin(Enum):
    """Where the value of a register lives."""

    CONSTANT = "constant"
    STORED = "stored"
    HARDWARE = "hardware"
    COUNTER = "counter"
    FAULT = "fault"


class FaultCode(IntEnum):
    """Value of FAULT_CODE: the first fault since the counters were cleared."""

    NONE = 0
    OPCODE = 1
    UNUSED_BITS = 2
    SEGMENT = 3
    SLOT = 4
    LINE = 5
    FUNCTION = 6
    PRECISION = 7
    LOOP_COUNT = 8
    TARGET = 9
    PROGRAM_END = 10
    OBJECT = 11
    PACKET_MAGIC = 16
    PACKET_KIND = 17
    PACKET_RANGE = 18
    PACKET_EARLY = 19
    PACKET_LATE = 20
    PACKET_KEEP = 21
    PACKET_UNWANTED = 22
    NOC_OBJECT = 24
    NOC_RANGE = 25
    NOC_CREDIT = 26
    NOC_CANCELLED = 27
    REGISTER_UNDEFINED = 32
    REGISTER_READ_ONLY = 33
    REGISTER_PARTIAL = 34
    REGISTER_LOCKED = 35
    REGISTER_RANGE = 36
    WATCHDOG = 48
    CALIBRATION = 49


class FaultCounter(IntEnum):
    """Index of the counter that an error adds to."""

    ILLEGAL = 0
    SEGMENT = 1
    SLOT_LINE = 2
    PACKET = 3
    REGISTER = 4
    LOCKED = 5
    WATCHDOG = 6
    CALIBRATION = 7
    NOC = 8


FAULT_DOCS = {
    FaultCode.NONE: "no error since the counters were cleared",
    FaultCode.OPCODE: "unknown opcode",
    FaultCode.UNUSED_BITS: "unused bits of an instruction are not zero",
    FaultCode.SEGMENT: "segment undefined, outside the array, or with a bad threshold or range",
    FaultCode.SLOT: "slot or affine table does not exist",
    FaultCode.LINE: "line, length or row out of range",
    FaultCode.FUNCTION: "unknown function, or NONE for DELTA; unknown drift",
    FaultCode.PRECISION: "precision not in 5..input_bits",
    FaultCode.LOOP_COUNT: "LOOP with count 0",
    FaultCode.TARGET: "LOOP target outside the program memory",
    FaultCode.PROGRAM_END: "ran past the last instruction; the sequencer has stopped",
    FaultCode.OBJECT: "object or route does not exist",
    FaultCode.PACKET_MAGIC: "header without the magic number",
    FaultCode.PACKET_KIND: "kind is neither VECTOR nor AFFINE",
    FaultCode.PACKET_RANGE: "start not a multiple of 8, length 0, or lines outside the vector",
    FaultCode.PACKET_EARLY: "tlast before the last beat",
    FaultCode.PACKET_LATE: "no tlast on the last beat",
    FaultCode.PACKET_KEEP: "tkeep not full, or on the last beat not the bytes left",
    FaultCode.PACKET_UNWANTED: "well-formed packet of another kind than its LOAD takes",
    FaultCode.NOC_OBJECT: "message to or SEND from an undefined object, route or table, or of"
    " another kind than the object's",
    FaultCode.NOC_RANGE: "message with lines outside the vector, or with too many or no flits",
    FaultCode.NOC_CREDIT: "vector without room in its ring, or more than 4,095 credits",
    FaultCode.NOC_CANCELLED: "message cancelled on its way",
    FaultCode.REGISTER_UNDEFINED: "access to an undefined register",
    FaultCode.REGISTER_READ_ONLY: "write to a read-only register",
    FaultCode.REGISTER_PARTIAL: "write without all four byte strobes",
    FaultCode.REGISTER_LOCKED: "write to a segment, the program or MEMORY_DATA while running",
    FaultCode.REGISTER_RANGE: "MEMORY_DATA with MEMORY_ADDRESS behind the end of the memory",
    FaultCode.WATCHDOG: "no instruction issued for WATCHDOG cycles; the sequencer has stopped",
    FaultCode.CALIBRATION: "a line's gain, or the drift, could not be measured",
}

FAULT_COUNTERS = {
    FaultCounter.ILLEGAL: "illegal instructions skipped (opcode, unused bits, function, precision,"
    " loop) and programs without an end",
    FaultCounter.SEGMENT: "instructions skipped for their segment",
    FaultCounter.SLOT_LINE: "instructions skipped for a slot, table, line or row",
    FaultCounter.PACKET: "packets dropped",
    FaultCounter.REGISTER: "accesses to undefined registers or behind the end of a memory, writes"
    " to read-only ones or partial",
    FaultCounter.LOCKED: "writes to segments, the program or MEMORY_DATA while running",
    FaultCounter.WATCHDOG: "watchdog expiries",
    FaultCounter.CALIBRATION: "lines whose gain, and arrays whose drift, could not be measured",
    FaultCounter.NOC: "messages dropped by the network interface",
}


def fault_counter(code: FaultCode) -> FaultCounter:
    """Counter that ``code`` adds to."""
    if code in (FaultCode.SLOT, FaultCode.LINE):
        return FaultCounter.SLOT_LINE
    if code in (FaultCode.SEGMENT, FaultCode.WATCHDOG, FaultCode.CALIBRATION):
        return FaultCounter[code.name]
    if code == FaultCode.REGISTER_LOCKED:
        return FaultCounter.LOCKED
    for prefix in ("PACKET", "REGISTER", "NOC"):
        if code.name.startswith(prefix):
            return FaultCounter[prefix]
    return FaultCounter.ILLEGAL


@dataclass(frozen=True)
class BitField:
    """Bits ``low .. low + width - 1`` of a register."""

    name: str
    low: int
    width: int
    doc: str


@dataclass(frozen=True, kw_only=True)
class Register:
    """One 32-bit word at byte ``offset``.

    Bits outside ``fields`` read 0 (copies of the sign if ``signed``) and ignore writes.
    """

    name: str
    offset: int
    access: Access
    origin: Origin
    doc: str
    reset: int = 0
    fields: tuple[BitField, ...] = ()
    signed: bool = False

    @property
    def width(self) -> int:
        """Bits up to the highest field."""
        return max(field.low + field.width for field in self.fields)


@dataclass(frozen=True, kw_only=True)
class Window:
    """A memory seen as ``depth`` entries of ``words`` registers; locked while running.

    Entries begin at multiples of ``stride`` registers.
    """

    name: str
    offset: int
    words: int
    depth: int
    doc: str

    @property
    def stride(self) -> int:
        """Registers from an entry to the next, a power of two."""
        return 1 << (self.words - 1).bit_length()

    @property
    def end(self) -> int:
        """Byte offset behind the last entry."""
        return self.offset + WORD_BYTES * self.stride * self.depth

    def address(self, index: int, word: int = 0) -> int:
        """Byte offset of ``word`` of entry ``index``."""
        if not (0 <= index < self.depth and 0 <= word < self.words):
            raise ValueError(
                f"{self.name} has entries 0..{self.depth - 1} of {self.words} words,"
                f" not {index} word {word}"
            )
        return self.offset + WORD_BYTES * (self.stride * index + word)


def markdown_table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a table."""
    return ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)]


def _bits(low: int, width: int) -> str:
    return str(low) if width == 1 else f"{low + width - 1}:{low}"


def _entry(name: str, words: Words) -> list[str]:
    """Documentation of a window's entry."""
    rows = []
    for word, parts in enumerate(words):
        position = 0
        for part in parts:
            low = position % 32
            register = str(word + position // 32)
            rows.append([register, _bits(low, part.width), part.name, part.doc])
            position += part.width
    return ["", f"## {name} entry", "", *markdown_table(["word", "bits", "field", "meaning"], rows)]


def describe(registers: Collection[Register], windows: Collection[Window]) -> list[str]:
    """Lines of documentation: all registers, bit fields, entries of windows."""
    table = [
        [f"0x{register.offset:04x}", register.name, register.access.value, f"0x{register.reset:x}",
         register.doc]
        for register in registers
    ]  # fmt: skip
    table += [
        [f"0x{window.offset:04x}..0x{window.end - 1:04x}", f"{window.name}[{window.depth}]", "rw",
         "-", window.doc]
        for window in windows
    ]  # fmt: skip
    lines = markdown_table(["offset", "name", "access", "reset", "meaning"], table)
    for register in registers:
        if len(register.fields) > 1:
            rows = [
                [_bits(field.low, field.width), field.name, field.doc] for field in register.fields
            ]
            lines += [
                "",
                f"## {register.name}",
                "",
                *markdown_table(["bits", "field", "meaning"], rows),
            ]
    entries = {"SEGMENT": (SEGMENT,), "OBJECT": OBJECT, "ROUTE": ROUTE}
    for window in windows:
        if window.name in entries:
            lines += _entry(window.name, entries[window.name])
    return lines


def defines(prefix: str, registers: Collection[Register], windows: Collection[Window]) -> list[str]:
    """Lines of a C header: offsets, shifts and masks of bit fields, addresses in windows."""
    lines = []
    for register in registers:
        name = f"{prefix}_{register.name}"
        lines.append(f"#define {name} 0x{register.offset:04x} /* {register.doc} */")
        if len(register.fields) > 1:
            for field in register.fields:
                part = f"{name}_{field.name.upper()}"
                mask = ((1 << field.width) - 1) << field.low
                lines += [f"#define {part}_SHIFT {field.low}", f"#define {part}_MASK 0x{mask:x}u"]
    for window in windows:
        entry = WORD_BYTES * window.stride
        lines.append(
            f"#define {prefix}_{window.name}(index, word)"
            f" (0x{window.offset:04x} + {entry} * (index) + {WORD_BYTES} * (word))"
        )
    return lines
