# SPDX-License-Identifier: Apache-2.0
"""READ unit."""

import pytest
from amaranth.hdl import Assert, Assume, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped

from phasecore.rtl.core.control.read_unit import ReadUnit
from phasecore.rtl.spec.core import SMALL, TINY
from phasecore.verification.support.formal import prove
from phasecore.verification.support.formal_streams import StreamContract

ONE_BLOCK = TINY.replace(post_lanes=16)
NARROW = TINY.replace(rows=8, cols=8, slots=4)


class AxisContract(wiring.Component):
    """ReadUnit whose beats must not change or go away while they wait."""

    def __init__(self):
        self._component = ReadUnit(NARROW)
        super().__init__(self._component.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.component = component = self._component
        connect(m, flipped(self), component)
        axis = component.axis
        waits, beat = Signal(), Signal(64 + 8 + 1)
        now = [axis.tdata, axis.tkeep, axis.tlast]
        m.d.sync += waits.eq(axis.tvalid & ~axis.tready)
        for position, value in ((0, now[0]), (64, now[1]), (72, now[2])):
            m.d.sync += beat[position : position + len(value)].eq(value)
            with m.If(waits):
                m.d.comb += Assert(beat[position : position + len(value)] == value)
        with m.If(waits):
            m.d.comb += Assert(axis.tvalid)
        with m.If(component.i.valid):
            m.d.comb += Assume(component.i.payload.length != 0)
        return m


@pytest.mark.parametrize("config", [TINY, SMALL, ONE_BLOCK], ids=["tiny", "small", "one-block"])
def test_read_unit(simulate, config):
    simulate(ReadUnit(config), config, bench="phasecore.verification.core.tb_read_unit")


def test_beats_are_held(tmp_path):
    prove(AxisContract(), name="read_unit", tmp_path=tmp_path, depth=12)


def test_reads_are_held(tmp_path):
    dut = StreamContract(ReadUnit(NARROW), requests=("read",))
    prove(dut, name="read_unit", tmp_path=tmp_path, depth=12)
