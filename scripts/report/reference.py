# SPDX-License-Identifier: Apache-2.0
"""``docs/reference/instructions.md``: layouts of instructions, descriptors and packets."""

from collections.abc import Iterator, Sequence

from phasecore.rtl.spec.instructions import (
    HEADER,
    INSTRUCTIONS,
    OBJECT,
    OPCODE_BITS,
    ROUTE,
    SEGMENT,
    Field,
    Function,
    PacketKind,
    Unit,
)

__all__ = ["instructions"]

_OPENING = f"""\
# Instructions, descriptors, packets

Written by `python -m phasecore.scripts.report.readme` from `rtl/spec/instructions.py`. An
instruction is a 64-bit word: the opcode in bits {OPCODE_BITS - 1}:0, then its fields. Unused bits
must be zero. What an instruction does is in the contract of the
[controller](../contract/controller.md) and of the unit that carries it out.
"""


def _fields(fields: Sequence[Field], low: int) -> Iterator[str]:
    """Table of packed fields from bit ``low`` on."""
    yield from ("| bits | field | meaning |", "|--:|---|---|")
    for field in fields:
        high = low + field.width - 1
        bits = f"{high}:{low}" if field.width > 1 else f"{low}"
        signed = ", signed" if field.signed else ""
        default = "" if field.default is None else f" (default {int(field.default)})"
        meaning = field.doc.replace("``", "`").replace("|", "\\|")
        yield f"| {bits} | `{field.name}` | {meaning}{signed}{default} |"
        low = high + 1


def instructions() -> str:
    """The page."""
    lines = [_OPENING, "## Instructions", ""]
    for opcode, fields in INSTRUCTIONS.items():
        lines += [f"### {opcode.name}: {int(opcode)}", ""]
        lines += [*_fields(fields, OPCODE_BITS), ""] if fields else ["No fields.", ""]
    for title, values in (("Functions", Function), ("Units of WAIT, bits", Unit)):
        lines += [f"## {title}", "", *(f"- {int(v)}: {v.name}" for v in values), ""]
    for title, words in (("Segment", (SEGMENT,)), ("Object", OBJECT), ("Route", ROUTE)):
        lines += [f"## {title}", ""]
        for number, fields in enumerate(words):
            lines += [f"Register {number}:", ""] if len(words) > 1 else []
            lines += [*_fields(fields, 0), ""]
    lines += ["## Header of a stream packet", "", *_fields(HEADER, 0), ""]
    kinds = ", ".join(f"{kind.name} {int(kind):#04x}" for kind in PacketKind)
    return "\n".join([*lines, f"Kinds of packets: {kinds}.", ""])
