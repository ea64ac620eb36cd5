# SPDX-License-Identifier: Apache-2.0
"""Registers of the chip itself, on the page of the host's node: one table, no Amaranth import.

As ``rtl/spec/registers/core.py`` for a core; what both have is at the same offset. A byte address
of the chip is ``page << PAGE_BITS | offset``, where page n belongs to node n of the mesh.
"""

from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.registers.table import ADDRESS_BITS as PAGE_BITS
from phasecore.rtl.spec.registers.table import (
    ROUTE_WORDS,
    WORD_BYTES,
    Access,
    BitField,
    FaultCounter,
    Origin,
    Register,
    Window,
    defines,
    describe,
)

__all__ = [
    "ADDRESS_BITS",
    "EVENTS",
    "FAULT_COUNTERS",
    "ID",
    "MASK_NODES",
    "PAGE_BITS",
    "c_header",
    "markdown",
    "masks",
    "offsets",
    "registers",
    "windows",
]

ADDRESS_BITS = PAGE_BITS + 6
"""Bits of a byte address: a page for every node of the largest mesh."""

ID = 0x50434850
VERSION = 0x0002_0000

MASK_NODES = 32
"""Nodes of a register with one bit per node; the ``_HIGH`` ones have the nodes from here on."""

FAULT_COUNTERS = {
    FaultCounter.PACKET: "stream packets of the host dropped",
    FaultCounter.REGISTER: "accesses to undefined pages or chip registers, writes to read-only ones"
    " or partial",
    FaultCounter.NOC: "messages dropped by the host bridge, packets for undefined routes",
}
"""Errors that the chip itself counts; those of cores are on their pages."""

EVENTS = {
    "flits_sent": "flits sent by the host bridge",
    "flits_received": "flits received by the host bridge",
    "credit_stalled": "cycles a packet of the host waited for credits of its route",
}
"""Performance counters of the host bridge."""

_FAULT_COUNTERS = 0x040
_CONFIGURATION = 0x080
_EVENTS = 0x100
_OBJECTS = 0x400
_ROUTES = 0x800
_ROUTERS = 0x900


def masks(name: str, config: ChipConfig) -> tuple[str, ...]:
    """Names of the registers that together have one bit per node."""
    return (name,) if config.noc.nodes <= MASK_NODES else (name, f"{name}_HIGH")


def windows(config: ChipConfig) -> dict[str, Window]:
    """Tables of the host's objects and routes, by name; they can be written at any time."""
    found = (
        Window(
            name="OBJECT", offset=_OBJECTS, words=1, depth=config.host_objects,
            doc="objects of the host: word 0 of descriptors; enable, vc, x, y, route are used",
        ),
        Window(
            name="ROUTE", offset=_ROUTES, words=ROUTE_WORDS, depth=config.host_routes,
            doc="routes of the host; a write restarts the route's credits",
        ),
    )  # fmt: skip
    return {window.name: window for window in found}


def _word(doc: str, width: int = 32) -> tuple[BitField, ...]:
    return (BitField("value", 0, width, doc),)


def _constants(config: ChipConfig) -> tuple[Register, ...]:
    noc = config.noc
    values = [("ID", 0x000, ID, '"PCHP"'), ("VERSION", 0x004, VERSION, "major (16), minor (16)")]
    sizes = {
        "width": (noc.width, "columns of the mesh"),
        "height": (noc.height, "rows of the mesh"),
        "host": (config.host, "node of the host bridge: the page of these registers"),
        "host_routes": (config.host_routes, "routes of the host"),
        "host_objects": (config.host_objects, "objects of the host"),
        "bridge_flits": (config.bridge_flits, "flits that the bridge holds for the host"),
        "flit_bits": (noc.flit_bits, "data bits of a flit"),
        "virtual_channels": (noc.virtual_channels, "virtual channels of a link"),
        "depth": (noc.depth, "flits that a virtual channel buffers"),
        "timeout": (noc.timeout, "idle cycles after which a router ends a packet"),
    }
    for position, (name, (value, doc)) in enumerate(sizes.items()):
        values.append(
            (f"CONFIG_{name.upper()}", _CONFIGURATION + WORD_BYTES * position, value, doc)
        )
    return tuple(
        Register(
            name=name, offset=offset, access=Access.READ_ONLY, origin=Origin.CONSTANT,
            doc=doc, reset=value, fields=_word(doc),
        )
        for name, offset, value, doc in values
    )  # fmt: skip


