# SPDX-License-Identifier: Apache-2.0
"""Batches of host transactions for ``tops/core_top.sv``, and the comparison of what comes back.

A batch is a script of register transactions and a list of input packets; its trace is compared
with the golden model's :class:`models.core.Trace`. The order of events is compared where the
hardware promises one: ADC codes in order of read-out, vector bytes per byte of the memory, pulses
per device.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.arithmetic import Int
from models.core import Core, Trace
from models.packets import Result, parse_result
from rtl.config import CoreConfig
from rtl.csr import offsets, windows
from rtl.isa import Segment

__all__ = ["Batch", "HardwareTrace", "compare", "compare_state", "read_trace"]

END, WRITE, READ, WAIT_HALTED, DUMP = range(5)


@dataclass
class Batch:
    """Register transactions and packets of one batch, built in order."""

    config: CoreConfig
    script: list[tuple[int, int, int]] = field(default_factory=list)
    packets: list[bytes] = field(default_factory=list)

    def write(self, register: str, value: int) -> None:
        """Write a single register by name."""
        self.script.append((WRITE, offsets(self.config)[register], value))

    def read(self, *registers: str) -> None:
        """Read single registers by name into the trace."""
        self.script += [(READ, offsets(self.config)[register], 0) for register in registers]

    def write_words(self, window: str, index: int, word: int, words: int) -> None:
        """Write ``words`` 32-bit words of a window entry from the integer ``word``."""
        target = windows(self.config)[window]
        for position in range(words):
            value = word >> 32 * position & 0xFFFFFFFF
            self.script.append((WRITE, target.address(index, position), value))

    def load(self, program: Sequence[int], segments: Iterable[Segment] = ()) -> None:
        """Write a program and segment descriptors."""
        for index, word in enumerate(program):
            self.write_words("PROGRAM", index, word, 2)
        for index, segment in enumerate(segments):
            self.write_words("SEGMENT", index, segment.pack(), 4)

    def run(self) -> None:
        """Start at instruction 0 and wait for HALT."""
        self.write("START", 0)
        self.write("CONTROL", 1)
        self.script.append((WAIT_HALTED, 0, 0))

    def dump(self) -> None:
        """Write chi and the devices to files."""
        self.script.append((DUMP, 0, 0))

    def save(self, folder: Path, index: int) -> None:
        """Write ``script_<index>.hex`` and ``stream_<index>.hex``."""
        words = [op << 64 | address << 32 | value for op, address, value in self.script]
        words.append(END)
        (folder / f"script_{index}.hex").write_text("".join(f"{word:018x}\n" for word in words))
        beats = [beat for packet in self.packets for beat in _beats(packet)]
        lines = [f"{len(beats):020x}\n", *beats]
        (folder / f"stream_{index}.hex").write_text("".join(lines))


def _beats(packet: bytes) -> list[str]:
    """Stream words of a packet: last, keep, data."""
    chunks = [packet[i : i + 8] for i in range(0, len(packet), 8)]
    beats = [f"00ff{int.from_bytes(chunk, 'little'):016x}\n" for chunk in chunks[:-1]]
    final = chunks[-1]
    beats.append(f"01{(1 << len(final)) - 1:02x}{int.from_bytes(final, 'little'):016x}\n")
    return beats


@dataclass
class HardwareTrace:
    """What one batch did, parsed from its trace file.

    ``bytes``: (slot * lines + line, value) of every vector byte written, in order;
    ``devices``: (device index, reset, conductance code) of every pulse; ``registers``: (offset,
    value, response) of every read; ``errors``: lines that report a refused transaction.
    """

    codes: Int
    bytes: Int
    devices: Int
    results: list[Result]
    registers: list[tuple[int, int, int]]
    errors: list[str]

    def register(self, config: CoreConfig, name: str) -> int:
        """Value of the last read of a register."""
        offset = offsets(config)[name]
        return [value for where, value, _ in self.registers if where == offset][-1]


def _bits(text: str, count: int) -> NDArray[np.bool_]:
    padded = text.zfill(2 * ((len(text) + 1) // 2))
    raw = np.frombuffer(bytes.fromhex(padded), dtype=np.uint8)[::-1]
    return np.unpackbits(raw, bitorder="little")[:count].astype(bool)


def _lanes(text: str) -> NDArray[np.int8]:
    return np.frombuffer(bytes.fromhex(text), dtype=np.int8)[::-1]


def read_trace(path: Path, config: CoreConfig) -> HardwareTrace:
    """Parse a trace file of ``core_top``."""
    codes: list[Int] = []
    written: list[Int] = []
    devices: list[tuple[int, int, int]] = []
    results: list[Result] = []
    registers: list[tuple[int, int, int]] = []
    errors: list[str] = []
    packet = b""
    lanes = np.arange(config.post_lanes)
    copies = config.devices_per_polarity
    for line in path.read_text().splitlines():
        kind, *parts = line.split()
        if kind == "A":
            codes.append(_lanes(parts[1])[_bits(parts[0], config.post_lanes)].astype(np.int64))
        elif kind == "V":
            mask = _bits(parts[1], config.post_lanes)
            keys = int(parts[0], 16) * config.post_lanes + lanes[mask]
            written.append(np.stack([keys, _lanes(parts[2])[mask].astype(np.int64)], axis=1))
        elif kind == "P":
            row, col, negative, device, reset, after = map(int, parts)
            index = ((row * config.cols + col) * 2 + negative) * copies + device
            devices.append((index, reset, after))
        elif kind == "M":
            count = int(parts[1], 16).bit_count()
            packet += int(parts[2], 16).to_bytes(8, "little")[:count]
            if parts[0] == "1":
                results.append(parse_result(packet))
                packet = b""
        elif kind == "R":
            offset, value, response = (int(part, 16) for part in parts)
            registers.append((offset, value, response))
        else:
            errors.append(line)
    return HardwareTrace(
        np.concatenate([np.zeros(0, dtype=np.int64), *codes]),
        np.concatenate([np.zeros((0, 2), dtype=np.int64), *written]),
        np.array(devices, dtype=np.int64).reshape(-1, 3),
        results,
        registers,
        errors,
    )


def _by_key(events: Int) -> Int:
    """Events sorted by their first column; events of one key keep their order."""
    return events[np.argsort(events[:, 0], kind="stable")]


def _difference(name: str, hardware: Int, model: Int) -> list[str]:
    """Mismatches of two event lists, the first one spelled out."""
    if hardware.shape != model.shape:
        return [f"{name}: {len(hardware)} events, expected {len(model)}"]
    differs = hardware != model
    if differs.ndim == 2:
        differs = differs.any(axis=1)
    count = int(np.count_nonzero(differs))
    if not count:
        return []
    first = int(differs.argmax())
    text = f"{name}[{first}]: got {hardware[first].tolist()}, expected {model[first].tolist()}"
    return [text] + [f"{name}: another"] * (count - 1)


def compare(
    hardware: HardwareTrace, trace: Trace, results: Sequence[Result], lines: int
) -> list[str]:
    """One text per mismatch between a batch and the model's trace of the same program."""
    empty = np.zeros(0, dtype=np.int64)
    written = [
        np.stack([slot * lines + where, values], axis=1) for slot, where, values in trace.vectors
    ]
    model_bytes = np.concatenate([empty.reshape(0, 2), *written])
    devices = np.concatenate([empty.reshape(0, 3), *trace.devices])
    mismatches = [
        *_difference("code", hardware.codes, np.concatenate([empty, *trace.codes])),
        *_difference("vector byte", _by_key(hardware.bytes), _by_key(model_bytes)),
        *_difference("device", _by_key(hardware.devices), _by_key(devices)),
    ]
    sent = [(r.slot, r.start, r.codes.tolist()) for r in hardware.results]
    expected = [(r.slot, r.start, r.codes.tolist()) for r in results]
    if len(sent) != len(expected):
        mismatches.append(f"result: {len(sent)} packets, expected {len(expected)}")
    mismatches += [
        f"result[{i}]: got {got}, expected {want}"
        for i, (got, want) in enumerate(zip(sent, expected, strict=False))
        if got != want
    ]
    return mismatches + [f"error: {line}" for line in hardware.errors]


