# SPDX-License-Identifier: Apache-2.0
"""Control and status registers of a core: one table, no Amaranth import.

The decoder (``rtl/core/control/csr_file.py``), the documentation (:func:`markdown`), the C header
(:func:`c_header`), benches and host code are all made from the tables of this file. Every register
is one 32-bit word, addressed by its byte offset.
"""

from collections.abc import Collection
from dataclasses import dataclass, fields
from enum import Enum, IntEnum

from phasecore.rtl.spec.core import DRIFT_FRACTION, GAIN_FRACTION, CoreConfig
from phasecore.rtl.spec.instructions import INSTRUCTION_BITS, OBJECT, SEGMENT, STREAM, Field, Unit

__all__ = [
    "ADDRESS_BITS",
    "ERROR_COUNTERS",
    "ID",
    "OBJECT_WORDS",
    "STREAM_WORDS",
    "VERSION",
    "WORD_BYTES",
    "Access",
    "BitField",
    "ErrorCode",
    "ErrorCounter",
    "Event",
    "Origin",
    "Register",
    "Window",
    "c_header",
    "defines",
    "describe",
    "error_counter",
    "events",
    "markdown",
    "offsets",
    "registers",
    "windows",
]

ADDRESS_BITS = 14
"""Bits of a byte address; the program window fills the upper half."""

ID = 0x50434F52
VERSION = 0x0001_0001

WORD_BYTES = 4
SEGMENT_WORDS = 4
OBJECT_WORDS = 4
STREAM_WORDS = 2
INSTRUCTION_WORDS = INSTRUCTION_BITS // 32

_ERROR_COUNTERS = 0x040
_CONFIGURATION = 0x080
_EVENTS = 0x100
_SEGMENTS = 0x200
_OBJECTS = 0x400
_STREAMS = 0x500
_PROGRAM = 0x2000


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
    ERROR = "error"


class ErrorCode(IntEnum):
    """Value of ERROR_CODE: the first error since the counters were cleared."""

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
    FABRIC_OBJECT = 24
    FABRIC_RANGE = 25
    FABRIC_CREDIT = 26
    FABRIC_CANCELLED = 27
    REGISTER_UNDEFINED = 32
    REGISTER_READ_ONLY = 33
    REGISTER_PARTIAL = 34
    REGISTER_LOCKED = 35
    WATCHDOG = 48
    CALIBRATION = 49


class ErrorCounter(IntEnum):
    """Index of the counter that an error adds to."""

    ILLEGAL = 0
    SEGMENT = 1
    SLOT_LINE = 2
    PACKET = 3
    REGISTER = 4
    LOCKED = 5
    WATCHDOG = 6
    CALIBRATION = 7
    FABRIC = 8


