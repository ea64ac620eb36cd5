# SPDX-License-Identifier: Apache-2.0
"""Register table: consistent, documented, and the same in the C header."""

import re
import shutil
import subprocess

import pytest

from phasecore.rtl.spec.core import DEFAULT, PRESETS, TINY, CoreConfig
from phasecore.rtl.spec.registers.core import (
    affine_address,
    c_header,
    events,
    markdown,
    offsets,
    registers,
    vector_address,
    windows,
)
from phasecore.rtl.spec.registers.table import (
    ADDRESS_BITS,
    FAULT_COUNTERS,
    Access,
    FaultCode,
    FaultCounter,
    fault_counter,
)

LARGEST = CoreConfig(
    rows=1024, cols=1024, segments=16, program_depth=1024, slots=32, affine_tables=8,
)  # fmt: skip
CONFIGS = [*PRESETS.values(), LARGEST]


@pytest.mark.parametrize("config", CONFIGS)
def test_addresses_are_aligned_unique_and_in_range(config):
    used = [register.offset for register in registers(config)]
    for window in windows(config).values():
        used += range(window.offset, window.end, 4)
        assert window.end <= 1 << ADDRESS_BITS
    assert len(set(used)) == len(used)
    assert all(address % 4 == 0 and address < 1 << ADDRESS_BITS for address in used)


@pytest.mark.parametrize("config", CONFIGS)
def test_fields_fit_and_do_not_overlap(config):
    for register in registers(config):
        taken = 0
        for field in register.fields:
            mask = ((1 << field.width) - 1) << field.low
            assert not taken & mask, register.name
            taken |= mask
        assert taken < 1 << 32
        assert register.reset & ~taken == 0, register.name


def test_names_are_unique_and_everything_has_a_text():
    names = [register.name for register in registers(DEFAULT)]
    assert len(set(names)) == len(names)
    assert all(register.doc for register in registers(DEFAULT))
    assert all(field.doc for register in registers(DEFAULT) for field in register.fields)


def test_host_software_relies_on_these_addresses():
    table = offsets(DEFAULT)
    fixed = {"ID": 0, "CONTROL": 8, "STATUS": 0xC, "START": 0x10, "FAULT_CODE": 0x30}
    assert {name: table[name] for name in fixed} == fixed
    assert windows(DEFAULT)["SEGMENT"].address(2, 3) == 0x22C
    assert windows(DEFAULT)["PROGRAM"].address(1) == 0x2008


def test_configuration_can_be_read_back():
    values = {register.name: register.reset for register in registers(TINY)}
    assert values["CONFIG_ROWS"] == 16
    assert values["CONFIG_POST_LANES"] == 8
    assert values["CONFIG_PROGRAM_DEPTH"] == 64


def test_every_error_has_a_counter():
    used = {fault_counter(code) for code in FaultCode if code is not FaultCode.NONE}
    assert used == set(FaultCounter) == set(FAULT_COUNTERS)
    assert fault_counter(FaultCode.LINE) is FaultCounter.SLOT_LINE
    assert fault_counter(FaultCode.FUNCTION) is FaultCounter.ILLEGAL
    assert fault_counter(FaultCode.REGISTER_LOCKED) is FaultCounter.LOCKED


def test_event_widths_hold_one_event_per_lane():
    widths = {event.name: event.width for event in events(DEFAULT)}
    assert widths["adc_clips"] == 7
    assert widths["chi_saturations"] == 8
    assert widths["cycles"] == 1


@pytest.mark.parametrize(
    ("index", "word"), [(-1, 0), (8, 0), (0, 4)], ids=["below", "above", "word"]
)
def test_window_refuses_what_is_outside(index, word):
    message = rf"^SEGMENT has entries 0\.\.7 of 4 words, not {index} word {word}$"
    with pytest.raises(ValueError, match=message):
        windows(DEFAULT)["SEGMENT"].address(index, word)


def test_addresses_in_memories():
    """Slots follow each other, and so do tables, with two bytes per line."""
    assert vector_address(TINY, 2, 4) == 36
    assert affine_address(TINY, 1, 2) == 0x8000_0024
    assert vector_address(TINY, 7, 12) + 4 == TINY.vector_bytes
    assert affine_address(TINY, 1, 14) + 4 == 0x8000_0000 + TINY.affine_bytes


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (lambda: vector_address(TINY, 8), r"^slot must be in 0\.\.7, not 8$"),
        (lambda: vector_address(TINY, 0, 16), r"^line must be in 0\.\.15, not 16$"),
        (lambda: affine_address(TINY, -1), r"^table must be in 0\.\.1, not -1$"),
    ],
    ids=["slot", "line", "table"],
)
def test_addresses_outside_of_memories_are_refused(address, message):
    with pytest.raises(ValueError, match=message):
        address()


def test_markdown_lists_everything():
    text = markdown(DEFAULT)
    for register in registers(DEFAULT):
        assert f"| 0x{register.offset:04x} | {register.name} | {register.access.value} |" in text
        if len(register.fields) > 1:
            assert f"## {register.name}" in text
    for code in FaultCode:
        assert f"| {int(code)} | {code.name} |" in text
    assert "| 0x2000..0x23ff | PROGRAM[128] | rw |" in text


def test_header_agrees_with_the_table():
    defines = dict(re.findall(r"#define (\w+) (\w+)", c_header(DEFAULT)))
    for register in registers(DEFAULT):
        assert int(defines[f"PHASECORE_{register.name}"], 16) == register.offset
    assert defines["PHASECORE_STATUS_FAULT_SHIFT"] == "2"
    assert defines["PHASECORE_STATUS_FAULT_MASK"] == "0x4u"
    assert defines["PHASECORE_FAULT_WATCHDOG"] == "48"


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
def test_header_compiles(tmp_path):
    (tmp_path / "phasecore.h").write_text(c_header(DEFAULT), encoding="utf-8")
    (tmp_path / "use.c").write_text(
        '#include "phasecore.h"\n'
        '_Static_assert(PHASECORE_SEGMENT(2, 3) == 0x22c, "segment");\n'
        '_Static_assert(PHASECORE_PROGRAM(1, 1) == 0x200c, "program");\n'
        "int main(void) { return PHASECORE_CONTROL_ABORT_MASK - 2u; }\n",
        encoding="utf-8",
    )
    command = ["gcc", "-std=c11", "-Wall", "-Werror", "-fsyntax-only", "use.c"]
    subprocess.run(command, cwd=tmp_path, check=True)


def test_only_strobes_and_settings_can_be_written():
    writable = {r.name for r in registers(DEFAULT) if r.access is not Access.READ_ONLY}
    assert writable == {
        "CONTROL", "START", "WATCHDOG", "REFRESH_HIGH", "REFRESH_LOW", "CALIBRATION_LINE",
        "DRIFT_BASELINE", "TIME_S", "MEMORY_ADDRESS", "MEMORY_DATA",
    }  # fmt: skip
