# SPDX-License-Identifier: Apache-2.0
"""Partial sums that are received, added to the accumulators."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.core.interfaces import AccumulatorPort
from phasecore.rtl.interface.head import EIGHT, FOUR, part_of, spread
from phasecore.rtl.lib.arithmetic import saturate
from phasecore.rtl.spec.core import PARTIAL_BITS, PARTIAL_SHIFT, CoreConfig

__all__ = ["PartialAdder"]


class PartialAdder(wiring.Component):
    """Reads the accumulators of a flit in its cycle and writes them in the next.

    A read serves two flits of four lines: the upper lines wait in a register while nothing else
    can change them, so that a chain that adds on the way has reads for both directions.

    Members
    -------
    enable : In(1)
        A flit of partial sums is taken, not in a cycle in which it is blocked.
    unit, lanes, values, replace : In
        Its place in the vector, in flits; its lines that count; partial sums; they take the
        accumulators' place.
    units, blocked : In, Out, one per channel
        Place of a channel's next flit; its accumulators cannot be read now.
    accumulators : Out(AccumulatorPort)
    written_place : Out
        With ``accumulators.write``: what is written, in units of eight lines.
    """

    def __init__(self, config: CoreConfig, channels: int):
        self.config = config
        super().__init__(
            {
                "enable": In(1),
                "unit": In(config.line_bits - 2),
                "lanes": In(FOUR),
                "values": In(FOUR * PARTIAL_BITS),
                "replace": In(1),
                "units": In(config.line_bits - 2).array(channels),
                "blocked": Out(1).array(channels),
                "accumulators": Out(AccumulatorPort(config)),
                "written_place": Out(config.line_bits - 3),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, port, width = self.config, self.accumulators, self.config.acc_bits
        bits = exact_log2(config.post_lanes // FOUR)
        # Upper four of the eight lines at ``upper_place`` wait in ``upper``.
        waits, upper_place = Signal(), Signal.like(self.written_place)
        upper = Signal(FOUR * width, reset_less=True)
        from_register = waits & self.unit[0] & (upper_place == self.unit[1:])
        for unit, blocked in zip(self.units, self.blocked, strict=True):
            written = port.write & (self.written_place == unit[1:])
            kept = waits & unit[0] & (upper_place == unit[1:])
            m.d.comb += blocked.eq(~port.ready | (written & ~kept))
        m.d.comb += [
            port.read.eq(self.enable & ~from_register),
            port.block.eq(self.unit[bits:]),
        ]
        fetched, unit = Signal(), Signal.like(self.unit)
        lanes, replace = Signal.like(self.lanes), Signal()
        values = Signal.like(self.values, reset_less=True)
        m.d.sync += [port.write.eq(self.enable), fetched.eq(port.read)]
        with m.If(self.enable):
            m.d.sync += [
                unit.eq(self.unit), lanes.eq(self.lanes), values.eq(self.values),
                replace.eq(self.replace), waits.eq(~self.unit[0]), upper_place.eq(self.unit[1:]),
            ]  # fmt: skip
        with m.If(~port.ready):
            m.d.sync += waits.eq(0)
        eight, old = Signal(EIGHT * width), Signal(FOUR * width)
        m.d.comb += [
            eight.eq(part_of(port.data, unit[1:bits], EIGHT * width)),
            old.eq(Mux(fetched, Mux(unit[0], eight[FOUR * width :], eight[: FOUR * width]), upper)),
            self.written_place.eq(unit[1:]),
            port.write_block.eq(unit[bits:]),
            port.mask.eq(spread(lanes, unit[:bits], config.post_lanes)),
        ]
        with m.If(fetched):
            m.d.sync += upper.eq(eight[FOUR * width :])
        total = [Signal(signed(width + 1), name=f"total_{lane}") for lane in range(FOUR)]
        for lane, value in enumerate(total):
            m.d.comb += value.eq(self._sum(lane, old, values, replace))
        sums = Cat(saturate(value, width)[:width] for value in total)
        m.d.comb += port.write_data.eq(sums.replicate(config.post_lanes // FOUR))
        return m

    def _sum(self, lane: int, old: Value, values: Value, replace: Value) -> Value:
        """Accumulator ``lane`` of four with what is received."""
        before = Mux(replace, 0, old.word_select(lane, self.config.acc_bits))
        part = values.word_select(lane, PARTIAL_BITS)
        return (
            before[: self.config.acc_bits].as_signed()
            + Cat(Const(0, PARTIAL_SHIFT), part).as_signed()
        )