def _words(path: Path) -> list[str]:
    """Words of a ``$writememh`` file."""
    return [line for line in path.read_text().splitlines() if line[0] not in "/@"]


def _memory(path: Path, bits: int, lanes: int) -> Int:
    """Signed lanes of a ``$writememh`` file, one row per word."""
    words = _words(path)
    rows = np.zeros((len(words), lanes), dtype=np.int64)
    for index, word in enumerate(words):
        raw = np.frombuffer(bytes.fromhex(word.zfill(len(word) + len(word) % 2)), dtype=np.uint8)
        values = np.unpackbits(raw[::-1], bitorder="little")[: bits * lanes].reshape(lanes, bits)
        rows[index] = values.astype(np.int64) @ (1 << np.arange(bits, dtype=np.int64))
    return np.where(rows >> (bits - 1) & 1, rows - (1 << bits), rows)


def compare_state(folder: Path, index: int, core: Core) -> list[str]:
    """Mismatches of every chi word and every device after batch ``index``."""
    config = core.config
    chi = _memory(folder / f"chi_{index}.hex", config.chi_bits, config.update_lanes)
    hardware = chi[: config.chi_depth].reshape(config.rows, config.cols)
    mismatches = _difference("chi", hardware.reshape(-1), core.update.chi.reshape(-1))
    for name, values in (("g", core.crossbar.g), ("n", core.crossbar.n), ("e", core.crossbar.e)):
        words = _words(folder / f"state_{index}.{name}.hex")
        found = np.array([int(word, 16) for word in words], dtype=np.int64)
        mismatches += _difference(f"device {name}", found, values.reshape(-1))
    return mismatches
