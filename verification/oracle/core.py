# SPDX-License-Identifier: Apache-2.0
"""One core: runs programs one instruction after another."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phasecore.models.engine.programs import checked
from phasecore.models.golden.device import DeviceProfile
from phasecore.models.golden.packets import Result, parse_input
from phasecore.rtl.spec.core import CALIBRATION_WINDOWS_LOG2, CoreConfig
from phasecore.rtl.spec.instructions import (
    DeltaSource,
    Drift,
    Function,
    Opcode,
    PacketKind,
    Segment,
)
from phasecore.verification.oracle.adc_interface import AdcInterface
from phasecore.verification.oracle.crossbar import Crossbar
from phasecore.verification.oracle.fixed_point import Int
from phasecore.verification.oracle.input_driver import drive_all, drive_one_hot, drive_slot
from phasecore.verification.oracle.post_processing import PostProcessing
from phasecore.verification.oracle.programmer import Programmer
from phasecore.verification.oracle.update_unit import UpdateUnit

__all__ = ["Core", "Trace"]

READ_PRECISION = 6
"""Input precision of row reads, where the core has as many bits."""


@dataclass
class Trace:
    """What the hardware's observable results are compared with, in program order.

    ``codes``: ADC codes of every read-out; ``vectors``: (slot, lines, values) of every vector
    write; ``devices``: (device index, reset, conductance code after it) arrays of every pulse.

    Of a core on a chip besides: ``received``: (object, slot, lines, values, exponent) of every
    vector that has arrived, whose writes are among ``vectors``, too; ``sums_received`` and
    ``sums_sent``: (object or route, lines, partial sums). They are in order by object and route.
    """

    codes: list[Int] = field(default_factory=list)
    vectors: list[tuple[int | Int, Int, Int]] = field(default_factory=list)
    devices: list[Int] = field(default_factory=list)
    received: list[tuple[int, int, Int, Int, int]] = field(default_factory=list)
    sums_received: list[tuple[int, Int, Int]] = field(default_factory=list)
    sums_sent: list[tuple[int, Int, Int]] = field(default_factory=list)


@dataclass(frozen=True)
class _Window:
    """Counts of the latest window and what the converter held with them."""

    counts: Int
    at_limit: NDArray[np.bool_]
    lsb_log2: int
    precision: int
    exponent: int


class Core:
    """One core with its crossbar.

    Parameters
    ----------
    config : geometry and formats
    profile : device and converter behaviour
    seed : of all device randomness
    initial : conductance codes, shape (rows, cols, 2, devices_per_polarity); None draws them

    Attributes
    ----------
    memory : int64 array, signed bytes of the vector memory
    slots : view of it by lines of a slot, the slots first
    exponents : int64 array (slots,)
    trace : :class:`Trace`, emptied by the caller
    """

    def __init__(
        self, config: CoreConfig, profile: DeviceProfile, seed: int, *, initial: Int | None = None
    ):
        self.config = config
        self.crossbar = Crossbar(config, profile, seed, g=initial)
        self.adc = AdcInterface(config)
        self.post = PostProcessing(config)
        self.update = UpdateUnit(config)
        self.programmer = Programmer(
            config, read_row=self._read_row, set_pulse=self._set, reset=self._reset
        )
        self.memory: Int = np.zeros(config.vector_rows * config.lines, dtype=np.int64)
        self.slots = self.memory.reshape(-1, config.lines)
        self.exponents: Int = np.zeros(config.slots, dtype=np.int64)
        self.segments: list[Segment | None] = [None] * config.segments
        self.refresh_high = 100
        self.refresh_low = 20
        self.dropped_packets = 0
        self.trace = Trace()
        nothing = np.zeros(config.lines, dtype=np.int64)
        self._window = _Window(
            nothing, self.crossbar.at_limit, config.lsb_log2_min, config.input_bits, 0
        )

    def run(self, program: Sequence[int], packets: Iterable[bytes] = ()) -> list[Result]:
        """Run a program from instruction 0 to its HALT; return the packets it sent.

        For a core that stands alone. ``packets`` are taken by LOAD in order; malformed ones are
        dropped and counted. Raises ``ValueError`` for an instruction that the hardware would
        refuse.
        """
        source = iter(packets)
        results: list[Result] = []
        for opcode, values in self.instructions(program):
            if opcode is Opcode.LOAD:
                self._load(source, values)
            elif opcode is Opcode.READ:
                start, stop = values["first_line"], values["first_line"] + values["length"]
                codes = self.slots[values["slot"], start:stop].astype(np.int8)
                results.append(Result(values["slot"], start, codes))
            else:
                self.execute(opcode, values)
        return results

    def instructions(self, program: Sequence[int]) -> Iterator[tuple[Opcode, dict[str, int]]]:
        """Opcode and fields of all instructions up to HALT in the order in which they are issued.

        Loops are resolved. All of a program is checked first: ``ValueError`` for an instruction
        that the hardware would refuse, or if there is no HALT.
        """
        code = [checked(word, self.config, self.segments) for word in program]
        loops = [0] * 4
        pc = 0
        while pc < len(code):
            opcode, values = code[pc]
            pc += 1
            if opcode is Opcode.HALT:
                return
            if opcode is not Opcode.LOOP:
                yield opcode, values
                continue
            counter = values["counter"]
            loops[counter] += 1
            if loops[counter] < values["count"]:
                pc = values["target"]
            else:
                loops[counter] = 0
        raise ValueError(f"program of {len(code)} instructions has no HALT")

    def execute(self, opcode: Opcode, values: dict[str, int]) -> None:
        """Carry out an instruction of a unit; WAIT has nothing to wait for here."""
        if opcode is not Opcode.WAIT:
            _EXECUTE[opcode](self, values)

    def _segment(self, values: dict[str, int]) -> Segment:
        index = values["segment"]
        segment = self.segments[index] if index < len(self.segments) else None
        if segment is None:
            raise ValueError(f"segment {index} is not defined")
        return segment

    def _load(self, source: Iterator[bytes], values: dict[str, int]) -> None:
        wanted = PacketKind.AFFINE if values["affine"] else PacketKind.VECTOR
        while True:
            try:
                packet = parse_input(next(source), config=self.config)
            except StopIteration:
                raise ValueError("LOAD waits for a packet, but none is left") from None
            except ValueError:
                self.dropped_packets += 1
                continue
            if packet.kind is wanted:
                break
            self.dropped_packets += 1
        lines = slice(packet.start, packet.start + packet.length)
        if wanted is PacketKind.AFFINE:
            assert packet.scale is not None
            self.post.scales[values["slot"], lines] = packet.scale
            self.post.offsets[values["slot"], lines] = packet.codes
            return
        slot = values["slot"]
        self.slots[slot, lines] = packet.codes
        self.exponents[slot] = 0
        self.trace.vectors.append((slot, np.arange(lines.start, lines.stop), packet.codes))

    def _mvm(self, values: dict[str, int], *, backward: bool) -> None:
        segment = self._segment(values)
        start, count, lsb_log2 = (
            (segment.col_start, segment.col_count, segment.backward_lsb_log2)
            if backward
            else (segment.row_start, segment.row_count, segment.forward_lsb_log2)
        )
        drive = drive_slot(
            self.config, self.slots[values["slot"]], precision=values["precision"],
            input_signs=values["input_signs"], start=start, count=count,
        )  # fmt: skip
        counts = self.crossbar.window(
            drive, precision=values["precision"], lsb_log2=lsb_log2, backward=backward,
            polarities=values["polarities"],
        )  # fmt: skip
        exponent = int(self.exponents[values["slot"]])
        self._hold(counts, lsb_log2, values["precision"], exponent)

    def _hold(self, counts: Int, lsb_log2: int, precision: int, exponent: int = 0) -> None:
        self._window = _Window(counts, self.crossbar.at_limit, lsb_log2, precision, exponent)

    def _forward(self, values: dict[str, int]) -> None:
        self._mvm(values, backward=False)

    def _backward(self, values: dict[str, int]) -> None:
        self._mvm(values, backward=True)

    def _held_codes(self, start: int, count: int) -> Int:
        """Read lines start..start+count-1 of the held window out of the converter."""
        mask = np.zeros(self.config.lines, dtype=np.bool_)
        mask[start : start + count] = True
        window = self._window
        codes = self.adc.read_out(
            window.counts, window.lsb_log2, window.precision, mask, window.at_limit
        )[mask]
        self.trace.codes.append(codes)
        return codes

    def _processed(self, values: dict[str, int]) -> tuple[int, int, Int]:
        """First line, number of lines and input codes of a post-processing instruction."""
        segment = self._segment(values)
        if values["axis"]:
            start, count = segment.row_start, segment.row_count
        else:
            start, count = segment.col_start, segment.col_count
        if values.get("from_slot") or values.get("source"):
            return start, count, self.slots[values["slot"], start : start + count]
        return start, count, self._held_codes(start, count)

    def write(self, values: dict[str, int], result: Int, exponent: int) -> None:
        """Fill the destination of an instruction with bytes and their exponent."""
        slot, first = values["destination"], values["destination_line"]
        self.post.place(result, self.slots[slot], first=first)
        self.exponents[slot] = exponent
        lines = (first + np.arange(len(result))) % self.config.lines
        self.trace.vectors.append((slot, lines, result))

    def _activate(self, values: dict[str, int]) -> None:
        start, _, codes = self._processed(values)
        result = self.post.activate(
            codes, start=start, function=Function(values["function"]), shift=values["shift"],
            accumulate=bool(values["accumulate"]), from_slot=bool(values["from_slot"]),
            table=values["table"] if values["affine"] else None,
        )  # fmt: skip
        if result is not None:
            self.write(values, result, 0)

    def _delta(self, values: dict[str, int]) -> None:
        start, count, codes = self._processed(values)
        source = DeltaSource(values["source"])
        mantissas, exponent = self.post.delta(
            codes, self.slots[values["output"], start : start + count], start=start,
            function=Function(values["function"]), source=source,
            shift=values["shift"] if values["fixed"] else None, bias=values["bias"],
            exponent=int(self.exponents[values["slot"]]) if source is DeltaSource.MANTISSAS
            else self._window.exponent,
        )  # fmt: skip
        self.write(values, mantissas, exponent)

    def _outer(self, values: dict[str, int]) -> None:
        pulses = self.update.outer(
            self._segment(values), self.slots[values["slot"]], self.slots[values["delta"]],
            int(self.exponents[values["delta"]]), bool(values["transfer"]),
        )  # fmt: skip
        if len(pulses):
            self.programmer.pulses(pulses)

    def _transfer(self, values: dict[str, int]) -> None:
        self.programmer.pulses(self.update.transfer(self._segment(values)))

    def _refresh(self, values: dict[str, int]) -> None:
        self.programmer.refresh(
            self._segment(values), bool(values["all_rows"]), self.refresh_high, self.refresh_low
        )

    def _program(self, values: dict[str, int]) -> None:
        self.programmer.program(self._segment(values), values["row"], self.slots[values["slot"]])

    def _calibrate(self, values: dict[str, int]) -> None:
        drift, total = Drift(values["drift"]), 0
        if drift is not Drift.NONE:
            config = self.config
            driven = min(config.rows, config.cols)
            drive = drive_all(config, precision=config.input_bits, count=driven)
            positive, negative = (
                self._summed(drive, config.drift_lsb_log2, polarities=polarities)
                for polarities in (0b01, 0b10)
            )
            total = int(np.sum(positive - negative))
        self.adc.compare(drift, total)
        silent = np.zeros(self.config.lines, dtype=np.int64)
        zero, reference = (
            self._summed(silent, self.config.lsb_log2_min, reference=on) for on in (False, True)
        )
        self.adc.calibrate(zero, reference)

    def _summed(
        self, drive: Int, lsb_log2: int, *, polarities: int = 0b11, reference: bool = False
    ) -> Int:
        """Counts of all lines, summed over the windows of a measurement of the calibration."""
        precision = self.config.input_bits
        windows = [
            self.crossbar.window(
                drive, precision=precision, lsb_log2=lsb_log2, polarities=polarities,
                reference=reference, backward=self.config.rows > self.config.cols,
            )
            for _ in range(1 << CALIBRATION_WINDOWS_LOG2)
        ]  # fmt: skip
        self._hold(windows[-1], lsb_log2, precision)
        total: Int = np.sum(windows, axis=0)
        return total

    def _read_row(self, row: int, polarities: int) -> Int:
        precision = min(READ_PRECISION, self.config.input_bits)
        drive = drive_one_hot(self.config, row, precision=precision)
        lsb_log2 = self.config.read_lsb_log2
        counts = self.crossbar.window(
            drive, precision=precision, lsb_log2=lsb_log2, polarities=polarities
        )
        self._hold(counts, lsb_log2, precision)
        # Row reads look at devices, not at results: their clipped codes are not counted.
        nothing = np.zeros(self.config.lines, dtype=np.bool_)
        return self.adc.read_out(counts, lsb_log2, precision, nothing)

    def _set(self, row: ArrayLike, col: ArrayLike, negative: ArrayLike, device: ArrayLike) -> None:
        self._pulse(row, col, negative, device, reset=False)

    def _reset(
        self, row: ArrayLike, col: ArrayLike, negative: ArrayLike, device: ArrayLike
    ) -> None:
        self._pulse(row, col, negative, device, reset=True)

    def _pulse(
        self, row: ArrayLike, col: ArrayLike, negative: ArrayLike, device: ArrayLike, *, reset: bool
    ) -> None:
        r, c, n, d = (np.asarray(axis, dtype=np.int64) for axis in (row, col, negative, device))
        self.crossbar.program(r, c, n, d, reset=reset)
        after = self.crossbar.conductance[r, c, n, d]
        index = ((r * self.config.cols + c) * 2 + n) * self.config.devices_per_polarity + d
        self.trace.devices.append(np.stack([index, np.full_like(index, reset), after], axis=1))


_EXECUTE = {
    Opcode.FORWARD: Core._forward,
    Opcode.BACKWARD: Core._backward,
    Opcode.ACTIVATE: Core._activate,
    Opcode.DELTA: Core._delta,
    Opcode.OUTER: Core._outer,
    Opcode.TRANSFER: Core._transfer,
    Opcode.REFRESH: Core._refresh,
    Opcode.PROGRAM: Core._program,
    Opcode.CALIBRATE: Core._calibrate,
}
