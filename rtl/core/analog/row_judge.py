# SPDX-License-Identifier: Apache-2.0
"""Judges the codes of a row: which columns to RESET, and which still need a SET."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import RowCommand
from phasecore.rtl.lib.sram import Sram
from phasecore.rtl.lib.trees import lane_mask
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["Purpose", "RowJudge", "RowLane", "row_lanes"]


def row_lanes(config: CoreConfig) -> int:
    """Columns handled per cycle: a window takes longer than all, and more lanes do not pay."""
    return min(16, config.post_lanes)


class Purpose(enum.Enum, shape=2):
    """What the codes of a read are for."""

    STORE = 0
    DETECT = 1
    VERIFY = 2


class RowLane(wiring.Component):
    """Verdict on one column (combinational).

    Members
    -------
    code : In(signed(8))
        Of the polarity read.
    stored : In(8)
        Code of G+ (DETECT) or target (VERIFY) from the reads before.
    loaded, loading : In(signed(8)), In(1)
        Target of PROGRAM, in place of the difference of codes.
    negative : In(1)
        The code is of G-.
    high, low : In(7)
        A pair is worn if its larger code exceeds the one and its smaller code the other.
    worn : Out(1)
        Of G+ in ``stored`` and G- in ``code``.
    reached : Out(1)
        The code has reached the magnitude of the target.
    below, nonzero : Out(1)
        Of the weight to be written back: the sign, and whether it needs a SET.
    target : Out(8)
        That weight, magnitude in the low seven bits and sign.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "code": In(signed(8)),
                "stored": In(8),
                "loaded": In(signed(8)),
                "loading": In(1),
                "negative": In(1),
                "high": In(7),
                "low": In(7),
                "worn": Out(1),
                "reached": Out(1),
                "below": Out(1),
                "nonzero": Out(1),
                "target": Out(8),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        value, difference = Signal(range(-128, 129)), Signal(range(-255, 256))
        first, low, high = self.stored.as_signed(), self.low, self.high
        magnitude = abs(difference)
        m.d.comb += [
            # The current of G- is negative.
            value.eq(Mux(self.negative, -self.code, self.code)),
            difference.eq(Mux(self.loading, self.loaded, first - value)),
            self.worn.eq((first > low) & (value > low) & ((first > high) | (value > high))),
            self.reached.eq(value >= self.stored[:7]),
            self.below.eq(difference < 0),
            self.nonzero.eq(difference != 0),
            self.target.eq(Cat(Mux(magnitude > 127, 127, magnitude)[:7], difference < 0)),
        ]
        return m


class RowJudge(wiring.Component):
    """Keeps what the bytes of a row mean, block by block as they arrive.

    Members
    -------
    command : In(RowCommand)
    purpose, negative, loading : In
        What the bytes are for, of which polarity, and whether they are targets from a slot.
    fetch, fetch_block : In(1), In
        Codes of this block arrive in the next cycle.
    arrived, arrived_block : In(1), In
    codes, loaded : In(8 * post_lanes)
        The word with the bytes of ``arrived_block``, of the converter and of the vector memory.
    refresh_high, refresh_low : In(7)
    worn, above, below : Out, masks of the columns of every block
        Columns to RESET, and columns whose G+ (G-) has not reached its target.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        self.lanes = row_lanes(config)
        blocks = config.cols // self.lanes
        block = range(max(2, blocks))
        masks = Out(self.lanes).array(blocks)
        super().__init__(
            {
                "command": In(RowCommand(config)),
                "purpose": In(Purpose),
                "negative": In(1),
                "loading": In(1),
                "fetch": In(1),
                "fetch_block": In(block),
                "arrived": In(1),
                "arrived_block": In(block),
                "codes": In(8 * config.post_lanes),
                "loaded": In(8 * config.post_lanes),
                "refresh_high": In(7),
                "refresh_low": In(7),
                "worn": masks,
                "above": masks,
                "below": masks,
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width, blocks = 8 * self.lanes, len(self.worn)
        m.submodules.targets = targets = Sram(width=width, depth=max(2, blocks))
        codes, loaded = Signal(width), Signal(width)
        last = Signal(self.config.col_bits)
        segment, worn, pending = Signal(self.lanes), Signal(self.lanes), Signal(self.lanes)
        start, block = self.command.col_start, self.arrived_block
        verdicts = [RowLane() for _ in range(self.lanes)]
        for index, lane in enumerate(verdicts):
            m.submodules[f"lane_{index}"] = lane
            m.d.comb += [
                lane.code.eq(codes.word_select(index, 8)),
                lane.stored.eq(targets.r_data.word_select(index, 8)),
                lane.loaded.eq(loaded.word_select(index, 8)),
                lane.loading.eq(self.loading),
                lane.negative.eq(self.negative),
                lane.high.eq(self.refresh_high),
                lane.low.eq(self.refresh_low),
            ]
        negative = Cat(lane.below for lane in verdicts)
        reached = Cat(lane.reached for lane in verdicts)
        found = Cat(lane.worn for lane in verdicts) | self.loading.replicate(self.lanes)
        m.d.comb += [
            codes.eq(self._part(self.codes)),
            loaded.eq(self._part(self.loaded)),
            last.eq(start + self.command.col_count - 1),
            segment.eq(lane_mask(block, start, last, lanes=self.lanes)),
            worn.eq(segment & found),
            pending.eq(worn & Cat(lane.nonzero for lane in verdicts)),
            targets.r_en.eq(self.fetch),
            targets.r_address.eq(self.fetch_block),
            targets.w_en.eq(self.arrived & (self.purpose != Purpose.VERIFY)),
            targets.w_mask.eq(1),
            targets.w_address.eq(block),
            targets.w_data.eq(
                Mux(self.purpose == Purpose.STORE, codes, Cat(lane.target for lane in verdicts))
            ),
        ]
        with m.If(self.arrived), m.Switch(self.purpose):
            with m.Case(Purpose.DETECT):
                m.d.sync += [
                    Array(self.worn)[block].eq(worn),
                    Array(self.above)[block].eq(pending & ~negative),
                    Array(self.below)[block].eq(pending & negative),
                ]
            with m.Case(Purpose.VERIFY):
                for masks, polarity in ((self.above, 0), (self.below, 1)):
                    with m.If(self.negative == polarity):
                        mask = Array(masks)[block]
                        m.d.sync += mask.eq(mask & ~reached)
        return m

    def _part(self, word: Value) -> Value:
        """Bytes of the arrived block in the word that it came with."""
        width = 8 * self.lanes
        parts = Array(word[low : low + width] for low in range(0, len(word), width))
        return parts[self.arrived_block % len(parts)]
