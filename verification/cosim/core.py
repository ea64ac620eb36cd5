# SPDX-License-Identifier: Apache-2.0
"""Batches of host transactions for ``tops/core_top.sv``, and the comparison of what comes back.

A batch is a script of register transactions and a list of input packets; its trace is compared
with the golden model's :class:`phasecore.models.golden.trace.Trace`. The order of events is
compared where the hardware promises one: ADC codes in order of read-out, vector bytes per byte of
the memory, pulses per device.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phasecore.models.golden.arithmetic import Int
from phasecore.models.golden.core import Core, Trace
from phasecore.models.golden.packets import Result, parse_result
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import Segment
from phasecore.rtl.spec.registers.core import offsets, windows
from phasecore.verification.support import build as harness

__all__ = [
    "Batch",
    "HardwareTrace",
    "build_top",
    "compare",
    "compare_state",
    "packets_so_far",
    "read_trace",
    "simulate",
    "write_macro",
    "write_restore",
    "write_words",
]

TOP = Path(__file__).parent / "tops" / "core_top.sv"

MACRO = "macro"
"""Prefix of the files of the macro's state in a test folder."""

END, WRITE, READ, WAIT_HALTED, DUMP, RESTORE = range(6)


@dataclass
class Batch:
    """Register transactions and packets of one batch, built in order."""

    config: CoreConfig
    script: list[tuple[int, int, int]] = field(default_factory=list)
    packets: list[bytes] = field(default_factory=list)
    base: int = 0
    """Address of the core's registers."""

    def write(self, register: str, value: int) -> None:
        """Write a single register by name."""
        self.script.append((WRITE, self.base + offsets(self.config)[register], value))

    def read(self, *registers: str) -> None:
        """Read single registers by name into the trace."""
        known = offsets(self.config)
        self.script += [(READ, self.base + known[register], 0) for register in registers]

    def write_words(self, window: str, index: int, word: int, words: int) -> None:
        """Write ``words`` 32-bit words of a window entry from the integer ``word``."""
        target = windows(self.config)[window]
        for position in range(words):
            value = word >> 32 * position & 0xFFFFFFFF
            self.script.append((WRITE, self.base + target.address(index, position), value))

    def write_memory(self, address: int, data: bytes) -> None:
        """Write whole words of four bytes from ``address`` in MEMORY_ADDRESS on."""
        self.write("MEMORY_ADDRESS", address)
        for at in range(0, len(data), 4):
            self.write("MEMORY_DATA", int.from_bytes(data[at : at + 4], "little"))

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
        script = "".join(f"{word:018x}\n" for word in words)
        (folder / f"script_{index}.hex").write_text(script, encoding="utf-8")
        beats = [beat for packet in self.packets for beat in _beats(packet)]
        lines = [f"{len(beats):020x}\n", *beats]
        # Its appearance says that the batch is there.
        partial = folder / f"stream_{index}.tmp"
        partial.write_text("".join(lines), encoding="utf-8")
        partial.rename(partial.with_suffix(".hex"))


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
    value, response) of every read; ``phases``: cycles of a chip's batch by phase; ``errors``:
    lines that report a refused transaction.
    """

    codes: Int
    bytes: Int
    devices: Int
    results: list[Result]
    registers: list[tuple[int, int, int]]
    phases: dict[str, int]
    errors: list[str]

    def register(self, config: CoreConfig, name: str) -> int:
        """Value of the last read of a register."""
        offset = offsets(config)[name]
        return [value for where, value, _ in self.registers if where == offset][-1]


def _hex_fields(lines: list[bytes]) -> list[NDArray[np.uint8]]:
    """Fields of lines of one form in hexadecimal: little-endian bytes, one row per line."""
    text = np.frombuffer(b"".join(lines), dtype=np.uint8).reshape(len(lines), -1)
    nibbles = _NIBBLES[text]
    fields, start = [], 0
    for word in lines[0].split():
        digits = nibbles[:, start : start + len(word)]
        if (digits > 15).any():
            raise ValueError(
                f"not a trace line: {lines[int((digits > 15).any(axis=1).argmax())]!r}"
            )
        if len(word) % 2:
            digits = np.pad(digits, ((0, 0), (1, 0)))
        fields.append((digits[:, 0::2] << 4 | digits[:, 1::2])[:, ::-1])
        start += len(word) + 1
    return fields


_NIBBLES = np.full(256, 255, dtype=np.uint8)
_NIBBLES[np.frombuffer(b"0123456789abcdef", dtype=np.uint8)] = np.arange(16)


def _integers(field_bytes: NDArray[np.uint8]) -> Int:
    """Unsigned integers of little-endian bytes, one per row."""
    weights = np.int64(1) << 8 * np.arange(field_bytes.shape[1], dtype=np.int64)
    values: Int = field_bytes.astype(np.int64) @ weights
    return values


def _mask(field_bytes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.unpackbits(field_bytes, axis=1, bitorder="little").astype(bool)


def _read_out(lines: list[bytes]) -> Int:
    """Codes of A lines, in order: mask, then one byte per lane."""
    if not lines:
        return np.zeros(0, dtype=np.int64)
    mask, codes = _hex_fields(lines)
    return codes.astype(np.int8)[_mask(mask)].astype(np.int64)


def _written(lines: list[bytes]) -> Int:
    """(address, value) of every byte of V lines: address of the word, mask, one byte per lane."""
    if not lines:
        return np.zeros((0, 2), dtype=np.int64)
    address, mask, data = _hex_fields(lines)
    lanes = data.shape[1]
    keys = _integers(address)[:, np.newaxis] * lanes + np.arange(lanes)
    chosen = _mask(mask)
    return np.stack([keys[chosen], data.astype(np.int8)[chosen].astype(np.int64)], axis=1)


def _programmed(lines: list[bytes], config: CoreConfig) -> Int:
    """(device, reset, conductance after it) of P lines."""
    numbers = np.fromstring(b" ".join(lines), dtype=np.int64, sep=" ").reshape(-1, 6)
    row, col, negative, device, reset, after = numbers.T
    index = ((row * config.cols + col) * 2 + negative) * config.devices_per_polarity + device
    return np.stack([index, reset, after], axis=1)


def _packets(lines: list[bytes]) -> list[Result]:
    """RESULT packets of M lines: last, keep, data of a beat."""
    results, packet = [], b""
    for line in lines:
        last, keep, data = line.split()
        packet += bytes.fromhex(data.decode())[::-1][: int(keep, 16).bit_count()]
        if last == b"1":
            results.append(parse_result(packet))
            packet = b""
    return results


def read_trace(path: Path, config: CoreConfig) -> HardwareTrace:
    """Parse a trace file of ``core_top``, or of one core of ``chip_top``."""
    kinds: dict[bytes, list[bytes]] = {}
    for line in path.read_bytes().splitlines():
        kinds.setdefault(line[:1], []).append(line[2:])
    registers = [tuple(int(part, 16) for part in line.split()) for line in kinds.pop(b"R", [])]
    # Of verification/cosim/hazards.py and timeline.py.
    for kind in (b"W", b"F"):
        kinds.pop(kind, [])
    return HardwareTrace(
        _read_out(kinds.pop(b"A", [])),
        _written(kinds.pop(b"V", [])),
        _programmed(kinds.pop(b"P", []), config),
        _packets(kinds.pop(b"M", [])),
        [(offset, value, response) for offset, value, response in registers],
        {name.decode(): int(n) for name, n in map(bytes.split, kinds.pop(b"C", []))},
        [line.decode() for rest in kinds.values() for line in rest],
    )


def packets_so_far(path: Path) -> int:
    """Complete packets in the trace file of ``chip_top``; 0 if it is not there."""
    with suppress(FileNotFoundError):
        return path.read_bytes().count(b"M 1 ")
    return 0


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
    slot, line, value = trace.vectors.T
    written = np.stack([slot * lines + line, value], axis=1)
    mismatches = [
        *_difference("code", hardware.codes, trace.codes),
        *_difference("vector byte", _by_key(hardware.bytes), _by_key(written)),
        *_difference("device", _by_key(hardware.devices), _by_key(trace.devices)),
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


def _memory(path: Path) -> NDArray[np.uint8]:
    """Words of a ``$writememh`` file as little-endian bytes, one row per word."""
    lines = path.read_bytes().splitlines()
    return _hex_fields([line for line in lines if line[:1] not in b"/@"])[0]


def _lanes(words: NDArray[np.uint8], bits: int, lanes: int) -> Int:
    """Signed lanes of memory words, one row per word."""
    values = np.unpackbits(words, axis=1, bitorder="little")[:, : bits * lanes]
    weights = np.int64(1) << np.arange(bits, dtype=np.int64)
    weights[-1] = -weights[-1]
    signed: Int = values.reshape(len(words), lanes, bits).astype(np.int64) @ weights
    return signed


def compare_state(folder: Path, name: str | int, core: Core) -> list[str]:
    """Mismatches of every chi word and every device in the files of dump ``name``."""
    config = core.config
    words = _memory(folder / f"chi_{name}.hex")[: config.chi_depth]
    chi = _lanes(words, config.chi_bits, config.update_lanes).reshape(-1)
    mismatches = _difference("chi", chi, core.update.chi.reshape(-1))
    for part, values in (
        ("conductance", core.crossbar.conductance),
        ("pulses_since_reset", core.crossbar.pulses_since_reset),
        ("events", core.crossbar.events),
    ):
        found = _integers(_memory(folder / f"state_{name}.{part}.hex"))
        mismatches += _difference(f"device {part}", found, values.reshape(-1))
    return mismatches


def write_macro(folder: Path, core: Core) -> None:
    """Write the state of the core's macro."""
    core.crossbar.write_macro_files(folder / MACRO)


