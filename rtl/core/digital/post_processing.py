# SPDX-License-Identifier: Apache-2.0
"""Post-processing: affine, accumulate, activate, and error vectors with a shared exponent."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.core.digital.post_control import PostControl
from phasecore.rtl.core.digital.post_issue import PostIssue
from phasecore.rtl.core.digital.post_lanes import PostAccumulators, PostProducts
from phasecore.rtl.core.digital.post_write_back import PostWriteBack
from phasecore.rtl.core.interfaces import (
    AccumulatorPort,
    AdcRead,
    AffineWrite,
    Exponents,
    ExponentWrite,
    PostCommand,
    ScatterChunk,
    UnitStatus,
    VectorRead,
    VectorWrite,
)
from phasecore.rtl.spec.core import EXPONENT_BITS, CoreConfig

__all__ = ["PostProcessing"]


class PostProcessing(wiring.Component):
    """Processes the codes of a window, or vectors, into activations or errors.

    Commands run one at a time. A command makes one pass over its blocks into the accumulators,
    one block per cycle, and where everything has been read or the shared exponent is known a second
    pass from the accumulators to the destination. ACTIVATE of converter codes writes in its
    first pass; when the vector memory holds that up, the rest is written in a second one, so
    that the converter need not wait.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    i : In(stream of PostCommand)
    adc : Out(AdcRead)
    latched : In(2)
        Windows latched by the ADC interface, modulo 4.
    window_exponent : In(signed(8))
        Exponent of the held window.
    read, write : Out(VectorRead), Out(VectorWrite)
    exponent_write : Out(ExponentWrite)
        In the cycle in which a command with a destination ends.
    affine_write : In(AffineWrite)
    exponents : In(Exponents)
    accumulators, scatter : In(AccumulatorPort), In(stream of ScatterChunk)
        For the network interface and the window unit, with ``config.objects``.
    status : Out(UnitStatus)
        Reads and writes the slots of the command up to its end.
    waiting : Out(1)
        Nothing but the end of a window can change a register.
    accumulator_saturations, code_saturations : Out
        Lanes that saturated in this cycle.
    """

    i: stream.Interface

    def __init__(self, config: CoreConfig):
        self.config = config
        shared = {
            "accumulators": In(AccumulatorPort(config)),
            "scatter": In(stream.Signature(ScatterChunk(config))),
        }
        super().__init__(
            {
                **(shared if config.objects else {}),
                "i": In(stream.Signature(PostCommand(config))),
                "adc": Out(AdcRead(config)),
                "latched": In(2),
                "window_exponent": In(signed(EXPONENT_BITS)),
                "exponents": In(Exponents(config)),
                "read": Out(VectorRead(config)),
                "write": Out(VectorWrite(config)),
                "exponent_write": Out(ExponentWrite(config)),
                "affine_write": In(AffineWrite(config)),
                "status": Out(UnitStatus(config)),
                "waiting": Out(1),
                "accumulator_saturations": Out(range(config.post_lanes + 1)),
                "code_saturations": Out(range(config.post_lanes + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.control = control = PostControl(config)
        m.submodules.issue = issue = PostIssue(config)
        m.submodules.products = products = PostProducts(config)
        m.submodules.sums = sums = PostAccumulators(config)
        m.submodules.write_back = write_back = PostWriteBack(config)
        command = control.command
        last = Signal(config.sum_bits)
        m.d.comb += last.eq(command.first_line + command.count - 1)
        connect(m, flipped(self.i), control.i)
        connect(m, control.status, flipped(self.status))
        connect(m, control.exponent_write, flipped(self.exponent_write))
        connect(m, issue.read, flipped(self.read))
        connect(m, issue.adc, flipped(self.adc))
        connect(m, flipped(self.affine_write), products.affine_write)
        connect(m, write_back.write, flipped(self.write))
        if config.objects:
            connect(m, flipped(self.accumulators), sums.accumulators)
            self._scatter(m, control, products, sums)
        for part in (issue, products, sums, write_back):
            m.d.comb += part.command.eq(command)
        m.d.comb += [
            issue.last.eq(last),
            issue.latched.eq(self.latched),
            issue.window_exponent.eq(self.window_exponent),
            issue.slot_exponent.eq(self.exponents[command.slot]),
            self.waiting.eq(issue.waiting),
            products.word.eq(self.read.data),
            products.codes.eq(self.adc.codes),
            sums.last.eq(last),
            [into.eq(out) for into, out in zip(sums.products, products.products, strict=True)],
            [into.eq(out) for into, out in zip(write_back.sums, sums.sums, strict=True)],
            self.accumulator_saturations.eq(sums.saturations),
            self.code_saturations.eq(write_back.saturations),
        ]
        self._advance(m, control, issue, products, sums, write_back)
        return m

    def _scatter(
        self, m: Module, control: PostControl, products: PostProducts, sums: PostAccumulators
    ) -> None:
        """A chunk of SCATTER is multiplied, added and kept."""
        m.d.comb += [
            control.scatter.eq(self.scatter.valid),
            self.scatter.ready.eq(control.scattering),
            products.scattering.eq(control.scattering),
            products.chunk.eq(self.scatter.payload),
            sums.scattering.eq(control.scattering),
            sums.scattered.eq(control.scattered),
            sums.chunk.eq(self.scatter.payload),
        ]

    def _advance(
        self, m: Module, control: PostControl, issue: PostIssue, products: PostProducts,
        sums: PostAccumulators, write_back: PostWriteBack,
    ) -> None:  # fmt: skip
        """Blocks move from stage to stage."""
        flowing = issue.asked | issue.codes_valid | sums.product_valid | sums.sum_valid
        m.d.comb += [
            issue.begin.eq(control.begin),
            issue.first_block.eq(control.first_block),
            issue.accumulating.eq(control.accumulating),
            issue.recalling.eq(control.recalling),
            issue.move.eq(write_back.move),
            products.fetch.eq(issue.fetch),
            products.fetch_block.eq(issue.fetch_block),
            products.output_valid.eq(issue.output_valid),
            products.codes_valid.eq(issue.codes_valid),
            products.clear.eq(control.clear),
            sums.begin.eq(control.accepted),
            sums.idle.eq(control.i.ready & ~control.scattering),
            sums.accumulating.eq(control.accumulating),
            sums.measuring.eq(control.measuring),
            sums.erasing.eq(control.erasing),
            sums.advance.eq(
                control.accumulating | control.scattering | control.scattered | write_back.move
            ),
            sums.codes_valid.eq(issue.codes_valid),
            sums.codes_block.eq(issue.codes_block),
            sums.recall.eq(issue.recall),
            sums.block.eq(issue.block),
            write_back.shift.eq(control.shift),
            write_back.begin.eq((control.accumulating & ~issue.started) | control.measuring),
            write_back.take.eq(control.take),
            write_back.mask.eq(sums.mask),
            write_back.flush.eq(control.flush),
            control.asking.eq(issue.asking),
            control.flowing.eq(flowing),
            control.exponent.eq(issue.exponent),
            control.sum_valid.eq(sums.sum_valid),
            control.sum_block.eq(sums.sum_block),
            control.peak.eq(sums.peak),
            control.move.eq(write_back.move),
            control.pending.eq(write_back.valid),
            control.idle.eq(write_back.idle),
        ]
