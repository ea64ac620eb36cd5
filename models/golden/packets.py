# SPDX-License-Identifier: Apache-2.0
"""Stream packets of the host: VECTOR and AFFINE from arrays, RESULT to arrays."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phasecore.models.golden.arithmetic import Int
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import GROUP, HEADER, PACKET_MAGIC, PacketKind, pack, unpack

__all__ = [
    "Packet", "Result", "affine_bytes", "affine_packet", "header", "parse_input", "parse_result",
    "vector_bytes", "vector_packet",
]  # fmt: skip

HEADER_BYTES = sum(field.width for field in HEADER) // 8


@dataclass(frozen=True)
class Result:
    """Contents of a RESULT packet: ``codes`` of lines ``start`` and up of ``slot``."""

    slot: int
    start: int
    codes: NDArray[np.int8]


@dataclass(frozen=True)
class Packet:
    """Contents of a VECTOR (``codes``) or AFFINE (``scale``, and offsets in ``codes``) packet."""

    kind: PacketKind
    start: int
    length: int
    codes: Int
    scale: Int | None = None


@lru_cache(maxsize=None, typed=True)  # 8.0 is refused, though 8 was asked for before
def header(kind: PacketKind, *, start: int, length: int, slot: int = 0) -> bytes:
    """First beat of a packet, unchecked but for the field widths."""
    values = {"kind": kind, "slot": slot, "start": start, "length": length, "magic": PACKET_MAGIC}
    return pack(HEADER, values).to_bytes(HEADER_BYTES, "little")


def _values(name: str, values: ArrayLike, low: int, high: int) -> Int:
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name} must have one dimension, not {array.ndim}")
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, not {array.dtype}")
    wide: Int = array.astype(np.int64)
    outside = (wide < low) | (wide > high)
    if outside.any():
        index = int(outside.argmax())
        raise ValueError(f"{name} must be in {low}..{high}, not {wide[index]} (index {index})")
    return wide


def _check_lines(start: int, length: int, config: CoreConfig) -> None:
    if start < 0 or start % GROUP:
        raise ValueError(f"start must be a multiple of {GROUP}, not {start}")
    if length < 1:
        raise ValueError("a packet needs at least one line")
    if start + length > config.lines:
        raise ValueError(f"lines {start}..{start + length - 1} are outside 0..{config.lines - 1}")


def vector_bytes(codes: ArrayLike, *, config: CoreConfig) -> bytes:
    """``codes`` (-127..127) as they are in the vector memory and in packets, a byte each."""
    return _values("codes", codes, -config.code_max, config.code_max).astype("i1").tobytes()


def affine_bytes(scale: ArrayLike, offset: ArrayLike) -> bytes:
    """Lines of an affine table as they are in its memory and in packets, two bytes each.

    Parameters
    ----------
    scale : unsigned 1.7, 0..255; 128 is 1.0
    offset : signed 7.1, -128..127; 1 is half a count
    """
    scales, shifts = _values("scale", scale, 0, 255), _values("offset", offset, -128, 127)
    if len(scales) != len(shifts):
        raise ValueError(f"{len(scales)} scales and {len(shifts)} offsets")
    return np.stack([scales, shifts & 0xFF], axis=1).astype("u1").tobytes()


def vector_packet(codes: ArrayLike, *, config: CoreConfig, start: int = 0, slot: int = 0) -> bytes:
    """VECTOR packet of ``codes`` (-127..127) for lines ``start`` and up.

    On a chip ``slot`` is the host's route.
    """
    payload = vector_bytes(codes, config=config)
    _check_lines(start, len(payload), config)
    return header(PacketKind.VECTOR, start=start, length=len(payload), slot=slot) + payload


def affine_packet(
    scale: ArrayLike, offset: ArrayLike, *, config: CoreConfig, start: int = 0, slot: int = 0
) -> bytes:
    """AFFINE packet for lines ``start`` and up, of what :func:`affine_bytes` takes.

    On a chip ``slot`` is the host's route.
    """
    payload = affine_bytes(scale, offset)
    length = len(payload) // 2
    _check_lines(start, length, config)
    return header(PacketKind.AFFINE, start=start, length=length, slot=slot) + payload


def parse_result(packet: bytes) -> Result:
    """Check a RESULT packet and take it apart."""
    if len(packet) < HEADER_BYTES:
        raise ValueError(f"packet of {len(packet)} bytes has no header")
    values = unpack(HEADER, int.from_bytes(packet[:HEADER_BYTES], "little"))
    if values["magic"] != PACKET_MAGIC:
        raise ValueError(f"packet magic is 0x{values['magic']:04x}, not 0x{PACKET_MAGIC:04x}")
    if values["kind"] != PacketKind.RESULT:
        raise ValueError(f"packet kind is {values['kind']}, not RESULT ({int(PacketKind.RESULT)})")
    payload = packet[HEADER_BYTES:]
    if len(payload) != values["length"]:
        raise ValueError(f"packet has {len(payload)} bytes, its header says {values['length']}")
    return Result(values["slot"], values["start"], np.frombuffer(payload, dtype=np.int8).copy())


def parse_input(packet: bytes, *, config: CoreConfig) -> Packet:
    """Check a VECTOR or AFFINE packet as the core does and take it apart."""
    if len(packet) < HEADER_BYTES:
        raise ValueError(f"packet of {len(packet)} bytes has no header")
    values = unpack(HEADER, int.from_bytes(packet[:HEADER_BYTES], "little"))
    if values["magic"] != PACKET_MAGIC:
        raise ValueError(f"packet magic is 0x{values['magic']:04x}, not 0x{PACKET_MAGIC:04x}")
    if values["kind"] not in (PacketKind.VECTOR, PacketKind.AFFINE):
        raise ValueError(f"packet kind is {values['kind']}, neither VECTOR nor AFFINE")
    kind, start, length = PacketKind(values["kind"]), values["start"], values["length"]
    _check_lines(start, length, config)
    payload = packet[HEADER_BYTES:]
    if len(payload) != length * (1 if kind is PacketKind.VECTOR else 2):
        raise ValueError(f"packet has {len(payload)} bytes, its header says {length} lines")
    codes = np.frombuffer(payload, dtype=np.int8).astype(np.int64)
    if kind is PacketKind.VECTOR:
        return Packet(kind, start, length, codes)
    return Packet(kind, start, length, codes[1::2], codes[0::2] & 0xFF)
