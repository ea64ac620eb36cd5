# SPDX-License-Identifier: Apache-2.0
"""The header of a packet: one table for RTL, model, benches and documents. No Amaranth import."""

from dataclasses import dataclass

from phasecore.rtl.spec.instructions import whole

__all__ = ["HEADER", "Field", "Header"]


@dataclass(frozen=True)
class Field:
    """``width`` bits of the head flit from bit ``low`` on."""

    name: str
    low: int
    width: int
    meaning: str

    def of(self, word: int) -> int:
        """Value of the field in a head flit."""
        return word >> self.low & (1 << self.width) - 1


@dataclass(frozen=True, kw_only=True)
class Header:
    """Layout of the head flit from bit 0 on; smaller widths than the default's are for proofs.

    ``x``, ``y`` (unicast) and ``cols``, ``rows`` (multicast) start at the same bit.
    """

    length_bits: int = 8
    coordinate_bits: int = 4
    mask_bits: int = 8

    @property
    def fields(self) -> tuple[Field, ...]:
        """All fields in ascending order."""
        start = 2 + self.length_bits
        return (
            Field("multicast", 0, 1, "0: to (`x`, `y`); 1: to every node of `cols` x `rows`"),
            Field("order", 1, 1, "virtual network: 0 XY, 1 YX"),
            Field("length", 2, self.length_bits, "flits of the packet, head included"),
            Field("x", start, self.coordinate_bits, "column of a unicast's destination"),
            Field("y", start + self.coordinate_bits, self.coordinate_bits, "its row"),
            Field("cols", start, self.mask_bits, "one bit per column of a multicast"),
            Field("rows", start + self.mask_bits, self.mask_bits, "one bit per row"),
        )

    def __getitem__(self, name: str) -> Field:
        for field in self.fields:
            if field.name == name:
                return field
        known = ", ".join(field.name for field in self.fields)
        raise ValueError(f"unknown header field {name!r}; known: {known}")

    @property
    def bits(self) -> int:
        """Bits that routers look at; the rest of the head flit is payload."""
        return max(field.low + field.width for field in self.fields)

    def pack(self, **values: int) -> int:
        """Header of a packet; fields that are not given are 0."""
        word = 0
        for name, given in values.items():
            field = self[name]
            value = whole(name, given)
            if not 0 <= value < 1 << field.width:
                raise ValueError(f"{name} must be in 0..{(1 << field.width) - 1}, not {value}")
            word |= value << field.low
        return word

    def unpack(self, word: int) -> dict[str, int]:
        """All fields of a head flit."""
        return {field.name: field.of(word) for field in self.fields}

    def markdown(self) -> str:
        """The table of ``docs/contract/router.md``."""
        lines = ["| field | bits | meaning |", "|---|---|---|"]
        for field in self.fields:
            last = field.low + field.width - 1
            bits = str(field.low) if field.width == 1 else f"{last}:{field.low}"
            lines.append(f"| `{field.name}` | {bits} | {field.meaning} |")
        return "\n".join(lines)


HEADER = Header()
"""The layout of every packet."""
