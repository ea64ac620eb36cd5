# SPDX-License-Identifier: Apache-2.0
"""First stage of the update unit: x and d of a segment into registers."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import Exponents, UpdateCommand, VectorRead
from phasecore.rtl.lib.trees import lane_mask
from phasecore.rtl.spec.core import EXPONENT_BITS, CoreConfig

__all__ = ["SegmentWords", "UpdateLoader"]


class SegmentWords(wiring.Component):
    """Registers of x and d, word by word as they arrive.

    Members
    -------
    clear : In(1)
        A command begins: columns that it does not load read 0.
    arrived_d, arrived_x : In(1)
        A word of d, or of x, is on ``word``.
    block, mask : In(block_bits), In(post_lanes)
        Its place, and its lanes in the segment.
    outer : In(1)
        Without, no element counts, and every row is visited.
    word : In(8 * post_lanes)
    x, d, cols, rows : Out
        As in UpdateLoader.
    """

    def __init__(self, config: CoreConfig):
        lanes = config.post_lanes
        self.lanes = lanes
        super().__init__(
            {
                "clear": In(1),
                "arrived_d": In(1),
                "arrived_x": In(1),
                "block": In(config.block_bits),
                "mask": In(lanes),
                "outer": In(1),
                "word": In(8 * lanes),
                "x": Out(8 * lanes).array(config.rows // lanes),
                "d": Out(8 * lanes).array(config.cols // lanes),
                "cols": Out(lanes).array(config.cols // lanes),
                "rows": Out(config.rows),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        codes = [self.word.word_select(lane, 8) for lane in range(self.lanes)]
        masked = Cat(Mux(self.mask[lane] & self.outer, code, 0) for lane, code in enumerate(codes))
        rows = self.mask & Mux(self.outer, Cat(code.any() for code in codes), -1)
        # One signal per word that is written as a whole; without a reset, since they are written
        # before they are used.
        for index, (d_port, cols_port) in enumerate(zip(self.d, self.cols, strict=True)):
            d = Signal(8 * self.lanes, name=f"d_{index}", reset_less=True)
            cols = Signal(self.lanes, name=f"cols_{index}", reset_less=True)
            m.d.comb += [d_port.eq(d), cols_port.eq(cols)]
            with m.If(self.clear):
                m.d.sync += [d.eq(0), cols.eq(0)]
            with m.Elif(self.arrived_d & (self.block == index)):
                m.d.sync += [d.eq(masked), cols.eq(self.mask)]
        for index, x_port in enumerate(self.x):
            x = Signal(8 * self.lanes, name=f"x_{index}", reset_less=True)
            m.d.comb += x_port.eq(x)
            with m.If(self.arrived_x & (self.block == index)):
                m.d.sync += x.eq(self.word)
                m.d.comb += self.rows.word_select(index, self.lanes).eq(rows)
        return m


class UpdateLoader(wiring.Component):
    """Takes a command and reads d, then x: only the words that hold lines of the segment.

    Members
    -------
    i : In(stream of UpdateCommand)
    idle : In(1)
        A command may be taken.
    exponents : In(Exponents)
        That of d is taken with the command.
    read : Out(VectorRead)
    reads : Out(slots)
        Slots that are not yet completely read.
    command, shift : Out(UpdateCommand), Out(signed(9))
        In work; left shift of the products, negative to the right.
    x, d : Out, one per word
        Elements as they are read; d is 0 outside the segment and without OUTER.
    cols : Out, one per word of d
        Columns of the segment.
    rows : Out(rows)
        Rows to visit that have come in this cycle; their words of x are there in the next one.
    loading : Out(1)
        Not all has come.
    """

    i: stream.Interface

    def __init__(self, config: CoreConfig):
        self.config = config
        lanes = config.post_lanes
        super().__init__(
            {
                "i": In(stream.Signature(UpdateCommand(config))),
                "idle": In(1),
                "exponents": In(Exponents(config)),
                "read": Out(VectorRead(config)),
                "reads": Out(config.slots),
                "command": Out(UpdateCommand(config)),
                "shift": Out(signed(EXPONENT_BITS + 1)),
                "x": Out(8 * lanes).array(config.rows // lanes),
                "d": Out(8 * lanes).array(config.cols // lanes),
                "cols": Out(lanes).array(config.cols // lanes),
                "rows": Out(config.rows),
                "loading": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, command, read = self.config, self.command, self.read
        lanes = config.post_lanes
        lane_bits = (lanes - 1).bit_length()
        m.submodules.words = words = SegmentWords(config)
        for name in ("x", "d", "cols"):
            pairs = zip(getattr(self, name), getattr(words, name), strict=True)
            m.d.comb += [port.eq(word) for port, word in pairs]
        load_d, load_x, taken = Signal(), Signal(), Signal()
        first, last = Signal(config.line_bits), Signal(config.line_bits)
        arrived_d, arrived_x = Signal(), Signal()
        block, arrived_block = Signal(config.block_bits), Signal(config.block_bits)
        arrived_mask = Signal(lanes, reset_less=True)
        self._lines(m, load_d, first, last)
        slot = Mux(load_d, command.d_slot, command.x_slot)
        m.d.comb += [
            self.i.ready.eq(self.idle),
            self.loading.eq(load_d | load_x | arrived_x),
            read.valid.eq((load_d | load_x) & command.outer),
            read.address.eq(Cat(block[: (config.blocks - 1).bit_length()], slot)),
            taken.eq((load_d | load_x) & (read.ready | ~command.outer)),
        ]
        with m.If(load_d & command.outer):
            m.d.comb += self.reads.bit_select(command.d_slot, 1).eq(1)
        with m.If((load_d | load_x) & command.outer):
            m.d.comb += self.reads.bit_select(command.x_slot, 1).eq(1)
        m.d.sync += [
            arrived_d.eq(taken & load_d),
            arrived_x.eq(taken & load_x),
            arrived_block.eq(block),
            arrived_mask.eq(lane_mask(block, first, last, lanes=lanes)),
        ]
        with m.If(taken):
            m.d.sync += block.eq(block + 1)
            with m.If(block == last[lane_bits:]):
                m.d.sync += [
                    load_d.eq(0),
                    load_x.eq(load_d),
                    block.eq(command.row_start[lane_bits:]),
                ]
        offered = self.i.payload
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                command.eq(offered),
                self.shift.eq(self.exponents[offered.d_slot] + offered.chi_shift),
                load_d.eq(1),
                block.eq(offered.col_start[lane_bits:]),
            ]
        m.d.comb += [
            words.clear.eq(self.i.valid & self.i.ready),
            words.arrived_d.eq(arrived_d),
            words.arrived_x.eq(arrived_x),
            words.block.eq(arrived_block),
            words.mask.eq(arrived_mask),
            words.outer.eq(command.outer),
            words.word.eq(read.data),
            self.rows.eq(words.rows),
        ]
        return m

    def _lines(self, m: Module, load_d: Signal, first: Signal, last: Signal) -> None:
        """First and last line of the segment along the vector that is read."""
        command = self.command
        with m.If(load_d):
            m.d.comb += first.eq(command.col_start)
            m.d.comb += last.eq(command.col_start + command.col_count - 1)
        with m.Else():
            m.d.comb += first.eq(command.row_start)
            m.d.comb += last.eq(command.row_start + command.row_count - 1)
