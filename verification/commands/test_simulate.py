# SPDX-License-Identifier: Apache-2.0
"""Training in the RTL through ``phasecore simulate``, as users run it."""

import argparse
import json
import os
import signal
import tempfile
from pathlib import Path

import pytest

from phasecore.models.compiler.networks import CHIP_NETWORKS, NETWORKS
from phasecore.models.golden.device import PROFILES
from phasecore.models.training.checkpoint import Run
from phasecore.models.training.datasets import load
from phasecore.models.training.model import CoreModel
from phasecore.models.training.trainer import Trainer
from phasecore.rtl.spec.core import SMALL
from phasecore.scripts.cli import main
from phasecore.scripts.commands.simulate import add_parser, report, size
from phasecore.verification.cosim.simulation import Progress


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
    """Two epochs learn what ``phasecore train`` learns in two; the report says it is short."""
    status, result = simulate(
        capsys, tmp_path, "--config", "small", "--sim", "icarus", "--images-per-epoch", "8",
        "--epochs", "2", "--test-images", "10",
    )  # fmt: skip
    check(result, status, images=16)
    assert (result["network"], result["profile"]) == ("mlp-48-14-10", "pcm")
    assert (tmp_path / "simulate-mlp-48-14-10.png").stat().st_size > 10_000
    stored = (tmp_path / "simulate-mlp-48-14-10.json").read_text(encoding="utf-8")
    assert json.loads(stored)["images"] == 16
    wanted = Run(
        network=NETWORKS["mlp-48-14-10"],
        config=SMALL,
        profile=PROFILES["pcm"],
        seed=1,
        epochs=2,
        images=8,
    )
    curve = list(Trainer(wanted, load("digits48")).stretches())
    assert [round(point["loss_rtl"], 6) for point in result["curve"]] == [
        point["loss"] for point in curve
    ]
    text = report(result)
    assert "16: 2 times the same 8\n" in text
    assert "after a short run" in text
    assert "after a short run" not in report(result | {"images": 5 * 1197})


def test_default_preset_in_verilator(capsys, tmp_path):
    network = "mlp-196-50-10" if os.environ.get("PHASECORE_DATA") else "mlp-64-50-10"
    status, result = simulate(
        capsys, tmp_path, "--config", "default", "--images", "16", "--test-images", "8",
        "--network", network,
    )  # fmt: skip
    check(result, status, images=16)
    assert result["config"]["rows"] == 256


def test_a_wrong_result_is_reported(capsys, tmp_path, monkeypatch):
    """The comparison itself: one conductance of the model changed by one code."""
    original = CoreModel.run
    tampered = []

    def run(self, job):
        if job.sent.targets and not tampered:
            tampered.append(True)
            self.core.crossbar.conductance[9, 0, 0, 0] += 40
            self.core.crossbar.refresh_weights()
        return original(self, job)

    monkeypatch.setattr(CoreModel, "run", run)
    options = ["--config", "tiny", "--sim", "icarus", "--images", "10", "--test-images", "5"]
    status, result = simulate(capsys, tmp_path, *options)
    assert status == 1
    assert result["mismatches"] > 0
    assert "batch 1" in result["first_mismatches"][0]


def test_a_signal_leaves_a_partial_result_and_no_simulator(capsys, tmp_path, monkeypatch):
    train, simulators = Progress._train, []
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))

    def signalled(self, chunk, report):
        train(self, chunk, report)
        simulators.append(int(self.simulation._pid.read_text(encoding="utf-8")))
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Progress, "_train", signalled)
    options = ["--config", "tiny", "--sim", "icarus", "--images", "10", "--test-images", "5"]
    assert main(["simulate", "--out", str(tmp_path / "out"), *options]) == 143
    path = tmp_path / "out" / "simulate-mlp-8-6-10.json"
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"phasecore: error: stopped after 10 of 10 images, saved in {path}; the same command begins"
        " anew"
    )
    result = json.loads(path.read_text(encoding="utf-8"))
    assert (result["complete"], result["images"], result["mismatches"]) == (False, 10, 0)
    assert list(scratch.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(simulators[0], 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--images", "0"], "must be a positive integer, not '0'"),
        (["--network", "mlp-64-50-10", "--config", "small"], "mlp-64-50-10 needs 121 rows"),
        (["--network", "mlp-196-50-10", "--data", "nowhere"], "nowhere"),
        (["--data", "nowhere"], "MNIST folder nowhere does not exist"),
        (["--sim", "modelsim"], "invalid choice: 'modelsim'"),
        (
            ["--network", "mlp-48-14-10", "--images-per-epoch", "3000"],
            "images_per_epoch must be at most 1197 (images that there are), not 3000",
        ),
        (
            ["--network", "mlp-48-14-10", "--test-images", "301"],
            "--test-images must be at most 300 (test images of digits48), not 301",
        ),
        (["--epochs", "0"], "must be a positive integer, not '0'"),
    ],
)
def test_bad_options_are_one_line(capsys, tmp_path, options, message):
    assert main(["simulate", "--out", str(tmp_path), *options]) != 0
    error = capsys.readouterr().err.strip()
    assert message in error
    assert error.startswith("phasecore: error: ")
    assert "\n" not in error


@pytest.mark.parametrize(
    ("options", "available", "wanted"),
    [
        ([], 1197, (10, 1197)),
        ([], 50_000, (1, 12_000)),
        (["--sim", "icarus"], 1197, (1, 1000)),
        (["--network", "mlp-784-250-10"], 50_000, (1, 1000)),
        (["--images", "30"], 1197, (1, 30)),
        (["--epochs", "3"], 1197, (3, 1197)),
        (["--epochs", "3", "--images", "30"], 1197, (3, 10)),
        (["--epochs", "3", "--images-per-epoch", "30"], 1197, (3, 30)),
        (["--images", "3000"], 1197, (3, 1000)),
    ],
)
def test_amount_of_training(options, available, wanted):
    """Without a number the run is one that learns its task, where that takes a minute."""
    parser = add_parser(argparse.ArgumentParser().add_subparsers())
    args = parser.parse_args(options)
    is_chip = args.network in CHIP_NETWORKS
    assert size(args, is_chip, available) == wanted
    args.resume, args.images = Path("state.npz"), available + 1
    args.epochs = args.images_per_epoch = None
    assert size(args, is_chip, available) == (1, available + 1)
    args.epochs = 2
    with pytest.raises(ValueError, match=r"^--epochs: the checkpoint's hold; "):
        size(args, is_chip, available)
