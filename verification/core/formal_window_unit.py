# SPDX-License-Identifier: Apache-2.0
"""What the window unit promises, as assertions over every command and every stall."""

from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.core.digital.window_assembler import WindowAssembler
from phasecore.rtl.core.digital.window_unit import WindowUnit
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["WindowLines", "WindowWords", "assume_sound"]


def assume_sound(m: Module, unit: WindowUnit) -> None:
    """A command has lines, all of its slot, and pixels with bytes.

    What is not assumed: that it fits its object or the ring.
    """
    command, config = unit.i.payload, unit.config
    m.d.comb += [
        Assume(command.count != 0),
        Assume(command.block * config.post_lanes + command.count <= config.lines),
        Assume(command.skip < command.segment),
        Assume(command.cols != 0),
        Assume(command.rows != 0),
        Assume(command.first_col < command.cols),
        Assume(~command.largest | (command.first_col == 0)),
        Assume(~command.largest | (command.skip + command.count <= command.segment)),
    ]


class WindowLines(wiring.Component):
    """Every line of a command is written once before the next is taken, and no other ever; of
    SCATTER none.

    Members
    -------
    unit : Out(signature of WindowUnit)
    line : In
        The byte of the memory that is watched: any, the same in all cycles.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "unit": Out(WindowUnit(config).signature),
                "line": In(exact_log2(config.memory_words * config.post_lanes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, line = self.config, self.line
        lane_bits = exact_log2(config.post_lanes)
        m.submodules.unit = unit = WindowUnit(config)
        wiring.connect(m, wiring.flipped(self.unit), unit)
        assume_sound(m, unit)
        offered, port = unit.i.payload, unit.write
        earlier = Signal.like(line, reset_less=True)
        began = Signal(reset_less=True)
        begin, end = Signal(range(2 * config.memory_words * config.post_lanes)), Signal.like(line)
        wanted, written, writes, in_work = Signal(), Signal(), Signal(), Signal()
        m.d.sync += [earlier.eq(line), began.eq(1)]
        with m.If(began):
            m.d.comb += Assume(line == earlier)
        m.d.comb += [
            begin.eq((offered.slot * config.blocks + offered.block) * config.post_lanes),
            end.eq(begin + offered.count - 1),
            writes.eq(
                port.valid & port.ready & (port.address == line[lane_bits:])
                & port.mask.bit_select(line[:lane_bits], 1)
            ),
            Assert(~writes | (wanted & ~written & in_work)),
            Assert(~unit.i.ready | ~in_work | (written == wanted)),
            Assert(unit.i.ready == ~unit.status.busy),
            Cover(writes & unit.write.mask.all() & (line == config.post_lanes)),
        ]  # fmt: skip
        with m.If(unit.i.valid & unit.i.ready):
            m.d.sync += [
                in_work.eq(1),
                written.eq(0),
                wanted.eq(~offered.scatter & (begin <= line) & (line <= end)),
            ]
        with m.Elif(writes):
            m.d.sync += written.eq(1)
        return m


class WindowWords(wiring.Component):
    """The assembler alone, with any chunks that a walk could offer and any stalls.

    A command gives as many words as its chunks fill, in order; all their lanes are written, of
    the last one those up to the last line.

    Members
    -------
    assembler : Out(signature of WindowAssembler)
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        signature = WindowAssembler(config).signature
        super().__init__({"assembler": Out(signature)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self.config.post_lanes
        m.submodules.assembler = unit = WindowAssembler(self.config)
        wiring.connect(m, wiring.flipped(self.assembler), unit)
        chunk, port = unit.chunk, unit.write
        running, largest, lane = Signal(), Signal(), Signal(range(lanes))
        block = Signal.like(unit.block)
        filled, done = (
            Signal(range(self.config.blocks + 1), name=name) for name in ("filled", "done")
        )
        ended, final = Signal(), Signal(range(lanes + 1))
        slot = Signal.like(unit.slot)
        self._walk(m, unit, running, largest, lane)
        m.d.comb += Assume(~unit.scatter & ~unit.keep)
        with m.If(unit.take):
            rest = chunk.crosses & chunk.last
            m.d.sync += [
                filled.eq(filled + chunk.full + rest),
                ended.eq(chunk.last),
                final.eq(Mux(chunk.crosses, chunk.end - lanes, chunk.end)),
            ]
            m.d.comb += Assume(block + filled + chunk.full + rest <= self.config.blocks)
        with m.If(unit.begin):
            m.d.sync += [
                block.eq(unit.block), slot.eq(unit.slot), filled.eq(0), done.eq(0), ended.eq(0),
            ]  # fmt: skip
        with m.Else():
            m.d.comb += Assume(~unit.busy | (unit.slot == slot))
        last = ended & (done + 1 == filled)
        written = Signal(lanes)
        m.d.comb += written.eq(Mux(last, (1 << final) - 1, (1 << lanes) - 1))
        with m.If(port.valid):
            m.d.comb += [
                Assert(done < filled),
                Assert(port.address == slot * self.config.blocks + block + done),
                Assert(port.mask == written),
            ]
            m.d.sync += done.eq(done + port.ready)
        m.d.comb += [
            Assert(unit.busy | (done == filled)),
            Cover(port.valid & last & (done == 1) & (final == 3)),
        ]
        return m

    def _walk(
        self, m: Module, unit: WindowAssembler, running: Signal, largest: Signal, lane: Signal
    ) -> None:
        """Assume of the chunks what WindowChunk says."""
        chunk, lanes = unit.chunk, self.config.post_lanes
        m.d.comb += [
            Assume(~unit.begin | ~(running | unit.busy)),
            Assume(~unit.take | (running & unit.ready)),
            Assume(unit.begin | (unit.largest == largest)),
            Assume((lane <= chunk.lane) & (largest | (lane == chunk.lane))),
            Assume((chunk.lane < chunk.end) & (chunk.end <= chunk.lane + lanes)),
            Assume(chunk.crosses == (chunk.end > lanes)),
            Assume(~largest | (chunk.end <= lanes)),
            Assume(~largest | ~chunk.full | chunk.last | (chunk.end == lanes)),
            Assume(largest | (chunk.full == (chunk.last | (chunk.end >= lanes)))),
            Assume(~chunk.last | chunk.full),
        ]
        with m.If(unit.take):
            m.d.sync += running.eq(~chunk.last)
            with m.If(~largest):
                m.d.sync += lane.eq(chunk.end)
        with m.If(unit.begin):
            m.d.sync += [running.eq(1), lane.eq(0), largest.eq(unit.largest)]