def _control(config: ChipConfig) -> tuple[Register, ...]:
    found = [
        Register(
            name="CONTROL", offset=0x008, access=Access.STROBE, origin=Origin.HARDWARE,
            doc="commands of the host",
            # Where it is in a core's CONTROL.
            fields=(BitField("clear", 2, 1, "clear the counters of this page and FAULT_CODE"),),
        )
    ]  # fmt: skip
    for name, offset, access, doc in (
        ("START", 0x010, Access.STROBE, "starts the program of each core at its START"),
        ("RUNNING", 0x018, Access.READ_ONLY, "a program runs"),
        ("HALTED", 0x020, Access.READ_ONLY, "the last program ended with HALT, all units idle"),
        ("FAULT", 0x028, Access.READ_ONLY, "a fault since the counters were cleared"),
    ):
        for position, part in enumerate(masks(name, config)):
            first = position * MASK_NODES
            width = min(config.noc.nodes - first, MASK_NODES)
            nodes = f"bit n: node {first} + n" if first else "bit n: node n"
            found.append(
                Register(
                    name=part, offset=offset + WORD_BYTES * position, access=access,
                    origin=Origin.HARDWARE, doc=f"{doc}; {nodes}", fields=_word(doc, width),
                )
            )  # fmt: skip
    return tuple(found)


def _counters(config: ChipConfig) -> tuple[Register, ...]:
    values = [
        ("FAULT_CODE", 0x030, 8, Origin.FAULT, "first fault that the chip itself counted"),
        ("FAULT_ADDRESS", 0x034, ADDRESS_BITS, Origin.FAULT, "byte address of a refused access"),
        ("FAULT_COUNT", 0x038, 32, Origin.FAULT, "faults of all kinds of this page (wraps)"),
    ]
    for counter, doc in FAULT_COUNTERS.items():
        offset = _FAULT_COUNTERS + WORD_BYTES * counter
        values.append((f"FAULTS_{counter.name}", offset, 32, Origin.FAULT, f"{doc} (wraps)"))
    for position, (name, doc) in enumerate(EVENTS.items()):
        offset = _EVENTS + WORD_BYTES * position
        values.append((f"COUNT_{name.upper()}", offset, 32, Origin.COUNTER, f"{doc} (wraps)"))
    for node in range(config.noc.nodes):
        doc = f"malformed packets injected at node {node} since reset (saturates)"
        offset = _ROUTERS + WORD_BYTES * node
        values.append((f"FAULTS_ROUTER_{node}", offset, 16, Origin.HARDWARE, doc))
    return tuple(
        Register(
            name=name, offset=offset, access=Access.READ_ONLY, origin=origin,
            doc=doc, fields=_word(doc, width),
        )
        for name, offset, width, origin, doc in values
    )  # fmt: skip


def registers(config: ChipConfig) -> tuple[Register, ...]:
    """All single registers by ascending offset (the tables are in :func:`windows`)."""
    found = (*_constants(config), *_control(config), *_counters(config))
    return tuple(sorted(found, key=lambda register: register.offset))


def offsets(config: ChipConfig) -> dict[str, int]:
    """Byte offset in the page of every single register by name."""
    return {register.name: register.offset for register in registers(config)}


def markdown(config: ChipConfig, *, core_page: str = "registers.md") -> str:
    """Documentation of the chip's registers; ``core_page`` is the file of a core's."""
    lines = [
        "# Registers of a chip", "",
        f"Byte address = page << {PAGE_BITS} | offset. The page of a node with a core has the",
        f"[registers of a core]({core_page}); the page of the host's node",
        f"({config.host} in this configuration) has these. 32-bit words; ro: read-only,",
        "rw: read-write, w1: writing 1 acts, reads 0. A refused access (undefined page or",
        "register, read-only, partial) answers SLVERR, is counted and changes nothing else.",
        "The error codes are those of a core. A write to any word of a table's entry restarts it.",
        "",
        *describe(registers(config), windows(config).values()),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def c_header(config: ChipConfig) -> str:
    """C header of the chip's registers; addresses in pages are the caller's to add up."""
    lines = [
        "/* SPDX-License-Identifier: Apache-2.0 */",
        "/* Made from rtl/spec/registers/chip.py. Offsets in bytes of the host's page. */",
        "#ifndef PHASECORE_CHIP_H", "#define PHASECORE_CHIP_H", "",
        f"#define PHASECORE_CHIP_PAGE(node) ((node) << {PAGE_BITS})",
        *defines("PHASECORE_CHIP", registers(config), windows(config).values()),
    ]  # fmt: skip
    return "\n".join([*lines, "", "#endif"]) + "\n"
