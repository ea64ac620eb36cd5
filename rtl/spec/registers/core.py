# SPDX-License-Identifier: Apache-2.0
"""Control and status registers of a core: one table, no Amaranth import.

The decoder (``rtl/core/control/csr_file.py``), the documentation (:func:`markdown`), the C header
(:func:`c_header`), benches and host code are all made from the tables of this file.
"""

from dataclasses import dataclass, fields

from phasecore.rtl.spec.core import DRIFT_FRACTION, GAIN_FRACTION, CoreConfig
from phasecore.rtl.spec.instructions import INSTRUCTION_BITS, Unit
from phasecore.rtl.spec.registers.table import (
    FAULT_COUNTERS,
    FAULT_DOCS,
    OBJECT_WORDS,
    ROUTE_WORDS,
    SEGMENT_WORDS,
    WORD_BYTES,
    Access,
    BitField,
    FaultCode,
    Origin,
    Register,
    Window,
    defines,
    describe,
    fault_counter,
    markdown_table,
)

__all__ = [
    "AFFINE_BIT",
    "ID",
    "VERSION",
    "Event",
    "affine_address",
    "c_header",
    "events",
    "markdown",
    "offsets",
    "registers",
    "vector_address",
    "windows",
]

ID = 0x50434F52
VERSION = 0x0002_0000
INSTRUCTION_WORDS = INSTRUCTION_BITS // 32

AFFINE_BIT = 31
"""Bit of MEMORY_ADDRESS that names the affine tables instead of the vector memory."""

_FAULT_COUNTERS = 0x040
_CONFIGURATION = 0x080
_EVENTS = 0x100
_SEGMENTS = 0x200
_OBJECTS = 0x400
_ROUTES = 0x800
_PROGRAM = 0x2000


@dataclass(frozen=True, kw_only=True)
class Event:
    """What a performance counter adds up: ``width`` bits of it per cycle.

    ``internal`` events come from the controller itself, the others from its ``events`` port.
    """

    name: str
    doc: str
    width: int = 1
    internal: bool = False

    @property
    def register(self) -> str:
        """Name of the counter's register."""
        return f"COUNT_{self.name.upper()}"


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
            ("load", "LOAD unit"),
            ("read", "READ unit or the network interface's sender"),
            *([("gather", "window unit")] if config.objects else ()),
        )
    ]
    stalls = [
        Event(name=f"stall_{cause}", doc=f"cycles an instruction waited for {text}", internal=True)
        for cause, text in (
            ("crossbar", "the crossbar"),
            ("post", "post-processing"),
            ("update", "the update unit"),
            ("programmer", "the programmer or its queue"),
            ("load", "the LOAD unit"),
            ("read", "the READ unit or the network interface's sender"),
            *([("gather", "the window unit")] if config.objects else ()),
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
        Event(name="chi_words_updated", doc="chi words updated by OUTER"),
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
        *(_noc_events() if config.objects else ()),
    )


def _noc_events() -> tuple[Event, ...]:
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
            doc="segment descriptors; write before use",
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
                doc="object descriptors; a write restarts the object",
            ),
            Window(
                name="ROUTE", offset=_ROUTES, words=ROUTE_WORDS, depth=config.routes,
                doc="route descriptors; a write restarts the route",
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
                BitField("clear", 2, 1, "clear all counters and FAULT_CODE"),
            ),
        ),
        Register(
            name="STATUS", offset=0x00C, access=Access.READ_ONLY, origin=Origin.HARDWARE,
            doc="state of the core",
            fields=(
                BitField("running", 0, 1, "a program runs"),
                BitField("halted", 1, 1, "the last program ended with HALT, all units idle"),
                BitField("fault", 2, 1, "a fault since the counters were cleared"),
                BitField("calibrating", 3, 1, "CALIBRATE runs"),
                *(
                    BitField(f"{unit.name.lower()}_busy", 8 + unit, 1, "unit has work")
                    for unit in Unit
                ),
            ),
        ),
    )  # fmt: skip