_ERROR_DOCS = {
    ErrorCode.NONE: "no error since the counters were cleared",
    ErrorCode.OPCODE: "unknown opcode",
    ErrorCode.UNUSED_BITS: "unused bits of an instruction are not zero",
    ErrorCode.SEGMENT: "segment undefined, outside the array, or with a bad threshold or range",
    ErrorCode.SLOT: "slot or affine table does not exist",
    ErrorCode.LINE: "line, length or row out of range",
    ErrorCode.FUNCTION: "unknown function, or NONE for ERROR; unknown drift",
    ErrorCode.PRECISION: "precision not in 5..input_bits",
    ErrorCode.LOOP_COUNT: "LOOP with count 0",
    ErrorCode.TARGET: "LOOP target outside the program memory",
    ErrorCode.PROGRAM_END: "ran past the last instruction; the sequencer has stopped",
    ErrorCode.OBJECT: "object or stream does not exist",
    ErrorCode.PACKET_MAGIC: "header without the magic number",
    ErrorCode.PACKET_KIND: "kind is neither VECTOR nor AFFINE",
    ErrorCode.PACKET_RANGE: "start not a multiple of 8, length 0, or lines outside the vector",
    ErrorCode.PACKET_EARLY: "tlast before the last beat",
    ErrorCode.PACKET_LATE: "no tlast on the last beat",
    ErrorCode.PACKET_KEEP: "tkeep not full, or on the last beat not the bytes left",
    ErrorCode.PACKET_UNWANTED: "well-formed packet of another kind than its LOAD takes",
    ErrorCode.FABRIC_OBJECT: "message to or SEND from an undefined object, stream or table, or of"
    " another kind than the object's",
    ErrorCode.FABRIC_RANGE: "message with lines outside the vector, or with too many or no flits",
    ErrorCode.FABRIC_CREDIT: "vector without room in its ring, or more than 255 credits",
    ErrorCode.FABRIC_CANCELLED: "message cancelled on its way",
    ErrorCode.REGISTER_UNDEFINED: "access to an undefined register",
    ErrorCode.REGISTER_READ_ONLY: "write to a read-only register",
    ErrorCode.REGISTER_PARTIAL: "write without all four byte strobes",
    ErrorCode.REGISTER_LOCKED: "write to a segment or the program while running",
    ErrorCode.WATCHDOG: "no instruction issued for WATCHDOG cycles; the sequencer has stopped",
    ErrorCode.CALIBRATION: "a line's gain, or the drift, could not be measured",
}

ERROR_COUNTERS = {
    ErrorCounter.ILLEGAL: "illegal instructions skipped (opcode, unused bits, function, precision,"
    " loop) and programs without an end",
    ErrorCounter.SEGMENT: "instructions skipped for their segment",
    ErrorCounter.SLOT_LINE: "instructions skipped for a slot, table, line or row",
    ErrorCounter.PACKET: "packets dropped",
    ErrorCounter.REGISTER: "accesses to undefined registers, writes to read-only ones or partial",
    ErrorCounter.LOCKED: "writes to segments or the program while running",
    ErrorCounter.WATCHDOG: "watchdog expiries",
    ErrorCounter.CALIBRATION: "lines whose gain, and arrays whose drift, could not be measured",
    ErrorCounter.FABRIC: "messages dropped by the network interface",
}


def error_counter(code: ErrorCode) -> ErrorCounter:
    """Counter that ``code`` adds to."""
    if code in (ErrorCode.SLOT, ErrorCode.LINE):
        return ErrorCounter.SLOT_LINE
    if code in (ErrorCode.SEGMENT, ErrorCode.WATCHDOG, ErrorCode.CALIBRATION):
        return ErrorCounter[code.name]
    if code == ErrorCode.REGISTER_LOCKED:
        return ErrorCounter.LOCKED
    for prefix in ("PACKET", "REGISTER", "FABRIC"):
        if code.name.startswith(prefix):
            return ErrorCounter[prefix]
    return ErrorCounter.ILLEGAL


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
    """A memory seen as ``depth`` entries of ``words`` registers; locked while running."""

    name: str
    offset: int
    words: int
    depth: int
    doc: str

    @property
    def end(self) -> int:
        """Byte offset behind the last entry."""
        return self.offset + WORD_BYTES * self.words * self.depth

    def address(self, index: int, word: int = 0) -> int:
        """Byte offset of ``word`` of entry ``index``."""
        if not (0 <= index < self.depth and 0 <= word < self.words):
            raise ValueError(
                f"{self.name} has entries 0..{self.depth - 1} of {self.words} words,"
                f" not {index} word {word}"
            )
        return self.offset + WORD_BYTES * (self.words * index + word)


@dataclass(frozen=True, kw_only=True)
class Event:
    """What a performance counter adds up: ``width`` bits of it per cycle.

    ``internal`` events come from the controller itself, the others from its ``events`` port.
    """

    name: str
    doc: str
    width: int = 1
    internal: bool = False


