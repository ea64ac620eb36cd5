# SPDX-License-Identifier: Apache-2.0
"""Data flits read from a slot or from the accumulators."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.core.interfaces import VectorRead
from phasecore.rtl.interface.flit_queue import ChannelFlit
from phasecore.rtl.interface.head import EIGHT, FOUR, keep_bytes, part_of
from phasecore.rtl.lib.arithmetic import round_shift, saturate
from phasecore.rtl.spec.core import PARTIAL_BITS, PARTIAL_SHIFT, CoreConfig
from phasecore.rtl.spec.noc import NocConfig

__all__ = ["FlitReader"]


class FlitReader(wiring.Component):
    """Reads one data flit per cycle; it is on ``flit`` in the next.

    A read of a slot serves one flit, a read of the accumulators two: the second's lines wait in a
    register, so that a chain that adds on the way has reads for both directions.

    Members
    -------
    wanted : In(1)
        A flit is wanted.
    partial, slot, unit, inside : In
        Of the flit: from the accumulators or from a slot, which; its place in the vector, in
        flits; it is not its packet's first.
    tail, trim, vc : In
        Of the flit: its packet's last; lines that do not count; virtual channel.
    step : Out(1)
        The flit is taken (combinational).
    valid, flit : Out(1), Out(ChannelFlit)
        The flit of the cycle before, with zeros in lines that do not count.
    read : Out(VectorRead)
    sums_read, sums_ready, sums_block, sums_data : Out, In, Out, In
        Read channel of the accumulators, as in AccumulatorPort.
    sums_written, written_place : In(1), In
        Accumulators that are being written, in units of eight lines: read later.
    """

    def __init__(self, config: CoreConfig, noc: NocConfig):
        self.config, self.noc = config, noc
        unit_bits = config.line_bits - 2
        super().__init__(
            {
                "wanted": In(1),
                "partial": In(1),
                "slot": In(config.slot_bits),
                "unit": In(unit_bits),
                "inside": In(1),
                "tail": In(1),
                "trim": In(3),
                "vc": In(noc.vc_bits),
                "step": Out(1),
                "valid": Out(1),
                "flit": Out(ChannelFlit(noc)),
                "read": Out(VectorRead(config)),
                "sums_read": Out(1),
                "sums_ready": In(1),
                "sums_block": Out(config.block_bits),
                "sums_data": In(config.acc_bits * config.post_lanes),
                "sums_written": In(1),
                "written_place": In(unit_bits - 1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, unit = self.config, self.unit
        by_eight, by_four = (exact_log2(config.post_lanes // lines) for lines in (EIGHT, FOUR))
        # The upper four of eight lines, read in this packet with the lower ones.
        follows, waiting, clear, fetch = Signal(), Signal(), Signal(), Signal()
        upper = Signal(FOUR * config.acc_bits, reset_less=True)
        ready = Mux(self.partial, self.sums_ready & clear, self.read.ready)
        m.d.comb += [
            waiting.eq(self.partial & self.inside & follows & unit[0]),
            clear.eq(~self.sums_written | (unit[1:] != self.written_place)),
            self.read.valid.eq(self.wanted & ~self.partial),
            self.read.address.eq(Cat(unit[by_eight:][: exact_log2(config.blocks)], self.slot)),
            self.sums_read.eq(self.wanted & self.partial & ~waiting & clear),
            self.sums_block.eq(unit[by_four:]),
            fetch.eq(self.wanted & ~waiting & ready),
            self.step.eq(self.wanted & (waiting | ready)),
        ]
        partial, fetched, place, trim = Signal(), Signal(), Signal(by_four), Signal(3)
        eight, four = Signal(EIGHT * config.acc_bits), Signal(FOUR * config.acc_bits)
        value, tail, vc = Signal(self.noc.flit_bits), Signal(), Signal.like(self.vc)
        m.d.sync += [
            self.valid.eq(self.step), fetched.eq(fetch),
            follows.eq(self.step | (follows & self.inside)),
        ]  # fmt: skip
        with m.If(self.step):
            m.d.sync += [
                partial.eq(self.partial), place.eq(unit), trim.eq(self.trim),
                tail.eq(self.tail), vc.eq(self.vc),
            ]  # fmt: skip
        m.d.comb += [
            eight.eq(part_of(self.sums_data, place[1:by_four], len(eight))),
            four.eq(Mux(fetched, Mux(place[0], eight[len(four) :], eight[: len(four)]), upper)),
            value.eq(
                Mux(partial, self._rounded(four), part_of(self.read.data, place[:by_eight], 64))
            ),
            self.flit.data.eq(keep_bytes(value, trim, four=partial)),
            self.flit.tail.eq(tail),
            self.flit.vc.eq(vc),
        ]
        with m.If(self.valid & partial & fetched):
            m.d.sync += upper.eq(eight[len(four) :])
        return m

    def _rounded(self, sums: Value) -> Value:
        """Four accumulators as partial sums of a flit."""
        return Cat(
            saturate(round_shift(part.as_signed(), PARTIAL_SHIFT), PARTIAL_BITS)
            for part in (sums.word_select(lane, self.config.acc_bits) for lane in range(FOUR))
        )
