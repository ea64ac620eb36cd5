# SPDX-License-Identifier: Apache-2.0
"""Synchronous SRAM: behavioural in ``macro/sram.sv`` for simulators, a black box for synthesis."""

from amaranth.hdl import ClockSignal, Instance, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Sram"]


class Sram(wiring.Component):
    """One write and one read port on one clock.

    A read returns the word one cycle after ``r_en`` and holds it until the next read; a read of
    the word that is written in the same cycle returns the old one. Contents start at zero.

    Parameters
    ----------
    width : bits of a word
    depth : words, at least 2
    granularity : bits per write-mask bit; divides ``width``

    Members
    -------
    w_en, w_address, w_mask, w_data : write port; bit i of ``w_mask`` writes slice i
    r_en, r_address, r_data : read port
    """

    def __init__(self, *, width: int, depth: int, granularity: int | None = None):
        self.width, self.depth = width, depth
        self.granularity = granularity or width
        if depth < 2 or width % self.granularity:
            raise ValueError(
                f"no SRAM of {depth} x {width} bits with a mask per {self.granularity}"
            )
        address = (depth - 1).bit_length()
        super().__init__(
            {
                "w_en": In(1),
                "w_address": In(address),
                "w_mask": In(width // self.granularity),
                "w_data": In(width),
                "r_en": In(1),
                "r_address": In(address),
                "r_data": Out(width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.macro = Instance(
            "phasecore_sram",
            p_WIDTH=self.width, p_DEPTH=self.depth, p_GRANULARITY=self.granularity,
            p_ADDRESS=(self.depth - 1).bit_length(),
            i_clk=ClockSignal(),
            i_w_en=self.w_en, i_w_address=self.w_address, i_w_mask=self.w_mask,
            i_w_data=self.w_data, i_r_en=self.r_en, i_r_address=self.r_address,
            o_r_data=self.r_data,
        )  # fmt: skip
        return m
