# SPDX-License-Identifier: Apache-2.0
"""Registers of a chip: the table, its documents, and the hub that decodes it."""

import re
import shutil
import subprocess

import pytest

from phasecore.rtl.chip.register_hub import RegisterHub
from phasecore.rtl.spec.chip import CHIPS, ChipConfig
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.registers.chip import (
    ADDRESS_BITS,
    PAGE_BITS,
    c_header,
    markdown,
    masks,
    offsets,
    registers,
    windows,
)
from phasecore.rtl.spec.registers.table import Access

TINY, DEFAULT = CHIPS["tiny"], CHIPS["default"]
LARGEST = TINY.replace(noc=NocConfig(width=8, height=8), host=40, host_routes=3, host_objects=16)
CONFIGS = [*CHIPS.values(), LARGEST]


@pytest.mark.parametrize("chip", [TINY, LARGEST], ids=["tiny", "8 x 8"])
def test_register_hub(simulate, chip: ChipConfig):
    simulate(
        RegisterHub(chip), chip.core, bench="phasecore.verification.chip.tb_register_hub",
        env={"PHASECORE_CHIP": chip.to_json()},
    )  # fmt: skip


@pytest.mark.parametrize("chip", CONFIGS)
def test_addresses_are_aligned_unique_and_in_the_page(chip: ChipConfig):
    used = [register.offset for register in registers(chip)]
    for window in windows(chip).values():
        used += range(window.offset, window.end, 4)
    assert len(set(used)) == len(used)
    assert all(address % 4 == 0 and address < 1 << PAGE_BITS for address in used)
    assert chip.noc.nodes << PAGE_BITS <= 1 << ADDRESS_BITS


def test_fields_fit_and_everything_has_a_text():
    for register in registers(LARGEST):
        assert register.doc
        assert all(field.doc for field in register.fields)
        assert register.width <= 32, register.name
        assert register.reset >> register.width == 0, register.name


def test_masks_of_many_nodes_are_two_registers():
    assert masks("START", TINY) == ("START",)
    assert masks("START", LARGEST) == ("START", "START_HIGH")
    assert set(masks("FAULT", LARGEST)) < set(offsets(LARGEST))


def test_host_software_relies_on_these_addresses():
    table = offsets(DEFAULT)
    fixed = {"ID": 0, "CONTROL": 8, "START": 0x10, "RUNNING": 0x18, "HALTED": 0x20, "FAULT": 0x28}
    assert {name: table[name] for name in fixed} == fixed
    assert windows(DEFAULT)["OBJECT"].address(2) == 0x408
    assert windows(DEFAULT)["ROUTE"].address(1) == 0x808
    assert table["FAULTS_ROUTER_5"] == 0x914


def test_configuration_can_be_read_back():
    values = {register.name: register.reset for register in registers(LARGEST)}
    assert values["CONFIG_WIDTH"] == values["CONFIG_HEIGHT"] == 8
    assert (values["CONFIG_HOST"], values["CONFIG_HOST_ROUTES"]) == (40, 3)


def test_markdown_lists_everything():
    text = markdown(DEFAULT)
    for register in registers(DEFAULT):
        assert f"| 0x{register.offset:04x} | {register.name} | {register.access.value} |" in text
    assert "| 0x0800..0x087f | ROUTE[16] | rw |" in text
    assert "## OBJECT entry" in text


def test_header_agrees_with_the_table():
    defines = dict(re.findall(r"#define (\w+) (\w+)", c_header(DEFAULT)))
    for register in registers(DEFAULT):
        assert int(defines[f"PHASECORE_CHIP_{register.name}"], 16) == register.offset


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
def test_header_compiles(tmp_path):
    (tmp_path / "phasecore_chip.h").write_text(c_header(DEFAULT), encoding="utf-8")
    (tmp_path / "use.c").write_text(
        '#include "phasecore_chip.h"\n'
        '_Static_assert(PHASECORE_CHIP_ROUTE(1, 1) == 0x80c, "route");\n'
        '_Static_assert(PHASECORE_CHIP_PAGE(3) == 0xc000, "page");\n'
        "int main(void) { return PHASECORE_CHIP_ID; }\n",
        encoding="utf-8",
    )
    command = ["gcc", "-std=c11", "-Wall", "-Werror", "-fsyntax-only", "use.c"]
    subprocess.run(command, cwd=tmp_path, check=True)


def test_only_commands_can_be_written():
    writable = {r.name for r in registers(LARGEST) if r.access is not Access.READ_ONLY}
    assert writable == {"CONTROL", "START", "START_HIGH"}
