# SPDX-License-Identifier: Apache-2.0
"""Area estimate: counts of a design small enough to count by hand, sums, and unknown blocks."""

import re

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.lib.sram import Sram
from phasecore.scripts.commands.synth import Area, blocks, comparison, estimate, merge_equal, table


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


def rtlil_module(name: str, children: dict[str, str]) -> str:
    cells = "".join(
        f"  cell \\{module} \\{instance}\n    connect \\a \\a\n  end\n\n"
        for instance, module in children.items()
    )
    ports = "  wire width 1 input 0  \\a\n\n  wire width 1 output 1  \\o\n\n"
    return f"attribute \\generator 1\nmodule \\{name}\n{ports}{cells}connect \\o \\a\nend\n\n"


def test_equal_modules_are_one() -> None:
    text = (
        rtlil_module("top", {"x": "top.x", "y": "top.y", "z": "top.z"})
        + rtlil_module("top.x", {"u": "top.x.u"}) + rtlil_module("top.x.u", {})
        + rtlil_module("top.y", {"u": "top.y.u"}) + rtlil_module("top.y.u", {})
        + rtlil_module("top.z", {"v": "top.x.u"})
    )  # fmt: skip
    merged = merge_equal(text)
    modules = blocks(merged)
    assert {name: block.children for name, block in modules.items()} == {
        "\\top": {"x": "\\top.x", "y": "\\top.x", "z": "\\top.z"},
        "\\top.x": {"u": "\\top.x.u"},
        "\\top.x.u": {},
        "\\top.z": {"v": "\\top.x.u"},
    }
    kept = re.findall(r"keep_hierarchy 1\nmodule (\S+)", merged)
    assert kept == ["\\top.x", "\\top.x.u"]


class Lane(wiring.Component):
    """A gate and a flip-flop; every port is used inside, so that all lanes are the same text."""

    a: In(1)
    o: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(~self.a)
        return m


class Lanes(wiring.Component):
    a: In(5)
    o: Out(5)

    def elaborate(self, platform):
        m = Module()
        for index in range(5):
            m.submodules[f"lane_{index}"] = lane = Lane()
            m.d.comb += [lane.a.eq(self.a[index]), self.o[index].eq(lane.o)]
        return m


class Core(wiring.Component):
    a: In(5)
    o: Out(5)

    def elaborate(self, platform):
        m = Module()
        m.submodules.lanes = lanes = Lanes()
        m.d.comb += [lanes.a.eq(self.a), self.o.eq(lanes.o)]
        return m


def test_equal_modules_are_multiplied() -> None:
    text = rtlil.convert(Core(), name="core", emit_src=False)
    assert set(blocks(merge_equal(text))) == {"\\core", "\\core.lanes", "\\core.lanes.lane_0"}
    area = estimate(text, top="core")["lanes"]
    # ~(a | reset): 4 transistors, and 16.
    assert area == Area(cells=10, flip_flops=5, transistors=100, sram_bits=0)
    assert area.cpu_seconds > 0
    assert area.peak_mb > 10


def test_hierarchy(text: str) -> None:
    modules = blocks(text)
    assert modules["\\top"].children == {
        "first": "\\top.first", "second": "\\top.second", "ram": "\\top.ram",
    }  # fmt: skip
    assert modules["\\top.ram"].sram_bits == 128


def test_comparison() -> None:
    def result(preset: str, nand2: int) -> dict:
        values = {"cells": 1, "flip_flops": 2, "sram_bits": 3, "cpu_seconds": 1.6, "peak_mb": 5}
        return {
            "preset": preset, "yosys": "0.70", "crossbar_devices": 512,
            "config": {"rows": 16, "cols": 8, "post_lanes": 8, "update_lanes": 4},
            "blocks": {
                "adc": {**values, "nand2": nand2},
                "crossbar": {**dict.fromkeys(values, 0), "nand2": 0},
                "core": {**values, "nand2": nand2},
            },
        }  # fmt: skip

    lines = comparison([result("tiny", 1000), result("small", 2000)]).splitlines()
    assert "| block | tiny, 16 x 8 | small, 16 x 8 |" in lines
    assert "| adc | 1,000 | 2,000 |" in lines
    assert "| **all blocks** | 1,000 | 2,000 |" in lines
    assert "| Yosys, CPU seconds | 2 | 2 |" in lines
    assert not any("| crossbar |" in line for line in lines)


def test_table() -> None:
    rows = table({"x": Area(cells=1200, flip_flops=3, transistors=4802, sram_bits=5)}).splitlines()
    assert rows[2] == "| x | 1,200 | 1,200 | 3 | 5 |"
