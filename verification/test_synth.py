# SPDX-License-Identifier: Apache-2.0
"""Area estimate: counts of a design small enough to count by hand, sums, and unknown blocks."""

import re

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.sram import Sram
from scripts.synth import Area, blocks, estimate, table


class Gate(wiring.Component):
    """One NAND gate and one flip-flop without reset or enable."""

    a: In(1)
    b: In(1)
    o: Out(1)

    def elaborate(self, platform):
        m = Module()
        state = Signal(reset_less=True)
        m.d.sync += state.eq(~(self.a & self.b))
        m.d.comb += self.o.eq(state)
        return m


class Top(wiring.Component):
    """Two equal gates and a memory of 16 x 8 bits, joined by one inverter."""

    a: In(1)
    o: Out(8)

    def elaborate(self, platform):
        m = Module()
        m.submodules.first = first = Gate()
        m.submodules.second = second = Gate()
        m.submodules.ram = ram = Sram(width=8, depth=16)
        m.d.comb += [
            first.a.eq(self.a), first.b.eq(second.o), second.a.eq(~self.a), second.b.eq(first.o),
            ram.r_en.eq(first.o), ram.r_address.eq(second.o), self.o.eq(ram.r_data),
        ]  # fmt: skip
        return m


@pytest.fixture(scope="module")
def text() -> str:
    return rtlil.convert(Top(), name="top", emit_src=False)


def test_counts(text: str) -> None:
    areas = estimate(text, top="top")
    assert list(areas) == ["first", "ram", "second", "(glue)", "core"]
    gate = areas["first"]
    assert (gate.cells, gate.flip_flops, gate.sram_bits) == (2, 1, 0)
    # A two-input NAND is 4 transistors, Yosys counts 16 for a flip-flop.
    assert (gate.transistors, gate.nand2) == (20, 5)
    assert areas["second"] == gate
    assert areas["ram"] == Area(cells=0, flip_flops=0, transistors=0, sram_bits=128)
    assert areas["(glue)"] == Area(cells=1, flip_flops=0, transistors=2, sram_bits=0)
    assert areas["core"] == Area(cells=5, flip_flops=2, transistors=42, sram_bits=128)


def test_one_block_only(text: str) -> None:
    assert list(estimate(text, top="top", names=["second"])) == ["second"]


def test_unknown_block(text: str) -> None:
    message = "unknown block 'third'; known: first, ram, second"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        estimate(text, top="top", names=["third"])


def test_hierarchy(text: str) -> None:
    modules = blocks(text)
    assert modules["\\top"].children == {
        "first": "\\top.first", "second": "\\top.second", "ram": "\\top.ram",
    }  # fmt: skip
    assert modules["\\top.ram"].sram_bits == 128


def test_table() -> None:
    rows = table({"x": Area(cells=1200, flip_flops=3, transistors=4802, sram_bits=5)}).splitlines()
    assert rows[2] == "| x | 1,200 | 1,200 | 3 | 5 |"
