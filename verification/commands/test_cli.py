# SPDX-License-Identifier: Apache-2.0
"""The phasecore command as a user sees it: exit status, standard output, one-line errors, files."""

import argparse
import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from phasecore import files
from phasecore.paths import IMPORT_PATH
from phasecore.scripts import interrupts
from phasecore.scripts.cli import main
from phasecore.scripts.commands import COMMANDS, device_curves
from phasecore.scripts.flow.design import ChipDesign
from phasecore.scripts.report import results

ROOT = Path(__file__).resolve().parents[2]


def phasecore(
    *arguments: str | Path, cwd: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder that is not the checkout."""
    return subprocess.run(
        [sys.executable, "-m", "phasecore.scripts.cli", *map(str, arguments)],
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(IMPORT_PATH), **environment},
        capture_output=True, encoding="utf-8", timeout=300, check=False,
    )  # fmt: skip


def test_help_lists_all_commands(tmp_path: Path) -> None:
    result = phasecore("--help", cwd=tmp_path)
    assert result.returncode == 0
    text = " ".join(result.stdout.split())
    for name, summary in COMMANDS.items():
        assert f" {name} {summary}" in text


@pytest.mark.parametrize("name", ["generate", "synth", "faults"])
def test_help_of_a_command_shows_the_common_options(tmp_path: Path, name: str) -> None:
    result = phasecore(name, "--help", cwd=tmp_path)
    assert result.returncode == 0
    assert result.stdout.startswith(f"usage: phasecore {name} ")
    assert "--json" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message", "status"),
    [
        (["--debug"], r"a command is needed: generate, .*", 2),
        (["frobnicate"], r"argument COMMAND: invalid choice: 'frobnicate' .*", 2),
        (["generate", "--frobnicate"], r"unrecognized arguments: --frobnicate", 2),
        (
            ["generate", "--config", "huge"],
            r"configuration 'huge' is neither one of tiny, small, default nor a JSON file",
            1,
        ),
        (
            ["generate", "--config", "missing.json"],
            r"configuration 'missing.json' is neither one of tiny, small, default nor a JSON file",
            1,
        ),
        (
            ["synth", "--jobs", "0"],
            r"argument --jobs: must be a positive integer, not '0'",
            2,
        ),
        (["noc", "--flits", "-5"], r"argument --flits: must be a positive integer, not '-5'", 2),
        (["fetch", "mnist", "--out", "/dev/null/x"], r"/dev/null/x: Not a directory", 1),
        (["faults", "--name", "no-such-fault"], r"no fault of name 'no-such-fault'; known: .*", 1),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path, arguments: list[str], message: str, status: int
) -> None:
    result = phasecore(*arguments, cwd=tmp_path)
    assert result.returncode == status
    assert result.stdout == ""
    assert re.fullmatch(rf"phasecore: error: {message}\n", result.stderr)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"rows": 16, "colums": 16}', r"unknown configuration key 'colums'; known: .*"),
        ('{"rows": 17}', r"rows must be a power of two, not 17"),
        ('{"rows": "16"}', r"rows must be an integer, not '16'"),
        ("[]", r"configuration core.json must be a JSON object, not list"),
        ("rows = 16", r"configuration core.json is not JSON: .*"),
    ],
)
def test_wrong_configurations_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "core.json").write_text(text, encoding="utf-8")
    result = phasecore("generate", "--config", "core.json", "--json", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stdout == ""
    assert re.fullmatch(rf"phasecore: error: {message}\n", result.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["core.json"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("eta"), "unexpected KeyError: 'eta' (--debug shows where)"),
        (AssertionError(), "unexpected AssertionError: (--debug shows where)"),
        (EOFError("cut\nshort"), "unexpected EOFError: cut short (--debug shows where)"),
        (
            ModuleNotFoundError("No module named 'matplotlib'"),
            "No module named 'matplotlib': scripts/setup, or pip install -e ., installs it",
        ),
    ],
)
def test_no_error_is_a_traceback_but_with_debug(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fail(_: argparse.Namespace) -> None:
        raise error

    monkeypatch.setattr(device_curves, "run", fail)
    assert main(["device-curves"]) == 1
    assert capsys.readouterr().err == f"phasecore: error: {message}\n"
    for arguments in (["--debug", "device-curves"], ["device-curves", "--debug"]):
        assert main(arguments) == 1
        text = capsys.readouterr().err
        assert text.startswith("Traceback")
        assert text.endswith(f"\nphasecore: error: {message}\n")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"phasecore \S+, commit \S+\n", capsys.readouterr().out)


def test_a_terminal_without_a_sign_still_shows_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(device_curves, "run", lambda _: {"target": "≥ 100"})
    monkeypatch.delattr(device_curves, "report")
    assert main(["device-curves"]) == 0
    assert terminal.buffer.getvalue() == b"target: ? 100\n"


def test_generate_is_deterministic_and_free_of_paths(tmp_path: Path) -> None:
    """By its name, and again from the configuration that was left beside it."""
    outputs, config = [], "tiny"
    for hash_seed in ("1", "2"):
        out = tmp_path / f"out{hash_seed}"
        result = phasecore(
            "generate", "--config", config, "--out", out, "--json", cwd=tmp_path,
            PYTHONHASHSEED=hash_seed, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        answer = json.loads(result.stdout)
        assert answer["out"] == str(out)
        assert sorted(answer["files"]) == sorted(path.name for path in out.iterdir())
        outputs.append({path.name: path.read_text(encoding="utf-8") for path in out.iterdir()})
        config = str(out / "config.json")
    assert outputs[0] == outputs[1]
    for name, text in outputs[0].items():
        assert str(ROOT) not in text, name
        assert str(tmp_path) not in text, name
        assert "attribute" not in text.partition("module")[0]
    assert re.search(r"^module phasecore_core\(", outputs[0]["phasecore_core.v"], re.MULTILINE)


def test_a_chip_is_generated(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(ChipDesign, "verilog", lambda _: "module phasecore_chip; endmodule\n")
    assert main(["generate", "--chip", "tiny", "--out", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["top"] == "phasecore_chip"
    registers = (tmp_path / "phasecore_chip_registers.md").read_text(encoding="utf-8")
    assert "COUNT_FLITS_SENT" in registers


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--chip", "none"],
            "chip configuration 'none' is neither one of tiny, small, default nor a JSON file",
        ),
        (["--chip", "tiny", "--config", "tiny"], "--config does not go with it"),
    ],
)
def test_chips_that_cannot_be_generated(tmp_path: Path, options: list[str], message: str) -> None:
    result = phasecore("generate", *options, cwd=tmp_path)
    assert result.returncode == 1
    assert message in result.stderr


NO_WORK = {
    "ablate": [], "bench chip": [], "bench core": ["--cycles-only"], "bench model": [],
    "device-curves": [],
    "energy": [], "export": ["none.npz"], "faults": [], "fetch mnist": [], "generate": [],
    "map": ["none.onnx"], "networks": ["none.json"], "noc": [], "pipelines": [],
    "plot": [str(results.RESULTS / "devices.json")],
    "run": ["none.onnx", "--dataset", "digits"], "simulate": ["--network", "mlp-8-6-10"],
    "synth": [], "train": [],
}  # fmt: skip
"""Options with which a command does nothing else before it looks at ``--out``."""


@pytest.mark.parametrize(
    "name", [name for name in COMMANDS if name not in ("bench aihwkit", "record")]
)
def test_destinations_are_checked_before_the_work(name, tmp_path, capsys):
    taken = tmp_path / "taken"
    taken.write_text("x", encoding="utf-8")
    assert main([*name.split(), "--out", str(taken), *NO_WORK[name]]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == f"phasecore: error: {taken} is a file, not a folder"
    assert taken.read_text(encoding="utf-8") == "x"


def test_a_half_written_file_never_stays(tmp_path):
    path = tmp_path / "x.json"
    files.write(path, "before")

    def fail():
        with files.whole(path) as partial:
            partial.write_text("half", encoding="utf-8")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left on device") as error:
        fail()
    assert error.value.filename == str(path)
    assert [one.name for one in tmp_path.iterdir()] == ["x.json"]
    assert path.read_text(encoding="utf-8") == "before"
    link = tmp_path / "link.json"
    link.symlink_to(path)
    files.write(link, b"after")
    assert link.is_symlink()
    assert path.read_text(encoding="utf-8") == "after"


def test_two_runs_may_write_the_same_file(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    with files.whole(path) as partial:
        partial.write_text("first", encoding="utf-8")
        with monkeypatch.context() as other:
            other.setattr(os, "getpid", lambda: 1)
            files.check_target(path)
            files.write(path, "second")
        assert path.read_text(encoding="utf-8") == "second"
    assert path.read_text(encoding="utf-8") == "first"
    assert [one.name for one in tmp_path.iterdir()] == ["x.json"]


def test_a_full_disk_is_found_before_the_work(tmp_path, monkeypatch):
    """And its message names the file, which the system's does not."""

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as error:
        files.check_target(tmp_path / "x.json")
    assert error.value.filename == str(tmp_path / "x.json")
    assert list(tmp_path.iterdir()) == []


def test_a_terminated_command_cleans_up(tmp_path, monkeypatch, capsys):
    """SIGTERM, which ends Python at once, ends a command as Ctrl-C does; its text is one line."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def work(_):
        with tempfile.TemporaryDirectory():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(10)
            except KeyboardInterrupt:
                # As the compiler does with what is raised in it.
                raise RuntimeError("no compiled object yet") from None

    monkeypatch.setattr(device_curves, "run", work)
    before = signal.getsignal(signal.SIGTERM)
    assert main(["device-curves"]) == 143
    with interrupts.deferred() as stop:
        assert stop.number == 0, "the next command of this process is stopped, too"
    assert capsys.readouterr().err == "phasecore: error: interrupted\n"
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_record_has_the_common_keys(tmp_path: Path) -> None:
    curve = [{"images": images, "loss": 1 / images} for images in (1, 2, 4, 5)]
    result = results.record(command="phasecore bench core", seed=3, images=5, curve=curve, empty={})
    args = argparse.Namespace(
        command="phasecore bench core --out y", overwrite=False, images=5, out="y"
    )
    path = results.destination(args, tmp_path / "new", "x")
    results.write(path, result, args)
    inputs = {"command": "bench core", "images": 5}
    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == {**result, "inputs": inputs}
    # A line for every point of a curve that is too long for one line.
    assert '    {"images": 5, "loss": 0.2}\n  ],\n' in text
    first = ["command", "commit", "preset", "config", "seed", "images", "mismatches"]
    assert list(result)[:7] == first
    assert (result["images"], result["mismatches"], result["accuracy_rtl"]) == (5, None, None)
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", str(result["commit"]))