def events(config: CoreConfig) -> tuple[Event, ...]:
    """All performance counters, in the order of their registers."""
    post, update = config.post_lanes.bit_length(), config.update_lanes.bit_length()
    line = config.lines.bit_length()
    cycles = [
        Event(name=f"{unit}_busy", doc=f"cycles with the {text} busy", internal=True)
        for unit, text in (
            ("post", "post-processing"),
            ("update", "update unit"),
            ("programmer", "programmer or its queue"),
            ("load", "LOAD engine"),
            ("store", "READ engine or the network interface's sender"),
        )
    ]
    stalls = [
        Event(name=f"stall_{cause}", doc=f"cycles an instruction waited for {text}", internal=True)
        for cause, text in (
            ("crossbar", "the crossbar"),
            ("post", "post-processing"),
            ("update", "the update unit"),
            ("programmer", "the programmer or its queue"),
            ("load", "the LOAD engine"),
            ("store", "the READ engine or the network interface's sender"),
            ("hazard", "a slot, a table or the accumulators in use"),
            ("object", "an object to arrive"),
        )
    ]
    return (
        Event(name="cycles", doc="cycles while running", internal=True),
        Event(name="instructions", doc="instructions issued", internal=True),
        Event(name="loads", doc="LOAD instructions issued", internal=True),
        Event(name="reads", doc="READ or SEND instructions issued", internal=True),
        *cycles,
        *stalls,
        Event(name="window", doc="cycles of integration windows"),
        Event(name="mvms", doc="matrix-vector multiplications (windows)"),
        Event(name="update_stalled", doc="cycles the update unit waited for the pulse queue"),
        Event(name="chi_blocks", doc="chi words updated by OUTER"),
        Event(name="set_pulses", doc="SET pulses", width=line),
        Event(name="reset_pulses", doc="RESET pulses", width=line),
        Event(name="refreshed_pairs", doc="worn pairs refreshed", width=line),
        Event(name="unverified", doc="weights given up by program-and-verify", width=line),
        Event(name="chi_saturations", doc="chi words saturated", width=update),
        Event(name="transfer_saturations", doc="transfers cut to pulse_max", width=update),
        Event(name="accumulator_saturations", doc="accumulators saturated", width=post),
        Event(name="code_saturations", doc="8-bit results saturated", width=post),
        Event(name="adc_clips", doc="ADC codes clipped", width=post),
        Event(
            name="adc_overranges",
            doc="ADC codes of lines that were at their limit in a cycle",
            width=post,
        ),
        *(_fabric_events() if config.objects else ()),
    )


def _fabric_events() -> tuple[Event, ...]:
    return (
        Event(name="flits_sent", doc="flits sent"),
        Event(name="flits_received", doc="flits received"),
        Event(name="credit_stalled", doc="cycles a SEND waited for credits"),
    )


def windows(config: CoreConfig) -> dict[str, Window]:
    """The memory windows, by name."""
    found: tuple[Window, ...] = (
        Window(
            name="SEGMENT", offset=_SEGMENTS, words=SEGMENT_WORDS, depth=config.segments,
            doc="segment descriptors, four words each; write before use",
        ),
        Window(
            name="PROGRAM", offset=_PROGRAM, words=INSTRUCTION_WORDS, depth=config.program_depth,
            doc="instructions, low word first; write before use",
        ),
    )  # fmt: skip
    if config.objects:
        found += (
            Window(
                name="OBJECT", offset=_OBJECTS, words=OBJECT_WORDS, depth=config.objects,
                doc="object descriptors, four words each; a write restarts the object",
            ),
            Window(
                name="STREAM", offset=_STREAMS, words=STREAM_WORDS, depth=config.streams,
                doc="stream descriptors, two words each; a write restarts the stream",
            ),
        )  # fmt: skip
    return {window.name: window for window in found}


def _word(doc: str, width: int = 32) -> tuple[BitField, ...]:
    return (BitField("value", 0, width, doc),)


