# SPDX-License-Identifier: Apache-2.0
"""Last stage of post-processing: sums become codes and go to the destination slot."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from phasecore.rtl.core.digital.activation import Activation
from phasecore.rtl.core.digital.post_control import SHIFT_MAX
from phasecore.rtl.core.digital.rotator import Rotator
from phasecore.rtl.core.interfaces import PostCommand, VectorWrite
from phasecore.rtl.lib.arithmetic import round_shift, saturate
from phasecore.rtl.lib.trees import OnesCounter
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import Function

__all__ = ["PostWriteBack"]


class PostWriteBack(wiring.Component):
    """Shifts sums right, applies the function, and writes the codes rotated.

    Members
    -------
    command : In(PostCommand)
    shift : In(5)
    begin : In(1)
        In cycles before the first block.
    take, sums, mask : In
        A block of sums and its lanes, taken in a cycle with ``move``.
    flush : In(1)
        No block follows.
    move : Out(1)
        Blocks can move on.
    valid : Out(1)
        A block taken has not been passed on to the rotator.
    idle : Out(1)
        Nothing else waits, and the last write is being taken.
    write : Out(VectorWrite)
    saturations : Out
        Lanes that saturated in this cycle.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        lanes = config.post_lanes
        super().__init__(
            {
                "command": In(PostCommand(config)),
                "shift": In(5),
                "begin": In(1),
                "take": In(1),
                "sums": In(signed(config.acc_bits)).array(lanes),
                "mask": In(lanes),
                "flush": In(1),
                "move": Out(1),
                "valid": Out(1),
                "idle": Out(1),
                "write": Out(VectorWrite(config)),
                "saturations": Out(range(lanes + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        command, lanes, bits = self.command, self.config.post_lanes, self.config.acc_bits
        m.submodules.activation = activation = Activation(lanes)
        m.submodules.rotator = rotator = Rotator(self.config)
        m.submodules.count = count = OnesCounter(lanes)
        connect(m, rotator.write, flipped(self.write))
        self._rotate(m, rotator)
        # Left by the rest and then right by a constant: one variable shift for exact rounding.
        left = Signal(range(SHIFT_MAX + 1))
        mask = Signal(lanes)
        load = Signal()
        m.d.comb += [
            left.eq(Mux(self.shift > SHIFT_MAX, 0, SHIFT_MAX - self.shift)),
            load.eq(self.move & self.take),
        ]
        with m.If(self.move):
            m.d.sync += self.valid.eq(self.take)
        with m.If(load):
            m.d.sync += mask.eq(self.mask)
        for lane, total in enumerate(self.sums):
            aligned = Signal(signed(bits + SHIFT_MAX), name=f"aligned_{lane}")
            rounded = Signal(signed(bits + 1), name=f"rounded_{lane}")
            value = Signal(signed(9), name=f"value_{lane}", reset_less=True)
            with m.If(load):
                m.d.comb += [
                    aligned.eq(total << left),
                    rounded.eq(round_shift(aligned, SHIFT_MAX)),
                ]
                m.d.sync += value.eq(saturate(rounded, 9, symmetric=True))
            m.d.comb += activation.values[lane].eq(value)
        m.d.comb += [
            activation.enable.eq(self.valid),
            activation.function.eq(Mux(command.delta, Function.IDENTITY, command.function)),
            rotator.valid.eq(self.valid),
            rotator.codes.eq(activation.codes),
            rotator.mask.eq(mask),
            count.bits.eq(Mux(self.valid & self.move, activation.saturated & mask, 0)),
            self.saturations.eq(count.count),
        ]
        return m

    def _rotate(self, m: Module, rotator: Rotator) -> None:
        """Where the rotator puts what line of the command."""
        command = self.command
        lane_bits = exact_log2(self.config.post_lanes)
        distance = (command.destination_line - command.first_line)[: self.config.line_bits]
        m.d.comb += [
            rotator.rotation.eq(distance[:lane_bits]),
            rotator.word.eq(
                command.first_line[lane_bits : self.config.line_bits] + distance[lane_bits:]
            ),
            rotator.slot.eq(command.destination),
            rotator.begin.eq(self.begin),
            rotator.flush.eq(self.flush),
            self.move.eq(rotator.move),
            self.idle.eq(rotator.idle),
        ]