def write_restore(folder: Path, node: int, core: Core) -> None:
    """Write the files from which the simulation restores a core between two programs."""
    prefix = folder / f"restore-{node}"
    core.crossbar.write_macro_files(prefix)
    config = core.config
    chi = core.update.chi.reshape(config.chi_depth, config.update_lanes)
    write_words(prefix.with_suffix(".chi.hex"), chi, config.chi_bits)
    counters = "".join(f"{value:x}\n" for value in core.programmer.selection)
    prefix.with_suffix(".selection.hex").write_text(counters, encoding="utf-8")


def write_words(path: Path, rows: Int, bits: int) -> None:
    """Write a ``$readmemh`` file: of every row a word with a lane of ``bits`` bits per value."""
    words = []
    for row in rows.tolist():
        word = 0
        for value in reversed(row):
            word = word << bits | value & (1 << bits) - 1
        words.append(f"{word:x}\n")
    path.write_text("".join(words), encoding="utf-8")


def build_top(config: CoreConfig, *, sim: str, waves: bool = False) -> Path:
    """Build folder of a core in its simulation top."""
    return harness.build(
        harness.core_verilog(config), top="core_top", sim=sim, sources=[TOP],
        build_args=harness.VERILATOR_FAST if sim == "verilator" else None,
        parameters={"POST_LANES": config.post_lanes}, waves=waves,
    )  # fmt: skip


def simulate(
    build: Path, folder: Path, config: CoreConfig, *, sim: str, seed: int, batches: int,
    waves: bool = False, plusargs: Sequence[str] = (),
) -> None:  # fmt: skip
    """Run the batches that lie (or will lie) in ``folder``, with the macro's state there."""
    harness.run_bench(
        build,
        top="core_top",
        sim=sim,
        bench="phasecore.verification.cosim.tb_batches",
        test_dir=folder,
        seed=seed,
        config=config,
        env={"PHASECORE_BATCHES": str(batches)},
        plusargs=[f"+phasecore_macro={folder / MACRO}", *plusargs],
        waves=waves,
    )