def _control() -> tuple[Register, ...]:
    return (
        Register(
            name="CONTROL", offset=0x008, access=Access.STROBE, origin=Origin.HARDWARE,
            doc="commands of the host",
            fields=(
                BitField("start", 0, 1, "run from START; ignored while running"),
                BitField("abort", 1, 1, "stop the sequencer and cancel a LOAD without its packet"),
                BitField("clear", 2, 1, "clear all counters and ERROR_CODE"),
            ),
        ),
        Register(
            name="STATUS", offset=0x00C, access=Access.READ_ONLY, origin=Origin.HARDWARE,
            doc="state of the core",
            fields=(
                BitField("running", 0, 1, "a program runs"),
                BitField("halted", 1, 1, "the last program ended with HALT, all units idle"),
                BitField("error", 2, 1, "an error since the counters were cleared"),
                BitField("calibrating", 3, 1, "CALIBRATE runs"),
                *(
                    BitField(f"{unit.name.lower()}_busy", 8 + unit, 1, "unit has work")
                    for unit in Unit
                ),
            ),
        ),
    )  # fmt: skip


def _settings(config: CoreConfig) -> tuple[Register, ...]:
    program_bits = (config.program_depth - 1).bit_length()
    stored = (
        ("START", 0x010, program_bits, 0, "instruction at which a program starts"),
        ("WATCHDOG", 0x018, 32, 0, "cycles without an issue that stop a program; 0: off"),
        ("REFRESH_HIGH", 0x01C, 7, 100, "REFRESH: a pair is worn if its larger code is above"),
        ("REFRESH_LOW", 0x020, 7, 20, "REFRESH: ... and its smaller code is above"),
        ("CALIBRATION_LINE", 0x024, config.line_bits, 0, "line that the next two registers show"),
        (
            "DRIFT_BASELINE",
            0x070,
            config.drift_bits,
            0,
            "what the array conducted at BASELINE; 0: none",
        ),
        (
            "TIME",
            0x078,
            32,
            0,
            "seconds since power-up, for drift in simulation; does nothing in silicon",
        ),
    )
    shown = (
        ("PC", 0x014, program_bits, 0, "address of the instruction that is issued next"),
        ("CALIBRATION_OFFSET", 0x028, config.calibration_offset_bits, 0, "1/16 count"),
        ("CALIBRATION_GAIN", 0x02C, config.gain_bits, 1 << GAIN_FRACTION, "1/256"),
        ("ERROR_CODE", 0x030, 8, 0, "first error since the counters were cleared"),
        ("ERROR_ADDRESS", 0x034, 16, 0, "its instruction, or its register's byte offset"),
        (
            "DRIFT_SCALE",
            0x074,
            config.drift_scale_bits,
            1 << DRIFT_FRACTION,
            "of all gains, by COMPENSATE; 1/1024",
        ),
    )
    return (
        *(
            Register(
                name=name, offset=offset, access=Access.READ_WRITE, origin=Origin.STORED,
                doc=doc, reset=reset, fields=_word(doc, width),
            )
            for name, offset, width, reset, doc in stored
        ),
        *(
            Register(
                name=name, offset=offset, access=Access.READ_ONLY, origin=Origin.HARDWARE,
                doc=doc, reset=reset, fields=_word(doc, width),
                signed=name == "CALIBRATION_OFFSET",
            )
            for name, offset, width, reset, doc in shown
        ),
    )  # fmt: skip


def _constants(config: CoreConfig) -> tuple[Register, ...]:
    values = [("ID", 0x000, ID, '"PCOR"'), ("VERSION", 0x004, VERSION, "major (16), minor (16)")]
    for position, field in enumerate(fields(CoreConfig)):
        offset = _CONFIGURATION + WORD_BYTES * position
        name = f"CONFIG_{field.name.upper()}"
        values.append((name, offset, getattr(config, field.name), f"configuration: {field.name}"))
    return tuple(
        Register(
            name=name, offset=offset, access=Access.READ_ONLY, origin=Origin.CONSTANT,
            doc=doc, reset=value, fields=_word(doc),
        )
        for name, offset, value, doc in values
    )  # fmt: skip


