# SPDX-License-Identifier: Apache-2.0
"""Update unit: chi memory, outer product and threshold transfer."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.core.digital.chi_pipeline import ChiPipeline
from phasecore.rtl.core.digital.pulse_emitter import PulseEmitter
from phasecore.rtl.core.digital.row_visitor import RowVisitor
from phasecore.rtl.core.digital.update_loader import UpdateLoader
from phasecore.rtl.core.interfaces import (
    Exponents,
    Pulse,
    UnitStatus,
    UpdateCommand,
    VectorRead,
)
from phasecore.rtl.lib.sram import Sram
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["UpdateUnit"]


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
        m.submodules.loader = loader = UpdateLoader(config)
        m.submodules.visitor = visitor = RowVisitor(config)
        m.submodules.pipeline = pipeline = ChiPipeline(config)
        m.submodules.emitter = emitter = PulseEmitter(config)
        m.submodules.chi = chi = Sram(
            width=config.update_lanes * config.chi_bits, depth=max(2, config.chi_depth)
        )
        connect(m, flipped(self.i), loader.i)
        connect(m, loader.read, flipped(self.read))
        connect(m, emitter.pulses, flipped(self.pulses))
        for into, words in (
            (visitor.x, loader.x), (pipeline.d, loader.d), (pipeline.cols, loader.cols)
        ):  # fmt: skip
            m.d.comb += [port.eq(word) for port, word in zip(into, words, strict=True)]
        m.d.comb += [
            self.status.busy.eq(loader.loading | visitor.busy | pipeline.busy | self.pulses.valid),
            self.status.reads.eq(loader.reads),
            self.products.eq(pipeline.write & loader.command.outer),
            self.chi_saturations.eq(emitter.chi_saturations),
            self.transfer_saturations.eq(emitter.transfer_saturations),
            self.stalled.eq(self.pulses.valid & ~self.pulses.ready),
            loader.idle.eq(~self.status.busy),
            loader.exponents.eq(self.exponents),
            visitor.command.eq(loader.command),
            visitor.rows.eq(loader.rows),
            visitor.advance.eq(emitter.advance),
            pipeline.command.eq(loader.command),
            pipeline.shift.eq(loader.shift),
            pipeline.valid.eq(visitor.valid),
            pipeline.row.eq(visitor.row),
            pipeline.block.eq(visitor.block),
            pipeline.element.eq(visitor.element),
            pipeline.advance.eq(emitter.advance),
            pipeline.word.eq(chi.r_data),
            chi.r_en.eq(pipeline.read),
            chi.r_address.eq(pipeline.address),
            chi.w_en.eq(pipeline.write),
            chi.w_mask.eq(1),
            chi.w_address.eq(pipeline.write_address),
            chi.w_data.eq(pipeline.write_word),
            emitter.stored.eq(pipeline.write),
            emitter.row.eq(pipeline.stored_row),
            emitter.block.eq(pipeline.stored_block),
            emitter.codes.eq(pipeline.codes),
            emitter.chi_saturated.eq(pipeline.chi_saturated),
            emitter.transfer_saturated.eq(pipeline.transfer_saturated),
        ]
        return m
