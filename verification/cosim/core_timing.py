# SPDX-License-Identifier: Apache-2.0
"""Cycle counts of single operations, measured on the RTL in ``tops/core_top.sv``.

Every scenario is one batch: a program, its packets, and what its events and counters say. The
simulation writes a line whenever one of ``FLAGS`` changes; nothing here knows how long anything
ought to take.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from phasecore.models.golden.arithmetic import Int
from phasecore.models.golden.core import Core
from phasecore.models.golden.device import PROFILES
from phasecore.models.golden.packets import affine_packet, vector_packet
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import Axis, Function, Opcode, Segment, Unit, encode
from phasecore.rtl.spec.registers.core import events as counters
from phasecore.verification.cosim import core as core_session
from phasecore.verification.cosim.core import Batch, HardwareTrace, read_trace

__all__ = ["Events", "measure", "pulses_in_a_row"]

FLAGS = (
    "mvm_taken", "window_first", "window", "code_read", "post_taken", "post_busy",
    "vector_written", "update_taken", "update_busy", "pulse_queued", "selected", "fired", "pulsing",
)  # fmt: skip
"""Flags of ``core_top.sv`` from bit 0 upward; ``latched`` lies above them."""

ROUTE_WINDOWS = 80
X, HALF, ZERO, ONES, Y = range(5)
WHOLE, ONE, ROW, REPEATED = range(4)


class Events:
    """Flags of one batch by cycle."""

    def __init__(self, text: str):
        records = [line.split() for line in text.splitlines()]
        self._begin = np.array([int(cycle) for cycle, _ in records], dtype=np.int64)
        self._end = np.append(self._begin[1:], self._begin[-1:] + 1)
        self._flags = np.array([int(flags, 16) for _, flags in records], dtype=np.int64)

    def cycles(self, name: str) -> Int:
        """Every cycle in which the flag is 1."""
        ones = np.flatnonzero(self._flags >> FLAGS.index(name) & 1)
        spans = [np.arange(self._begin[i], self._end[i]) for i in ones]
        return np.concatenate([np.zeros(0, dtype=np.int64), *spans])

    def spans(self, name: str) -> Int:
        """First cycle and cycle behind the last one of every run of ones, shape (runs, 2)."""
        cycles = self.cycles(name)
        gaps = np.flatnonzero(np.diff(cycles) != 1)
        first = np.concatenate([cycles[:1], cycles[gaps + 1]])
        last = np.concatenate([cycles[gaps], cycles[-1:]])
        return np.stack([first, last + 1], axis=1)

    def lengths(self, name: str) -> list[int]:
        """Cycles of every run of ones."""
        return [int(length) for length in np.diff(self.spans(name), axis=1)[:, 0]]

    def latched(self) -> Int:
        """First cycles of every new number of latched windows."""
        numbers = self._flags >> len(FLAGS)
        return self._begin[np.flatnonzero(np.diff(numbers)) + 1]


def pulses_in_a_row(config: CoreConfig) -> int:
    """Pulses of the scenario that fires many at once: neighbours of one chi word, at most 32."""
    return min(32, config.update_lanes)


@dataclass
class Scenario:
    """One batch and the measurements that it gives."""

    program: list[int]
    evaluate: Callable[[CoreConfig, Events, Mapping[str, int]], dict[str, float]]
    packets: list[bytes] = field(default_factory=list)

    def load(self, config: CoreConfig, slot: int, codes: Sequence[int] | Int) -> None:
        """Put ``codes`` into ``slot`` before the rest of the program."""
        self.program.insert(len(self.packets), encode(Opcode.LOAD, affine=0, slot=slot))
        self.packets.append(vector_packet(codes, config=config))


def _wait(*units: Unit) -> int:
    return encode(Opcode.WAIT, units=sum(1 << unit for unit in units))


def _forward(config: CoreConfig) -> int:
    return encode(
        Opcode.FORWARD, segment=WHOLE, slot=X, precision=config.input_bits, input_signs=3,
        polarities=3,
    )  # fmt: skip


def _activate() -> int:
    return encode(
        Opcode.ACTIVATE, segment=WHOLE, axis=Axis.COLS, from_slot=0, slot=0, accumulate=0,
        function=Function.RELU, shift=7, affine=1, table=0, destination=Y, destination_line=0,
    )  # fmt: skip


def _outer(segment: int, slot: int) -> int:
    return encode(Opcode.OUTER, segment=segment, slot=slot, delta=ONES, transfer=1)


def _segments(config: CoreConfig) -> list[Segment]:
    """The whole array, never with a pulse; then one weight, neighbours of a row, one weight."""

    def part(row: int, cols: int) -> Segment:
        return Segment(row_start=row, row_count=1, col_start=0, col_count=cols, threshold=1)

    whole = Segment(
        row_start=0, row_count=config.rows, col_start=0, col_count=config.cols,
        threshold=(1 << config.chi_bits - 1) - 1,
    )  # fmt: skip
    return [whole, part(0, 1), part(1, pulses_in_a_row(config)), part(2, 1)]


def _product(config: CoreConfig) -> Scenario:
    """One window and its activation with nothing else going on."""

    def evaluate(config: CoreConfig, events: Events, counts: Mapping[str, int]) -> dict[str, float]:
        latched, reads = events.latched()[0], events.cycles("code_read")
        return {
            "mvm_from_window": latched - events.cycles("window_first")[0],
            "mvm_from_command": latched - events.cycles("mvm_taken")[0],
            "post_cycles": events.cycles("vector_written")[-1] - reads[0],
            "post_passes": len(reads),
        }

    lines = np.arange(config.lines)
    scenario = Scenario([
        encode(Opcode.LOAD, affine=1, slot=0), _wait(Unit.LOAD), _forward(config), _activate(),
    ], evaluate)  # fmt: skip
    scenario.load(config, X, lines % 255 - 127)
    scenario.packets.append(affine_packet(lines % 256, lines % 128, config=config))
    return scenario


def _stream(config: CoreConfig, name: str, *, activate: bool) -> Scenario:
    """Back-to-back windows, with or without their activations."""

    def evaluate(config: CoreConfig, events: Events, counts: Mapping[str, int]) -> dict[str, float]:
        first = events.cycles("window_first")
        if not len(first) == counts["mvms"] == ROUTE_WINDOWS:
            raise RuntimeError(f"{len(first)} windows seen, {counts['mvms']} counted")
        return {name: (first[-1] - first[0]) / (len(first) - 1)}

    body = [_forward(config), *([_activate()] if activate else [])]
    return Scenario([
        *body, encode(Opcode.LOOP, counter=0, target=0, count=ROUTE_WINDOWS),
    ], evaluate)  # fmt: skip


def _pulses(config: CoreConfig) -> Scenario:
    """One pulse, neighbours fired together, and one weight that takes several pulses."""
    pulses = pulses_in_a_row(config)

    def evaluate(config: CoreConfig, events: Events, counts: Mapping[str, int]) -> dict[str, float]:
        queued, done = events.cycles("pulse_queued"), events.spans("pulsing")[:, 1]
        fired, selected = events.cycles("fired"), events.cycles("selected")
        if len(selected) != counts["set_pulses"]:
            raise RuntimeError(f"{len(selected)} pulses seen, {counts['set_pulses']} counted")
        together = (selected > fired[0]) & (selected <= selected[pulses])
        fires = fired[(fired >= selected[1]) & (fired <= selected[pulses])]
        behind = fired[fired > selected[pulses]]
        return {
            "pulse_cycles": done[0] - queued[0],
            "row_pulse_cycles": (done[len(fires)] - queued[1]) / np.count_nonzero(together),
            "row_fires": len(fires),
            "repeated_pulse_cycles": np.diff(behind).mean(),
        }

    scenario = Scenario([
        _outer(ONE, X), _wait(Unit.UPDATE, Unit.PROGRAMMER),
        _outer(ROW, X), _wait(Unit.UPDATE, Unit.PROGRAMMER),
        _outer(REPEATED, X),
    ], evaluate)  # fmt: skip
    scenario.load(config, X, [1, 1, config.pulse_max])
    scenario.load(config, ONES, np.ones(config.lines, dtype=np.int64))
    return scenario


def _updates(config: CoreConfig) -> Scenario:
    """Outer products of a dense x, one with every other row 0, and 0, then a lone TRANSFER."""

    def evaluate(config: CoreConfig, events: Events, counts: Mapping[str, int]) -> dict[str, float]:
        dense, half, empty, transfer = events.lengths("update_busy")
        counted = (counts["update_busy"], counts["chi_words_updated"], counts["set_pulses"])
        blocks = config.rows // 2 * 3 * config.chi_words_per_row
        if counted != (dense + half + empty + transfer, blocks, 0):
            raise RuntimeError(f"busy cycles, chi words and pulses counted: {counted}")
        return {
            "update_cycles": dense,
            "update_half_cycles": half,
            "update_empty_cycles": empty,
            "transfer_cycles": transfer,
        }

    outer = (_outer(WHOLE, slot) for slot in (X, HALF, ZERO))
    scenario = Scenario([*outer, encode(Opcode.TRANSFER, segment=WHOLE)], evaluate)
    dense = np.ones(config.lines, dtype=np.int64)
    for slot, codes in ((X, dense), (HALF, np.arange(config.lines) % 2), (ZERO, 0 * dense)):
        scenario.load(config, slot, codes)
    scenario.load(config, ONES, dense)
    return scenario


def measure(config: CoreConfig, build: Path, folder: Path, *, sim: str) -> dict[str, float]:
    """Run all scenarios on a build of ``core_top`` in ``folder``; cycles by name."""
    scenarios = [
        _product(config),
        _stream(config, "stream_period", activate=True),
        _stream(config, "bare_period", activate=False),
        _pulses(config),
        _updates(config),
    ]
    core_session.write_macro(folder, Core(config, PROFILES["ideal"], seed=1))
    for index, scenario in enumerate(scenarios):
        batch = Batch(config, packets=scenario.packets)
        batch.write("CONTROL", 4)
        batch.load([*scenario.program, encode(Opcode.HALT)], _segments(config))
        batch.run()
        batch.read("FAULT_COUNT", *(event.register for event in counters(config)))
        batch.save(folder, index)
    core_session.simulate(
        build, folder, config, sim=sim, seed=1, batches=len(scenarios), plusargs=["+events=1"]
    )
    found: dict[str, float] = {}
    for index, scenario in enumerate(scenarios):
        events = Events((folder / f"events_{index}.txt").read_text(encoding="utf-8"))
        trace = read_trace(folder / f"trace_{index}.txt", config)
        if trace.errors or trace.register(config, "FAULT_COUNT"):
            raise RuntimeError(f"the core counted errors in scenario {index}: {trace.errors}")
        values = scenario.evaluate(config, events, _counts(config, trace))
        found |= {name: float(value) for name, value in values.items()}
    return found


def _counts(config: CoreConfig, trace: HardwareTrace) -> dict[str, int]:
    return {event.name: trace.register(config, event.register) for event in counters(config)}
