# SPDX-License-Identifier: Apache-2.0
"""Third stage of the update unit: reads a chi word, forms its increments and stores it."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.digital.chi_lane import RIGHT_SHIFT_MAX, ChiIncrement, ChiLane
from phasecore.rtl.core.interfaces import UpdateCommand
from phasecore.rtl.lib.trees import select
from phasecore.rtl.spec.core import EXPONENT_BITS, CoreConfig

__all__ = ["ChiPipeline", "ChiShift", "PulseCode"]


class PulseCode(data.StructLayout):
    """Pulses that a chi word sheds, and their sign."""

    def __init__(self, config: CoreConfig):
        super().__init__({"count": config.pulse_bits, "negative": 1})


class ChiShift(wiring.Component):
    """The shift of a command in the forms that ChiIncrement needs (combinational).

    Members
    -------
    shift : In(signed(9))
        To the left, negative to the right.
    right, half, parity, left, sign : Out
        As in ChiIncrement.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "shift": In(signed(EXPONENT_BITS + 1)),
                "right": Out(range(RIGHT_SHIFT_MAX + 1)),
                "half": Out(RIGHT_SHIFT_MAX - 1),
                "parity": Out(RIGHT_SHIFT_MAX + 1),
                "left": Out(range(config.chi_bits)),
                "sign": Out(signed(config.chi_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.config.chi_bits
        with m.If(self.shift < 0):
            enough = Const(RIGHT_SHIFT_MAX, self.right.shape())
            m.d.comb += [
                self.right.eq(Mux(self.shift > -RIGHT_SHIFT_MAX, -self.shift, enough)),
                self.parity.eq(Const(1) << self.right),
                self.half.eq((self.parity >> 1) - 1),
            ]
        with m.If(self.shift > 0):
            enough = Const(bits - 1, self.left.shape())
            m.d.comb += self.left.eq(Mux(self.shift < bits - 1, self.shift, enough))
        m.d.comb += self.sign.eq(Const(-(2 ** (bits - 1)), signed(bits)) >> self.left)
        return m


class ChiPipeline(wiring.Component):
    """One chi word per cycle with ``advance``: read, increment, transfer and store.

    Members
    -------
    command, shift : In(UpdateCommand), In(signed(9))
    d, cols : In, one per word of post_lanes elements
    valid, row, block, element : In
        A word to visit, and the element of x of its row.
    advance : In(1)
    read, address : Out(1), Out
        The chi word that is read.
    word : In(update_lanes * chi_bits)
        As it was stored, in the next cycle.
    write, write_address, write_word : Out
        As it is stored.
    stored_row, stored_block : Out
        Where, with ``write``.
    codes : Out(update_lanes of PulseCode)
    chi_saturated, transfer_saturated : Out(update_lanes)
        With ``write``: the pulses of every lane, and what ChiLane says.
    busy : Out(1)
        Words are in the pipeline.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        lanes, words = config.update_lanes, config.cols // config.post_lanes
        block, address = range(max(2, config.chi_words_per_row)), range(max(2, config.chi_depth))
        super().__init__(
            {
                "command": In(UpdateCommand(config)),
                "shift": In(signed(EXPONENT_BITS + 1)),
                "d": In(8 * config.post_lanes).array(words),
                "cols": In(config.post_lanes).array(words),
                "valid": In(1),
                "row": In(config.row_bits),
                "block": In(block),
                "element": In(signed(8)),
                "advance": In(1),
                "read": Out(1),
                "address": Out(address),
                "word": In(lanes * config.chi_bits),
                "write": Out(1),
                "write_address": Out(address),
                "write_word": Out(lanes * config.chi_bits),
                "stored_row": Out(config.row_bits),
                "stored_block": Out(block),
                "codes": Out(data.ArrayLayout(PulseCode(config), lanes)),
                "chi_saturated": Out(lanes),
                "transfer_saturated": Out(lanes),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        block_bits = (config.chi_words_per_row - 1).bit_length()
        valid_read, valid_store = Signal(), Signal()
        row_read, block_read = Signal.like(self.row), Signal.like(self.block)
        element = Signal(signed(8), reset_less=True)
        transfer = Signal(config.update_lanes, reset_less=True)
        d, cols = Signal(8 * config.update_lanes), Signal(config.update_lanes)
        m.d.comb += [
            d.eq(self._of_block(Cat(*self.d), block_read)),
            cols.eq(self._of_block(Cat(*self.cols), block_read)),
            self.busy.eq(valid_read | valid_store),
            self.read.eq(valid_read & self.advance),
            self.address.eq(Cat(block_read[:block_bits], row_read)),
            self.write.eq(valid_store & self.advance),
            self.write_address.eq(Cat(self.stored_block[:block_bits], self.stored_row)),
        ]
        with m.If(self.advance):
            m.d.sync += [
                valid_read.eq(self.valid),
                row_read.eq(self.row),
                block_read.eq(self.block),
                element.eq(self.element),
                valid_store.eq(valid_read),
                self.stored_row.eq(row_read),
                self.stored_block.eq(block_read),
                transfer.eq(Mux(self.command.transfer, cols, 0)),
            ]
        increments = [
            Signal(config.chi_bits, name=f"increment_{lane}", reset_less=True)
            for lane in range(config.update_lanes)
        ]
        self._lanes(m, element, d, transfer, increments)
        return m

    def _of_block(self, value: Value, block: Value) -> Value:
        """What ``value`` has for the lanes of a chi word."""
        count = self.config.chi_words_per_row
        return select([value.word_select(i, len(value) // count) for i in range(count)], block)

    def _lanes(
        self, m: Module, element: Signal, d: Signal, transfer: Signal, increments: list[Signal]
    ) -> None:
        """Increment of every lane, and in the next cycle its new value."""
        bits = self.config.chi_bits
        m.submodules.shifts = shifts = ChiShift(self.config)
        m.d.comb += shifts.shift.eq(self.shift)
        for index, increment in enumerate(increments):
            m.submodules[f"increment_{index}"] = product = ChiIncrement(self.config)
            m.submodules[f"lane_{index}"] = lane = ChiLane(self.config)
            m.d.comb += [
                product.x.eq(element),
                product.d.eq(d.word_select(index, 8)),
                product.shift.eq(shifts.right),
                product.half.eq(shifts.half),
                product.parity.eq(shifts.parity),
                product.left.eq(shifts.left),
                product.sign.eq(shifts.sign),
                lane.stored.eq(self.word.word_select(index, bits)),
                lane.increment.eq(increment),
                lane.threshold.eq(self.command.threshold),
                lane.transfer.eq(transfer[index]),
                self.write_word.word_select(index, bits).eq(lane.result),
                self.codes[index].count.eq(lane.count),
                self.codes[index].negative.eq(lane.negative),
                self.chi_saturated[index].eq(lane.chi_saturated),
                self.transfer_saturated[index].eq(lane.transfer_saturated),
            ]
            with m.If(self.advance):
                m.d.sync += increment.eq(product.increment)
