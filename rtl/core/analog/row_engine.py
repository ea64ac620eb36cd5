# SPDX-License-Identifier: Apache-2.0
"""Row engine of the programmer: selective refresh and program-and-verify, row by row."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import AdcRead, MvmCommand, MvmSource, RowCommand, VectorRead
from phasecore.rtl.lib.sram import Sram
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["RowEngine", "Selection"]


class Selection(data.StructLayout):
    """One device selected for a pulse, as in ``MacroProgram``.

    ``device`` is meant for RESETs; the device of a SET is named by the selection counters.
    """

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "row": config.row_bits,
                "col": config.col_bits,
                "negative": 1,
                "device": max(1, (config.devices_per_polarity - 1).bit_length()),
                "reset": 1,
                "fire": 1,
            }
        )


LANES = 16
"""Columns handled per cycle: a window takes longer than all of them, and more lanes do not pay."""


class Purpose(enum.Enum, shape=2):
    """What the codes of a read are for."""

    STORE = 0
    DETECT = 1
    VERIFY = 2


class RowEngine(wiring.Component):
    """Reads rows through the converter, RESETs pairs and verifies their SETs (docs/contract).

    Everything else on the crossbar is idle meanwhile. Codes and targets are handled in blocks of
    at most 16 columns per cycle, selections one per cycle.

    Members
    -------
    rows : stream of RowCommand, taken while not ``busy``
    o : stream of Selection
    settled : 1 when nothing that left by ``o`` waits to be pulsed or is being pulsed
    row : row being worked on
    dirty : ``row`` was pulsed since its last refresh
    clean : strobe, ``row`` has been refreshed
    mvm, adc, latched : row reads
    read : targets of PROGRAM
    refresh_high, refresh_low : a pair is worn if its larger code exceeds the one and its smaller
        code the other
    busy : a command is in progress
    reads : slot that will still be read, one bit per slot
    refreshed : strobe, one worn pair was RESET
    unverified : strobe, one column took its last pulse without having reached its target
    """

    rows: stream.Interface
    o: stream.Interface
    mvm: stream.Interface

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "rows": In(stream.Signature(RowCommand(config))),
                "o": Out(stream.Signature(Selection(config))),
                "settled": In(1),
                "row": Out(config.row_bits),
                "dirty": In(1),
                "clean": Out(1),
                "mvm": Out(stream.Signature(MvmCommand(config))),
                "adc": Out(AdcRead(config)),
                "latched": In(2),
                "read": Out(VectorRead(config)),
                "refresh_high": In(7),
                "refresh_low": In(7),
                "busy": Out(1),
                "reads": Out(config.slots),
                "refreshed": Out(1),
                "unverified": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        lanes = min(LANES, config.post_lanes)
        blocks = config.cols // lanes

        def masks(name: str) -> Array:
            return Array(Signal(lanes, name=f"{name}_{block}") for block in range(blocks))

        self._command = Signal(RowCommand(config))
        # Block asked for, and block whose bytes have arrived in this cycle.
        self._block = Signal(range(max(2, blocks)))
        self._asking = Signal()
        self._arrived, self._arrived_block = Signal(), Signal.like(self._block)
        self._loading = Signal()
        self._purpose = Signal(Purpose)
        # Polarity of the read in progress.
        self._negative = Signal()
        # Columns to RESET, and columns whose G+ (G-) has not reached its target.
        self._worn, self._above, self._below = masks("worn"), masks("above"), masks("below")
        self._resetting = Signal()
        self._remaining = Signal(blocks)
        self._word = Signal(lanes)

        m.submodules.targets = self._targets = Sram(width=8 * lanes, depth=max(2, blocks))
        self._lanes(m)
        self._scan(m)
        self._control(m)
        return m

    def _part(self, word: Value) -> Value:
        """Bytes of the arrived block in the word of ``post_lanes`` bytes that it came with."""
        width = 8 * len(self._word)
        parts = Array(word[low : low + width] for low in range(0, len(word), width))
        return parts[self._arrived_block % len(parts)]

    def _segment(self) -> Value:
        """Lanes of the arrived block that are columns of the segment."""
        lanes = len(self._word)
        log2 = lanes.bit_length() - 1
        ones = (1 << lanes) - 1
        start = self._command.col_start
        end = (start + self._command.col_count)[: self.config.col_bits + 1]

        def at_or_above(col: Value) -> Value:
            edge = (Value.cast(ones) << col[:log2])[:lanes]
            block = self._arrived_block
            return Mux(block == col[log2:], edge, Mux(block > col[log2:], ones, 0))

        return (at_or_above(start) & ~at_or_above(end))[:lanes]

    def _lanes(self, m: Module) -> None:
        """What is done with the bytes of a block when they arrive."""
        targets = self._targets
        lanes = len(self._word)
        codes, loaded = Signal(8 * lanes), Signal(8 * lanes)
        m.d.comb += [
            codes.eq(self._part(self.adc.codes)),
            loaded.eq(self._part(self.read.data)),
        ]
        found, done, below, nonzero, words = [], [], [], [], []
        for lane in range(lanes):
            code = codes.word_select(lane, 8).as_signed()
            stored = targets.r_data.word_select(lane, 8)
            value = Signal(range(-128, 129), name=f"value_{lane}")
            difference = Signal(range(-255, 256), name=f"difference_{lane}")
            m.d.comb += [
                # The current of G- is negative.
                value.eq(Mux(self._negative, -code, code)),
                difference.eq(
                    Mux(
                        self._loading,
                        loaded.word_select(lane, 8).as_signed(),
                        stored.as_signed() - value,
                    )
                ),
            ]
            magnitude = abs(difference)
            first = stored.as_signed()
            low, high = self.refresh_low, self.refresh_high
            found.append((first > low) & (value > low) & ((first > high) | (value > high)))
            done.append(value >= stored[:7])
            below.append(difference < 0)
            nonzero.append(difference != 0)
            words.append(Cat(Mux(magnitude > 127, 127, magnitude)[:7], difference < 0))

        worn = Signal(lanes)
        pending = Signal.like(worn)
        negative = Signal.like(worn)
        reached = Signal.like(worn)
        m.d.comb += [
            worn.eq(self._segment() & (Cat(found) | self._loading.replicate(len(worn)))),
            pending.eq(worn & Cat(nonzero)),
            negative.eq(Cat(below)),
            reached.eq(Cat(done)),
            targets.w_en.eq(self._arrived & (self._purpose != Purpose.VERIFY)),
            targets.w_mask.eq(1),
            targets.w_address.eq(self._arrived_block),
            targets.w_data.eq(Mux(self._purpose == Purpose.STORE, codes, Cat(words))),
        ]
        with m.If(self._arrived), m.Switch(self._purpose):
            with m.Case(Purpose.DETECT):
                m.d.sync += [
                    self._worn[self._arrived_block].eq(worn),
                    self._above[self._arrived_block].eq(pending & ~negative),
                    self._below[self._arrived_block].eq(pending & negative),
                ]
            with m.Case(Purpose.VERIFY):
                for mask, polarity in [(self._above, 0), (self._below, 1)]:
                    with m.If(self._negative == polarity):
                        word = mask[self._arrived_block]
                        m.d.sync += word.eq(word & ~reached)

    def _scan(self, m: Module) -> None:
        """Selects the columns of a mask in ascending order; ``_remaining`` starts it."""
        config = self.config
        lanes, devices = len(self._word), config.devices_per_polarity
        block = Signal.like(self._block)
        next_block = Signal.like(block)
        below = Signal(lanes)
        copy = Signal(range(2 * devices))
        lowest, rest = Signal(lanes), Signal(lanes)
        lane = [
            (lowest & sum(1 << i for i in range(lanes) if i >> bit & 1)).any()
            for bit in range(lanes.bit_length() - 1)
        ]
        for index in reversed(range(len(self._remaining))):
            with m.If(self._remaining[index]):
                m.d.comb += next_block.eq(index)
        last_copy = ~self._resetting | (copy == 2 * devices - 1)
        m.d.comb += [
            lowest.eq(self._word & -self._word),
            rest.eq(self._word & ~lowest),
            self.o.valid.eq(self._word != 0),
            self.o.p.row.eq(self.row),
            self.o.p.col.eq(Cat(lane, block)),
            self.o.p.negative.eq(Mux(self._resetting, copy[-1], (lowest & below).any())),
            self.o.p.device.eq(copy[:-1]),
            self.o.p.reset.eq(self._resetting),
            self.o.p.fire.eq(last_copy & (rest == 0) & (self._remaining == 0)),
        ]
        with m.If(self.o.valid & self.o.ready):
            with m.If(last_copy):
                m.d.sync += [self._word.eq(rest), copy.eq(0)]
            with m.Else():
                m.d.sync += copy.eq(copy + 1)
        with m.Elif(~self.o.valid & self._remaining.any()):
            pending = self._above[next_block] | self._below[next_block]
            m.d.sync += [
                self._word.eq(Mux(self._resetting, self._worn[next_block], pending)),
                below.eq(self._below[next_block]),
                block.eq(next_block),
                self._remaining.eq(self._remaining & (self._remaining - 1)),
            ]
        m.d.comb += self.refreshed.eq(
            self.o.valid & self.o.ready & self._resetting & last_copy & ~self._command.program
        )

    def _control(self, m: Module) -> None:
        """Order of reads, RESETs and SETs."""
        config = self.config
        last_block = len(self._remaining) - 1
        # Words of the converter and of the vector memory hold several blocks.
        word = self._block // (config.post_lanes // len(self._word))
        command = self._command
        left = Signal(config.row_bits + 1)
        iteration = Signal(range(config.verify_iterations + 1))
        expected = Signal(2)
        asked, asked_block = Signal(), Signal.like(self._block)
        worn_blocks = Cat(word.any() for word in self._worn)
        above_blocks = Cat(word.any() for word in self._above)
        below_blocks = Cat(word.any() for word in self._below)
        pending_blocks = above_blocks | below_blocks
        exhausted = iteration == config.verify_iterations
        arrived_last = self._arrived & (self._arrived_block == last_block)

        m.d.comb += [
            self.mvm.p.source.eq(MvmSource.ONE_HOT),
            self.mvm.p.count.eq(config.lines),
            self.mvm.p.line.eq(self.row),
            self.mvm.p.precision.eq(min(6, config.input_bits)),
            self.mvm.p.range.eq(config.read_range),
            self.mvm.p.input_signs.eq(0b11),
            self.mvm.p.polarities.eq(Mux(self._negative, 0b10, 0b01)),
            self.adc.block.eq(word),
            self.read.address.eq(command.slot * config.blocks + word),
            self._targets.r_en.eq(asked),
            self._targets.r_address.eq(asked_block),
            self.unverified.eq(self.o.valid & self.o.ready & ~self._resetting & exhausted),
        ]
        m.d.sync += [
            asked.eq(self.adc.en),
            asked_block.eq(self._block),
            self._arrived.eq(asked | (self.read.valid & self.read.ready)),
            self._arrived_block.eq(Mux(self._loading, self._block, asked_block)),
        ]

        def ask() -> list:
            return [self._block.eq(0), self._asking.eq(1)]

        def asked_one() -> list:
            return [self._block.eq(self._block + 1), self._asking.eq(self._block != last_block)]

        with m.FSM() as fsm:
            m.d.comb += [
                self.busy.eq(~fsm.ongoing("IDLE")),
                self._loading.eq(fsm.ongoing("LOAD")),
                self.reads.eq(fsm.ongoing("LOAD") << command.slot),
            ]
            with m.State("IDLE"):
                m.d.comb += self.rows.ready.eq(1)
                m.d.sync += [command.eq(self.rows.payload), left.eq(self.rows.p.row_count)]
                with m.If(self.rows.valid & self.rows.p.program):
                    m.d.sync += [
                        self.row.eq(self.rows.p.row), self._purpose.eq(Purpose.DETECT), *ask(),
                    ]  # fmt: skip
                    m.next = "LOAD"
                with m.Elif(self.rows.valid):
                    m.d.sync += self.row.eq(self.rows.p.row_start)
                    m.next = "ROW"
            with m.State("ROW"):
                m.d.sync += [self._purpose.eq(Purpose.STORE), self._negative.eq(0)]
                with m.If(left == 0):
                    m.next = "IDLE"
                with m.Elif(self.dirty | command.all_rows):
                    m.next = "READ"
                with m.Else():
                    m.d.sync += [self.row.eq(self.row + 1), left.eq(left - 1)]
            with m.State("LOAD"):
                m.d.comb += self.read.valid.eq(self._asking)
                with m.If(self.read.valid & self.read.ready):
                    m.d.sync += asked_one()
                with m.If(arrived_last):
                    m.next = "JUDGE"
            with m.State("READ"):
                m.d.comb += self.mvm.valid.eq(1)
                with m.If(self.mvm.ready):
                    m.d.sync += expected.eq(self.latched + 1)
                    m.next = "WAIT"
            with m.State("WAIT"), m.If(self.latched == expected):
                m.d.sync += ask()
                m.next = "COLLECT"
            with m.State("COLLECT"):
                m.d.comb += self.adc.en.eq(self._asking)
                with m.If(self._asking):
                    m.d.sync += asked_one()
                with m.If(arrived_last):
                    m.next = "JUDGE"
            with m.State("JUDGE"), m.Switch(self._purpose):
                with m.Case(Purpose.STORE):
                    m.d.sync += [self._purpose.eq(Purpose.DETECT), self._negative.eq(1)]
                    m.next = "READ"
                with m.Case(Purpose.DETECT):
                    m.d.sync += [
                        iteration.eq(0), self._resetting.eq(1), self._remaining.eq(worn_blocks),
                    ]  # fmt: skip
                    with m.If(worn_blocks.any()):
                        m.next = "SCAN"
                    with m.Else():
                        m.next = "DONE"
                with m.Case(Purpose.VERIFY):
                    with m.If(~self._negative & below_blocks.any()):
                        m.d.sync += self._negative.eq(1)
                        m.next = "READ"
                    with m.Elif(pending_blocks.any()):
                        m.d.sync += [
                            iteration.eq(iteration + 1), self._resetting.eq(0),
                            self._remaining.eq(pending_blocks),
                        ]  # fmt: skip
                        m.next = "SCAN"
                    with m.Else():
                        m.next = "DONE"
            with m.State("SCAN"), m.If(self.o.valid & self.o.ready & self.o.p.fire):
                m.next = "SETTLE"
            with m.State("SETTLE"), m.If(self.settled):
                m.d.sync += [
                    self._purpose.eq(Purpose.VERIFY),
                    self._negative.eq(~above_blocks.any()),
                ]
                with m.If(exhausted | ~pending_blocks.any()):
                    m.next = "DONE"
                with m.Else():
                    m.next = "READ"
            with m.State("DONE"):
                with m.If(command.program):
                    m.next = "IDLE"
                with m.Else():
                    m.d.comb += self.clean.eq(1)
                    m.d.sync += [self.row.eq(self.row + 1), left.eq(left - 1)]
                    m.next = "ROW"