def _memory() -> tuple[Register, ...]:
    return (
        Register(
            name="MEMORY_ADDRESS", offset=0x068, access=Access.READ_WRITE, origin=Origin.STORED,
            doc="where MEMORY_DATA is: a byte address, multiple of 4",
            fields=(
                BitField("word", 2, AFFINE_BIT - 2, "byte address in the memory, divided by 4"),
                BitField("affine", AFFINE_BIT, 1, "0: the vector memory, 1: the affine tables"),
            ),
        ),
        Register(
            name="MEMORY_DATA", offset=0x06C, access=Access.READ_WRITE, origin=Origin.HARDWARE,
            doc="four bytes at MEMORY_ADDRESS, which then grows by 4; affine tables read 0",
            fields=_word("lowest address in the lowest byte; locked for writes while running"),
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
            "TIME_S",
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
        ("FAULT_CODE", 0x030, 8, 0, "first fault since the counters were cleared"),
        ("FAULT_ADDRESS", 0x034, 16, 0, "its instruction, or its register's byte offset"),
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
    values = [("FAULT_COUNT", 0x038, Origin.FAULT, "faults of all kinds")]
    for counter, doc in FAULT_COUNTERS.items():
        offset = _FAULT_COUNTERS + WORD_BYTES * counter
        values.append((f"FAULTS_{counter.name}", offset, Origin.FAULT, doc))
    for position, event in enumerate(events(config)):
        offset = _EVENTS + WORD_BYTES * position
        values.append((event.register, offset, Origin.COUNTER, event.doc))
    return tuple(
        Register(
            name=name, offset=offset, access=Access.READ_ONLY, origin=origin,
            doc=doc, fields=_word(f"{doc} (wraps)"),
        )
        for name, offset, origin, doc in values
    )  # fmt: skip


def registers(config: CoreConfig) -> tuple[Register, ...]:
    """All single registers by ascending offset (the memory windows are in :func:`windows`)."""
    found = (
        *_constants(config), *_control(), *_memory(), *_settings(config), *_counters(config),
    )  # fmt: skip
    return tuple(sorted(found, key=lambda register: register.offset))


def vector_address(config: CoreConfig, slot: int, line: int = 0) -> int:
    """MEMORY_ADDRESS of a line of a slot, a byte each."""
    _check(slot=(slot, config.slots), line=(line, config.lines))
    return slot * config.lines + line


def affine_address(config: CoreConfig, table: int, line: int = 0) -> int:
    """MEMORY_ADDRESS of a line of an affine table: scale and offset, a byte each."""
    _check(table=(table, config.affine_tables), line=(line, config.lines))
    return 1 << AFFINE_BIT | (table * config.lines + line) * 2


def _check(**values: tuple[int, int]) -> None:
    for name, (value, count) in values.items():
        if not 0 <= value < count:
            raise ValueError(f"{name} must be in 0..{count - 1}, not {value}")


def offsets(config: CoreConfig) -> dict[str, int]:
    """Byte offset of every single register by name."""
    return {register.name: register.offset for register in registers(config)}


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
        [str(int(code)), code.name, fault_counter(code).name if code else "-", doc]
        for code, doc in FAULT_DOCS.items()
    ]
    lines += [
        "",
        "## Fault codes",
        "",
        *markdown_table(["code", "name", "counter", "meaning"], codes),
    ]
    return "\n".join(lines) + "\n"


def c_header(config: CoreConfig) -> str:
    """C header with the offsets, masks and fault codes of a core of ``config``."""
    lines = ["/* SPDX-License-Identifier: Apache-2.0 */",
             "/* Made from rtl/spec/registers/core.py. Offsets in bytes. */",
             "#ifndef PHASECORE_H", "#define PHASECORE_H", "",
             *defines("PHASECORE", registers(config), windows(config).values())]  # fmt: skip
    lines += [f"#define PHASECORE_FAULT_{code.name} {int(code)}" for code in FaultCode]
    return "\n".join([*lines, "", "#endif"]) + "\n"
