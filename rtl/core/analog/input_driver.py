# SPDX-License-Identifier: Apache-2.0
"""Input driver: vectors to pulse-width modulated (PWM) drive lines."""

from functools import reduce
from operator import and_, or_

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.core.interfaces import (
    Exponents,
    IncrementTiming,
    MvmCommand,
    MvmSource,
    UnitStatus,
    VectorRead,
)
from phasecore.rtl.spec.core import EXPONENT_BITS, CoreConfig

__all__ = ["InputDriver"]

CODE_BITS = 8
"""Bits of a stored input code, two's complement."""


class InputDriver(wiring.Component):
    """Drives the lines of the crossbar for one window per command.

    One command is loaded while the window of another runs; a loaded command starts in the cycle
    after the last one of the running window. The first window cycle of a command taken by an idle
    driver is 3 cycles and one per word later (SLOT, ALL), 3 (ONE_HOT) or 2 cycles later.

    Magnitudes are kept as bit planes, one bit per line, so that all lines are compared with the
    elapsed time by a handful of vector-wide operations.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    i : In(stream.Signature(MvmCommand(config)))
    read : Out(VectorRead(config)); words of the slot that hold lines of the command
    exponents : In(Exponents(config))
    timing : Out(IncrementTiming(config)); aligned with the macro controls
    backward, polarities, devices, range, reference : Out; macro controls, held between windows
    first, active : Out(1); first cycle and all cycles of a window
    pwm_positive, pwm_negative : Out(lines); registered, low between windows
    issued : Out(2); commands taken, modulo 4
    status : Out(UnitStatus(config)); busy while a command is loading, waiting or running, and
        reads its slot until it is completely loaded
    window : Out(1); the same as ``active``
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(MvmCommand(config))),
                "read": Out(VectorRead(config)),
                "exponents": In(Exponents(config)),
                "timing": Out(IncrementTiming(config)),
                "backward": Out(1),
                "polarities": Out(2),
                "devices": Out(config.devices_per_polarity),
                "range": Out(config.range_bits),
                "first": Out(1),
                "active": Out(1),
                "reference": Out(1),
                "pwm_positive": Out(config.lines),
                "pwm_negative": Out(config.lines),
                "issued": Out(2),
                "status": Out(UnitStatus(config)),
                "window": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config

        self._next = Signal(MvmCommand(config))
        self._taken = Signal()
        self._loaded = Signal()
        self._exponent = Signal(signed(EXPONENT_BITS))
        planes = range(config.input_bits - 1)
        self._next_magnitude = [Signal(config.lines, name=f"next_magnitude_{k}") for k in planes]
        self._next_positive = Signal(config.lines)
        self._next_negative = Signal(config.lines)

        last = Signal()
        start = Signal()
        accept = Signal()
        m.d.comb += [
            start.eq(self._taken & self._loaded & (~self.active | last)),
            self.i.ready.eq(~self._taken | start),
            accept.eq(self.i.valid & self.i.ready),
            self.window.eq(self.active),
            self.status.busy.eq(self._taken | self.active),
            self.devices.eq(-1),
        ]
        with m.If(self._taken & ~self._loaded & (self._next.source == MvmSource.SLOT)):
            m.d.comb += self.status.reads.eq(1 << self._next.slot)

        self._window(m, start, last)
        self._load(m, start, accept)
        return m

    def _load(self, m: Module, start: Value, accept: Value) -> None:
        """Fill the planes of the next window, one word of the slot per cycle."""
        config, command = self.config, self._next
        lane_bits = exact_log2(config.post_lanes)
        block = Signal(config.block_bits)
        final_block = Signal(config.block_bits)
        request = Signal()
        arrived = Signal()
        arrived_block = Signal(config.block_bits)
        arrived_final = Signal()
        final_line = Signal(config.line_bits)
        all_lines = command.source == MvmSource.ALL

        with m.If(start):
            m.d.sync += [
                self._taken.eq(0),
                [plane.eq(0) for plane in self._next_magnitude],
                self._next_positive.eq(0),
                self._next_negative.eq(0),
            ]

        m.d.comb += [
            self.read.valid.eq(request & ~all_lines),
            self.read.address.eq(Cat(block[: exact_log2(config.blocks)], command.slot)),
            final_line.eq(command.start + command.count - 1),
            final_block.eq(final_line[lane_bits:]),
        ]
        m.d.sync += arrived.eq(0)
        with m.If(request & (self.read.ready | all_lines)):
            m.d.sync += [
                arrived.eq(1),
                arrived_block.eq(block),
                arrived_final.eq(block == final_block),
                block.eq(block + 1),
                request.eq(block != final_block),
            ]
        with m.If(arrived):
            self._fill(m, arrived_block)
            with m.If(arrived_final):
                m.d.sync += self._loaded.eq(1)
                with m.If(command.source == MvmSource.SLOT):
                    m.d.sync += self._exponent.eq(self.exponents[command.slot])

        offered = self.i.payload
        with m.If(accept):
            m.d.sync += [
                command.eq(offered),
                self._taken.eq(1),
                self._loaded.eq(offered.source.matches(MvmSource.NOTHING, MvmSource.REFERENCE)),
                self._exponent.eq(0),
                self.issued.eq(self.issued + 1),
                request.eq(offered.source.matches(MvmSource.SLOT, MvmSource.ALL)),
                block.eq(offered.start[lane_bits:]),
            ]
            # A one-hot vector is a segment of one line whose word needs no memory.
            with m.If(offered.source == MvmSource.ONE_HOT):
                m.d.sync += [
                    command.start.eq(offered.line),
                    command.count.eq(1),
                    arrived.eq(1),
                    arrived_final.eq(1),
                    arrived_block.eq(offered.line[lane_bits:]),
                ]

    def _fill(self, m: Module, block: Value) -> None:
        """Turn the word on the read port into planes of ``block``."""
        config, command = self.config, self._next
        lanes = config.post_lanes
        largest = command.source.matches(MvmSource.ONE_HOT, MvmSource.ALL)
        bits = [Signal(lanes, name=f"bits_{k}") for k in range(CODE_BITS)]
        with m.If(largest):
            m.d.comb += [plane.eq(-1) for plane in bits[:-1]]
        with m.Else():
            for k, plane in enumerate(bits):
                m.d.comb += plane.eq(Cat(self.read.data[k::CODE_BITS]))

        negative = bits[-1]
        low = Const(0, lanes)
        code = []
        for plane in bits[:-1]:
            code.append(plane ^ (negative & low))
            low = low | plane
        most_negative = negative & ~low
        code = [plane | most_negative for plane in code]

        signs = command.input_signs
        kept = Signal(lanes)
        m.d.comb += kept.eq(
            self._below(command.start + command.count, block)
            & ~self._below(command.start, block)
            & (
                (negative & signs[1].replicate(lanes))
                | (~negative & (signs[0] | largest).replicate(lanes))
            )
        )
        shift = (CODE_BITS - command.precision)[:2]
        nonzero = Signal(lanes)
        magnitude = []
        for k in range(config.input_bits - 1):
            shifted = Array(code[k + s] if k + s < len(code) else Const(0, lanes) for s in range(4))
            magnitude.append(shifted[shift] & kept)
        m.d.comb += nonzero.eq(reduce(or_, magnitude))
        for plane, value in zip(self._next_magnitude, magnitude, strict=True):
            m.d.sync += plane.word_select(block, lanes).eq(value)
        m.d.sync += [
            self._next_positive.word_select(block, lanes).eq(nonzero & ~negative),
            self._next_negative.word_select(block, lanes).eq(nonzero & negative),
        ]

    def _below(self, bound: Value, block: Value) -> Value:
        """Lanes of ``block`` whose line is below ``bound`` (combinational)."""
        lanes = self.config.post_lanes
        silent = Value.cast((block + 1) * lanes - bound)
        every = Const((1 << lanes) - 1, lanes)
        return Mux(silent < 0, every, every >> silent[:-1])

    def _window(self, m: Module, start: Value, last: Value) -> None:
        """Run a window: a line is cleared when the elapsed cycles reach its magnitude."""
        config, command = self.config, self._next
        lines = config.lines
        magnitude = [
            Signal(lines, name=f"magnitude_{k}", reset_less=True)
            for k in range(config.input_bits - 1)
        ]
        elapsed = Signal(config.input_bits)
        length = Signal(config.input_bits)
        expired = Signal(lines)
        timing = self.timing

        m.d.comb += [
            last.eq(self.active & (elapsed == length)),
            expired.eq(
                reduce(and_, (~(p ^ elapsed[k].replicate(lines)) for k, p in enumerate(magnitude)))
            ),
            timing.first.eq(self.first),
            timing.active.eq(self.active),
            timing.last.eq(last),
            timing.range.eq(self.range),
        ]
        m.d.sync += [
            self.first.eq(start),
            self.active.eq(start | (self.active & ~last)),
            elapsed.eq(elapsed + 1),
            self.pwm_positive.eq(self.pwm_positive & ~expired),
            self.pwm_negative.eq(self.pwm_negative & ~expired),
        ]
        with m.If(start):
            m.d.sync += [
                elapsed.eq(1),
                [now.eq(later) for now, later in zip(magnitude, self._next_magnitude, strict=True)],
                self.pwm_positive.eq(self._next_positive),
                self.pwm_negative.eq(self._next_negative),
                self.backward.eq(command.backward),
                self.polarities.eq(command.polarities),
                self.range.eq(command.range),
                self.reference.eq(command.source == MvmSource.REFERENCE),
                timing.precision.eq(command.precision),
                timing.exponent.eq(self._exponent),
            ]
            with m.Switch(command.precision):
                for precision in range(5, config.input_bits + 1):
                    with m.Case(precision):
                        m.d.sync += length.eq(1 << (precision - 1))
