# SPDX-License-Identifier: Apache-2.0
"""Stream packets as arrays, and how far kernels are with them."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from phasecore.models.engine.jit import compiled
from phasecore.models.golden.arithmetic import Int
from phasecore.models.golden.packets import HEADER_BYTES, Result
from phasecore.models.golden.state import Cores, Geometry
from phasecore.models.golden.trace import has_room_for
from phasecore.rtl.spec.instructions import GROUP, HEADER, PACKET_MAGIC, PacketKind

__all__ = ["Packets", "Progress", "Results", "append_result", "is_full", "read_header"]

RESULTS = 1024
"""RESULT packets for which there is room at first."""

_AFFINE, _VECTOR = int(PacketKind.AFFINE), int(PacketKind.VECTOR)
_SLOT, _START, _LENGTH, _MAGIC = np.cumsum([field.width // 8 for field in HEADER])[:4].tolist()
"""Bytes of the header at which the fields behind the kind begin."""


class Packets(NamedTuple):
    """Packets one behind the other: packet n is ``data[ends[n] : ends[n + 1]]``."""

    data: NDArray[np.uint8]
    ends: Int

    @classmethod
    def of(cls, packets: Iterable[bytes]) -> "Packets":
        """Join packets."""
        listed = list(packets)
        # A copy, since compiled code for read-only arrays is another one.
        data = np.frombuffer(bytearray(b"".join(listed)), dtype=np.uint8)
        return cls(data, np.cumsum([0, *map(len, listed)]))


class Results(NamedTuple):
    """Room for RESULT packets: (slot, start, length) of each, and their codes in a row."""

    heads: Int
    codes: NDArray[np.int8]

    @classmethod
    def room(cls, lines: int) -> "Results":
        """For some packets of cores with ``lines`` lines."""
        size = max(RESULTS * GROUP, lines)
        return cls(np.zeros((size // GROUP, 3), dtype=np.int64), np.zeros(size, dtype=np.int8))

    def larger(self) -> "Results":
        """The same, with as much room once more."""
        return Results(
            np.concatenate([self.heads, np.zeros_like(self.heads)]),
            np.concatenate([self.codes, np.zeros_like(self.codes)]),
        )

    def packets(self, count: int) -> list[Result]:
        """The first ``count`` packets."""
        results, at = [], 0
        for slot, start, length in self.heads[:count].tolist():
            results.append(Result(slot, start, self.codes[at : at + length]))
            at += length
        return results


class Progress(NamedTuple):
    """How far packets and results are: one number in each array."""

    packet: Int
    """Next packet."""
    result: Int
    """Results so far."""
    code: Int
    """Their codes."""
    full: Int
    """1: there may be no room for the next result, so that nothing goes on."""

    @classmethod
    def start(cls) -> "Progress":
        """Nothing done."""
        return cls(*(np.zeros(1, dtype=np.int64) for _ in cls._fields))


@compiled
def is_full(cores: Cores, geometry: Geometry, results: Results, progress: Progress) -> bool:
    """There may be no room for a vector, in packets of eight lines or more, or for what is logged
    of it; it is noted."""
    if not has_room_for(cores, geometry, 0):
        progress.full[0] = 1
    heads = len(results.heads) - progress.result[0]
    if heads * GROUP < geometry.lines or len(results.codes) - progress.code[0] < geometry.lines:
        progress.full[0] = 1
    return bool(progress.full[0])


@compiled
def append_result(results: Results, progress: Progress, slot: int, start: int, codes: Int) -> None:
    """One more result."""
    head, at = results.heads[progress.result[0]], progress.code[0]
    head[0], head[1], head[2] = slot, start, len(codes)
    for line in range(len(codes)):
        results.codes[at + line] = codes[line]
    progress.result[0] += 1
    progress.code[0] += len(codes)


@compiled
def read_header(packets: Packets, number: int, lines: int) -> tuple[int, int, int, int]:
    """Kind, slot, start and length of a packet, all 0 if it is malformed."""
    malformed = 0, 0, 0, 0
    data = packets.data[packets.ends[number] : packets.ends[number + 1]]
    if len(data) < HEADER_BYTES or _word(data, _MAGIC) != PACKET_MAGIC:
        return malformed
    kind, start, length = _byte(data, 0), _word(data, _START), _word(data, _LENGTH)
    if kind != _VECTOR and kind != _AFFINE:
        return malformed
    if start % GROUP or length < 1 or start + length > lines:
        return malformed
    if len(data) - HEADER_BYTES != length * (2 if kind == _AFFINE else 1):
        return malformed
    return kind, _byte(data, _SLOT), start, length


@compiled
def _word(data: NDArray[np.uint8], at: int) -> int:
    return _byte(data, at) | _byte(data, at + 1) << 8


@compiled
def _byte(data: NDArray[np.uint8], at: int) -> int:
    # Signed: the compiler takes unsigned and signed integers together for floats.
    return int(np.int64(data[at]))