def _counters(config: CoreConfig) -> tuple[Register, ...]:
    values = [("ERROR_COUNT", 0x038, Origin.ERROR, "errors of all kinds")]
    for counter, doc in ERROR_COUNTERS.items():
        offset = _ERROR_COUNTERS + WORD_BYTES * counter
        values.append((f"ERRORS_{counter.name}", offset, Origin.ERROR, doc))
    for position, event in enumerate(events(config)):
        offset = _EVENTS + WORD_BYTES * position
        values.append((f"COUNT_{event.name.upper()}", offset, Origin.COUNTER, event.doc))
    return tuple(
        Register(
            name=name, offset=offset, access=Access.READ_ONLY, origin=origin,
            doc=doc, fields=_word(f"{doc} (wraps)"),
        )
        for name, offset, origin, doc in values
    )  # fmt: skip


def registers(config: CoreConfig) -> tuple[Register, ...]:
    """All single registers by ascending offset (the memory windows are in :func:`windows`)."""
    found = (*_constants(config), *_control(), *_settings(config), *_counters(config))
    return tuple(sorted(found, key=lambda register: register.offset))


def offsets(config: CoreConfig) -> dict[str, int]:
    """Byte offset of every single register by name."""
    return {register.name: register.offset for register in registers(config)}


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)]


def _bits(low: int, width: int) -> str:
    return str(low) if width == 1 else f"{low + width - 1}:{low}"


def _entry(name: str, parts: tuple[Field, ...]) -> list[str]:
    """Documentation of a window's entry."""
    position, rows = 0, []
    for part in parts:
        word, low = divmod(position, 32)
        rows.append([str(word), _bits(low, part.width), part.name, part.doc])
        position += part.width
    return ["", f"## {name} entry", "", *_table(["word", "bits", "field", "meaning"], rows)]


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
    lines = _table(["offset", "name", "access", "reset", "meaning"], table)
    for register in registers:
        if len(register.fields) > 1:
            rows = [
                [_bits(field.low, field.width), field.name, field.doc] for field in register.fields
            ]
            lines += ["", f"## {register.name}", "", *_table(["bits", "field", "meaning"], rows)]
    entries = {"SEGMENT": SEGMENT, "OBJECT": OBJECT, "STREAM": STREAM}
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
        entry = WORD_BYTES * window.words
        lines.append(
            f"#define {prefix}_{window.name}(index, word)"
            f" (0x{window.offset:04x} + {entry} * (index) + {WORD_BYTES} * (word))"
        )
    return lines


def markdown(config: CoreConfig) -> str:
    """Documentation of all registers of a core of ``config``."""
    lines = [
        "# Registers", "",
        "32-bit words by byte offset; ro: read-only, rw: read-write, w1: writing 1 acts, reads 0.",
        "A refused access (undefined, read-only, partial, locked) answers SLVERR, is counted and",
        "changes nothing else.", "",
        *describe(registers(config), windows(config).values()),
    ]  # fmt: skip
    codes = [
        [str(int(code)), code.name, error_counter(code).name if code else "-", doc]
        for code, doc in _ERROR_DOCS.items()
    ]
    lines += ["", "## Error codes", "", *_table(["code", "name", "counter", "meaning"], codes)]
    return "\n".join(lines) + "\n"


def c_header(config: CoreConfig) -> str:
    """C header with the offsets, masks and error codes of a core of ``config``."""
    lines = ["/* SPDX-License-Identifier: Apache-2.0 */",
             "/* Made from rtl/spec/registers/core.py. Offsets in bytes. */",
             "#ifndef PHASECORE_H", "#define PHASECORE_H", "",
             *defines("PHASECORE", registers(config), windows(config).values())]  # fmt: skip
    lines += [f"#define PHASECORE_ERROR_{code.name} {int(code)}" for code in ErrorCode]
    return "\n".join([*lines, "", "#endif"]) + "\n"
