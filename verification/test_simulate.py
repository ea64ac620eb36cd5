# SPDX-License-Identifier: Apache-2.0
"""Training in the RTL through ``phasecore simulate``, as users run it."""

import json
import os

import pytest

from scripts.cli import main


def simulate(capsys, tmp_path, *options):
    """Exit status and JSON object of a run."""
    status = main(["simulate", "--json", "--out", str(tmp_path), *options])
    return status, json.loads(capsys.readouterr().out)


def check(result, status, *, images):
    assert result["mismatches"] == 0, result["first_mismatches"]
    assert status == 0
    assert result["images"] == images
    assert result["accuracy_rtl"] == result["accuracy_model"]
    assert result["loss_rtl"] == result["loss_model"]
    assert result["set_pulses"] > 0
    assert result["values_compared"] > 100 * images
    assert result["counters"]["mvms"] >= 3 * images


def test_small_preset_in_icarus(capsys, tmp_path):
    status, result = simulate(
        capsys, tmp_path, "--preset", "small", "--sim", "icarus", "--images", "30", "--test", "20"
    )
    check(result, status, images=30)
    assert (result["network"], result["profile"]) == ("mlp-48-14-10", "pcm")
    assert (tmp_path / "simulate-mlp-48-14-10.png").stat().st_size > 10_000
    stored = (tmp_path / "simulate-mlp-48-14-10.json").read_text(encoding="utf-8")
    assert json.loads(stored)["images"] == 30


def test_default_preset_in_verilator(capsys, tmp_path):
    network = "mlp-196-50-10" if os.environ.get("PHASECORE_DATA") else "mlp-64-50-10"
    status, result = simulate(
        capsys, tmp_path, "--preset", "default", "--images", "100", "--test", "50",
        "--network", network,
    )  # fmt: skip
    check(result, status, images=100)
    assert result["config"]["rows"] == 256


def test_a_wrong_result_is_reported(capsys, tmp_path, monkeypatch):
    """The comparison itself: one conductance of the model changed by one code."""
    from models.core import Core

    original = Core.run
    tampered = []

    def run(self, program, packets=()):
        if len(program) > 12 and not tampered:
            tampered.append(True)
            self.crossbar.g[9, 0, 0, 0] += 40
            self.crossbar.refresh_weights()
        return original(self, program, packets)

    monkeypatch.setattr(Core, "run", run)
    status, result = simulate(
        capsys, tmp_path, "--preset", "tiny", "--sim", "icarus", "--images", "10", "--test", "5"
    )
    assert status == 1
    assert result["mismatches"] > 0
    assert "batch 1" in result["first_mismatches"][0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--images", "0"], "must be a positive integer, not '0'"),
        (["--network", "mlp-64-50-10", "--preset", "small"], "mlp-64-50-10 needs 121 rows"),
        (["--network", "mlp-196-50-10", "--data", "nowhere"], "nowhere"),
        (["--data", "nowhere"], "MNIST folder nowhere does not exist"),
        (["--sim", "modelsim"], "invalid choice: 'modelsim'"),
    ],
)
def test_bad_options_are_one_line(capsys, tmp_path, options, message):
    assert main(["simulate", "--out", str(tmp_path), *options]) != 0
    error = capsys.readouterr().err.strip()
    assert message in error
    assert error.startswith("phasecore: error: ")
    assert "\n" not in error
