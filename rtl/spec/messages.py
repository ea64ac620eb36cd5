# SPDX-License-Identifier: Apache-2.0
"""Messages between network interfaces: one table for RTL, model, benches and documents.

A message is a packet of the NoC: its head flit carries the routers' header in the bits below
``HEADER.bits`` and the fields of ``MESSAGE`` above. Data flits (64 bits) follow. No Amaranth
import.
"""

from enum import IntEnum

from phasecore.rtl.spec.instructions import whole
from phasecore.rtl.spec.packets import HEADER, Field

__all__ = [
    "GRANT_MAX",
    "LINES_PER_FLIT",
    "MESSAGE",
    "PAYLOAD_FLITS",
    "MessageKind",
    "message_fields",
    "message_head",
]


class MessageKind(IntEnum):
    """What the data flits are."""

    VECTOR = 0
    """Bytes of a vector, 8 lines per flit, into the ring of ``object``."""
    PARTIAL = 1
    """Partial sums, 16 bits each, 4 lines per flit, into the accumulators."""
    CREDIT = 2
    """No data: ``value`` credits of consumer ``start`` for route ``object`` of the receiver."""
    AFFINE = 3
    """Scale (low byte) and offset per line, 4 lines per flit, into affine table ``object``."""


def _fields() -> dict[str, Field]:
    low = HEADER.bits
    fields = {}
    for name, width, meaning in (
        ("kind", 2, "`MessageKind`"),
        ("object", 4, "object; CREDIT: route; AFFINE: table"),
        ("last", 1, "last packet of the vector"),
        ("trim", 3, "lines of the last flit that do not count"),
        ("start", 8, "first line, in units of a flit's lines; CREDIT: the object's `member`"),
        ("value", 8, "VECTOR: shared exponent, two's complement; CREDIT: credits, 1..255"),
    ):
        fields[name] = Field(name, low, width, meaning)
        low += width
    return fields


MESSAGE = _fields()
"""Fields of the head flit above the routers' header, by name."""

GRANT_MAX = (1 << MESSAGE["value"].width) - 1
"""Most credits of one message."""

PAYLOAD_FLITS = 8
"""Most data flits of a packet; of a multicast ``NocConfig.depth - 1``."""

LINES_PER_FLIT = {MessageKind.VECTOR: 8, MessageKind.PARTIAL: 4, MessageKind.AFFINE: 4}


def message_head(route: int, **values: int) -> int:
    """Head flit: the routers' header ``route`` and the message fields (0 unless given)."""
    word = route
    for name, given in values.items():
        if name not in MESSAGE:
            raise ValueError(f"unknown message field {name!r}; known: {', '.join(MESSAGE)}")
        field, value = MESSAGE[name], whole(name, given)
        mask = (1 << field.width) - 1
        if not (-(mask + 1) // 2 if name == "value" else 0) <= value <= mask:
            raise ValueError(f"{name} must fit {field.width} bits, not {value}")
        word |= (value & mask) << field.low
    return word


def message_fields(word: int) -> dict[str, int]:
    """Message fields of a head flit; ``value`` unsigned."""
    return {name: field.of(word) for name, field in MESSAGE.items()}
