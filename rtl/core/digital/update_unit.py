# SPDX-License-Identifier: Apache-2.0
"""Update unit: chi memory, outer product and threshold transfer."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.digital.chi_lane import RIGHT_SHIFT_MAX, ChiIncrement, ChiLane
from phasecore.rtl.core.interfaces import (
    Exponents,
    Pulse,
    UnitStatus,
    UpdateCommand,
    VectorRead,
)
from phasecore.rtl.lib.sram import Sram
from phasecore.rtl.spec.core import EXPONENT_BITS, CoreConfig

__all__ = ["UpdateUnit"]


def named(m: Module, value: Value) -> Signal:
    """Signal that carries ``value``, so that an expression used twice is built once."""
    signal = Signal(value.shape())
    m.d.comb += signal.eq(value)
    return signal


def registers(count: int, width: int, name: str) -> list[Signal]:
    """Data registers, which need no reset: they are written before they are used."""
    return [Signal(width, name=f"{name}_{i}", reset_less=True) for i in range(count)]


def choose(m: Module, value: Value, index: Value, count: int) -> Value:
    """Word ``index`` of the ``count`` (a power of two) words of ``value``."""
    for bit in reversed(range((count - 1).bit_length())):
        half = len(value) // 2
        value = named(m, Mux(index[bit], value[half:], value[:half]))
    return value


def first_one(m: Module, bits: Value, items: Value) -> tuple[Value, Value, Value]:
    """Search for the lowest one of ``bits`` (a power of two), with one item each.

    Returns
    -------
    its index, its item (the last one's without any), and whether there are more ones
    """
    index: list[Value] = []
    more: Value = Const(0, 1)
    while len(bits) > 1:
        half, middle = len(bits) // 2, len(items) // 2
        low = named(m, bits[:half].any())
        index.insert(0, ~low)
        more = more | (low & bits[half:].any())
        bits = named(m, Mux(low, bits[:half], bits[half:]))
        items = named(m, Mux(low, items[:middle], items[middle:]))
    return named(m, Cat(index)), items, more


def count_ones(m: Module, bits: Value) -> Value:
    """Number of ones: fields of doubling width are added side by side."""
    if len(bits) > 32:
        parts = (count_ones(m, bits[i : i + 32]) for i in range(0, len(bits), 32))
        return sum(parts, Const(0, 1))
    width, size = 1, len(bits)
    while width < size:
        mask = sum(((1 << width) - 1) << i for i in range(0, size, 2 * width))
        bits = named(m, ((bits & mask) + ((bits >> width) & mask))[:size])
        width *= 2
    return bits[: size.bit_length()]


class UpdateUnit(wiring.Component):
    """Keeps chi of every weight; OUTER adds an outer product, TRANSFER turns chi into pulses.

    One command at a time. Rows of the segment are visited in ascending order, each chi word that
    holds columns of it in one cycle; OUTER visits only rows whose x is not 0, and they follow each
    other without a gap. A word with pulses stays in the output stage until all have left, and
    holds the words behind it meanwhile.

    Members
    -------
    i : commands
    read : x and d are read once per command, only the words that hold lines of the segment
    exponents : of all slots; that of d is taken with the command
    pulses : ascending columns, row by row
    status : busy from acceptance until the last pulse has left and the last chi is written; reads
        the slots that are not yet completely read
    products : 1 when an outer product of one chi word is stored
    chi_saturations : chi words clipped, one cycle after they are stored
    transfer_saturations : chi words left with a threshold or more, one cycle after they are stored
    stalled : 1 while a pulse waits for the queue
    """

    i: stream.Interface
    pulses: stream.Interface

    def __init__(self, config: CoreConfig):
        self.config = config
        counts = config.update_lanes.bit_length()
        super().__init__(
            {
                "i": In(stream.Signature(UpdateCommand(config))),
                "read": Out(VectorRead(config)),
                "exponents": In(Exponents(config)),
                "pulses": Out(stream.Signature(Pulse(config))),
                "status": Out(UnitStatus(config)),
                "products": Out(1),
                "chi_saturations": Out(counts),
                "transfer_saturations": Out(counts),
                "stalled": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        self._block_bits = max(1, (config.chi_blocks - 1).bit_length())
        self._command = Signal(UpdateCommand(config))
        self._shift = Signal(signed(EXPONENT_BITS + 1))
        post = config.post_lanes
        # One signal per word that is written as a whole: x and d as they are read.
        self._x = registers(config.rows // post, 8 * post, "x")
        self._d = registers(config.cols // post, 8 * post, "d")
        self._cols = registers(config.cols // post, post, "cols")
        self._rows_new = Signal(config.rows)
        self._rows_left = Signal(config.rows)
        # Words in the pipeline move on.
        self._advance = Signal()

        loading = self._load(m)
        visiting = self._visit(m)
        m.d.comb += [
            self.status.busy.eq(loading | visiting | self.pulses.valid),
            self.i.ready.eq(~self.status.busy),
        ]
        return m

    def _load(self, m: Module) -> Value:
        """Take a command and read d, then x; returns 1 until all is in the registers."""
        config, command, read = self.config, self._command, self.read
        lanes = config.post_lanes
        lane_bits = (lanes - 1).bit_length()
        load_d, load_x = Signal(), Signal()
        block = Signal(config.block_bits)
        arrived_d, arrived_x = Signal(), Signal()
        arrived_block = Signal(config.block_bits)
        arrived_mask = Signal(lanes, reset_less=True)

        first, last = Signal(config.line_bits), Signal(config.line_bits)
        with m.If(load_d):
            m.d.comb += first.eq(command.col_start)
            m.d.comb += last.eq(command.col_start + command.col_count - 1)
        with m.Else():
            m.d.comb += first.eq(command.row_start)
            m.d.comb += last.eq(command.row_start + command.row_count - 1)
        from_first, to_last = Signal(lanes, init=-1), Signal(lanes, init=-1)
        with m.If(block == first[lane_bits:]):
            m.d.comb += from_first.eq(-(Const(1) << first[:lane_bits]))
        with m.If(block == last[lane_bits:]):
            m.d.comb += to_last.eq((Const(2) << last[:lane_bits]) - 1)

        taken = Signal()
        slot = Mux(load_d, command.d_slot, command.x_slot)
        m.d.comb += [
            read.valid.eq((load_d | load_x) & command.outer),
            read.address.eq(Cat(block[: (config.blocks - 1).bit_length()], slot)),
            taken.eq((load_d | load_x) & (read.ready | ~command.outer)),
        ]
        with m.If(load_d & command.outer):
            m.d.comb += self.status.reads.bit_select(command.d_slot, 1).eq(1)
        with m.If((load_d | load_x) & command.outer):
            m.d.comb += self.status.reads.bit_select(command.x_slot, 1).eq(1)
        m.d.sync += [
            arrived_d.eq(taken & load_d),
            arrived_x.eq(taken & load_x),
            arrived_block.eq(block),
            arrived_mask.eq(from_first & to_last),
        ]
        with m.If(taken):
            m.d.sync += block.eq(block + 1)
            with m.If(block == last[lane_bits:]):
                m.d.sync += [
                    load_d.eq(0),
                    load_x.eq(load_d),
                    block.eq(command.row_start[lane_bits:]),
                ]

        # Columns of d and of the mask that this command does not load must read 0.
        accepted = self.i.valid & self.i.ready
        with m.If(accepted):
            m.d.sync += [
                command.eq(self.i.payload),
                self._shift.eq(self.exponents[self.i.payload.d_slot] + self.i.payload.chi_shift),
                load_d.eq(1),
                block.eq(self.i.payload.col_start[lane_bits:]),
                *(word.eq(0) for word in [*self._d, *self._cols]),
            ]
        codes = [read.data.word_select(lane, 8) for lane in range(lanes)]
        masked = Cat(
            Mux(arrived_mask[lane] & command.outer, code, 0) for lane, code in enumerate(codes)
        )
        rows = arrived_mask & Mux(command.outer, Cat(code.any() for code in codes), -1)
        for index, (d, cols) in enumerate(zip(self._d, self._cols, strict=True)):
            with m.If(arrived_d & (arrived_block == index)):
                m.d.sync += [d.eq(masked), cols.eq(arrived_mask)]
        for index, x in enumerate(self._x):
            with m.If(arrived_x & (arrived_block == index)):
                m.d.sync += x.eq(read.data)
                m.d.comb += self._rows_new.word_select(index, lanes).eq(rows)
        return load_d | load_x | arrived_x

    def _visit(self, m: Module) -> Value:
        """Visit the chi words of the rows left; returns 1 until the last one is stored."""
        config, command = self.config, self._command
        word_bits = (config.update_lanes - 1).bit_length()
        valid, row = Signal(), Signal(config.row_bits)
        block, x = Signal(self._block_bits), Signal(signed(8))
        last = (command.col_start + command.col_count - 1)[word_bits : config.col_bits]

        step, visited = Signal(), Signal(config.rows)
        m.d.comb += step.eq(valid & self._advance)
        with m.If(step):
            m.d.sync += block.eq(block + 1)
        with m.If(~valid | (step & (block == last))):
            # Words of x arrive in ascending order, so the lowest row here is the lowest of all.
            index, item, _ = first_one(m, self._rows_left, Cat(self._x))
            m.d.sync += [
                valid.eq(self._rows_left.any()),
                row.eq(index),
                x.eq(item),
                block.eq(command.col_start[word_bits:]),
            ]
            m.d.comb += visited.eq(Const(1) << index)
        m.d.sync += self._rows_left.eq((self._rows_left & ~visited) | self._rows_new)

        valid_read, row_read = Signal(), Signal(config.row_bits)
        block_read = Signal(self._block_bits)
        x_read = Signal(signed(8), reset_less=True)
        with m.If(self._advance):
            m.d.sync += [
                valid_read.eq(valid),
                row_read.eq(row),
                block_read.eq(block),
                x_read.eq(x),
            ]
        stored = self._lanes(m, valid_read, row_read, block_read, x_read)
        return self._rows_left.any() | valid | valid_read | stored

    def _lanes(self, m: Module, valid: Value, row: Value, block: Value, x: Value) -> Value:
        """Read a chi word and form its increments, then update it; returns 1 until it is stored."""
        config, command = self.config, self._command
        lanes, bits = config.update_lanes, config.chi_bits
        m.submodules.chi = chi = Sram(width=lanes * bits, depth=max(2, config.chi_depth))
        valid_store, row_store = Signal(), Signal(config.row_bits)
        block_store = Signal(self._block_bits)
        transfer = Signal(lanes, reset_less=True)
        block_address_bits = (config.chi_blocks - 1).bit_length()

        d = choose(m, Cat(self._d), block, config.chi_blocks)
        cols = choose(m, Cat(self._cols), block, config.chi_blocks)
        right = Signal(range(RIGHT_SHIFT_MAX + 1))
        half = Signal(RIGHT_SHIFT_MAX - 1)
        parity = Signal(RIGHT_SHIFT_MAX + 1)
        with m.If(self._shift < 0):
            enough = Const(RIGHT_SHIFT_MAX, right.shape())
            m.d.comb += [
                right.eq(Mux(self._shift > -RIGHT_SHIFT_MAX, -self._shift, enough)),
                parity.eq(Const(1) << right),
                half.eq((parity >> 1) - 1),
            ]
        left, sign = Signal(range(bits)), Signal(signed(bits))
        with m.If(self._shift > 0):
            enough = Const(bits - 1, left.shape())
            m.d.comb += left.eq(Mux(self._shift < bits - 1, self._shift, enough))
        m.d.comb += sign.eq(Const(-(2 ** (bits - 1)), signed(bits)) >> left)

        m.d.comb += [
            chi.r_en.eq(valid & self._advance),
            chi.r_address.eq(Cat(block[:block_address_bits], row)),
            chi.w_en.eq(valid_store & self._advance),
            chi.w_mask.eq(1),
            chi.w_address.eq(Cat(block_store[:block_address_bits], row_store)),
        ]
        with m.If(self._advance):
            m.d.sync += [
                valid_store.eq(valid),
                row_store.eq(row),
                block_store.eq(block),
                transfer.eq(Mux(command.transfer, cols, 0)),
            ]
        increments = registers(lanes, bits, "increment")
        units = []
        for index in range(lanes):
            m.submodules[f"increment_{index}"] = product = ChiIncrement(config)
            m.submodules[f"lane_{index}"] = lane = ChiLane(config)
            units.append(lane)
            increment = increments[index]
            m.d.comb += [
                product.x.eq(x),
                product.d.eq(d.word_select(index, 8)),
                product.shift.eq(right),
                product.half.eq(half),
                product.parity.eq(parity),
                product.left.eq(left),
                product.sign.eq(sign),
                lane.stored.eq(chi.r_data.word_select(index, bits)),
                lane.increment.eq(increment),
                lane.threshold.eq(command.threshold),
                lane.transfer.eq(transfer[index]),
                chi.w_data.word_select(index, bits).eq(lane.result),
            ]
            with m.If(self._advance):
                m.d.sync += increment.eq(product.increment)
        self._emit(m, units, chi.w_en, row_store, block_store)
        return valid_store

    def _emit(
        self, m: Module, units: list[ChiLane], stored: Value, row: Value, block: Value
    ) -> None:
        """Count the saturations of a word when it is stored, and send its pulses one by one."""
        config = self.config
        lanes = len(units)
        clipped, full, left = Signal(lanes), Signal(lanes), Signal(lanes)
        code = data.StructLayout({"count": config.pulse_bits, "negative": 1})
        codes = Signal(code.size * lanes, reset_less=True)
        row_out, block_out = Signal(config.row_bits), Signal(self._block_bits)
        index, item, more = first_one(m, left, codes)

        pulse = self.pulses.payload
        m.d.comb += [
            self.pulses.valid.eq(left.any()),
            pulse.row.eq(row_out),
            pulse.col.eq(Cat(index, block_out)),
            pulse.count.eq(code(item).count),
            pulse.negative.eq(code(item).negative),
            self.stalled.eq(self.pulses.valid & ~self.pulses.ready),
            self.products.eq(stored & self._command.outer),
            self._advance.eq(~self.pulses.valid | (self.pulses.ready & ~more)),
            self.chi_saturations.eq(count_ones(m, clipped)),
            self.transfer_saturations.eq(count_ones(m, full)),
        ]
        m.d.sync += [clipped.eq(0), full.eq(0)]
        with m.If(self.pulses.ready):
            m.d.sync += left.eq(left & ~(Const(1) << index))
        with m.If(stored):
            m.d.sync += [
                clipped.eq(Cat(lane.chi_saturated for lane in units)),
                full.eq(Cat(lane.transfer_saturated for lane in units)),
                left.eq(Cat(lane.count.any() for lane in units)),
                codes.eq(Cat(Cat(lane.count, lane.negative) for lane in units)),
                row_out.eq(row),
                block_out.eq(block),
            ]
