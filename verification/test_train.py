# SPDX-License-Identifier: Apache-2.0
"""``phasecore train``: it learns, it stops and goes on, it reports."""

import json
from dataclasses import replace

import numpy as np
import pytest

from models.datasets import load
from models.device import IDEAL, PCM
from models.networks import NETWORKS
from scripts.cli import main
from scripts.train import Run, Trainer


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def described(**changes):
    network = NETWORKS["mlp-64-50-10"]
    run = Run(
        network=network.name, config=network.config, profile=PCM, seed=3, epochs=2, images=350
    )
    return replace(run, **changes)


@pytest.mark.parametrize("profile", [IDEAL, PCM], ids=lambda profile: profile.name)
def test_digits_are_learnt(profile, digits):
    trainer = Trainer(described(profile=profile, seed=4, epochs=2, images=1197), digits)
    for _ in trainer.stretches():
        pass
    assert trainer.done == trainer.total == 2394
    assert trainer.accuracy(digits.validation_x, digits.validation_y) > 0.9
    assert trainer.twin.accuracy(digits.validation_x, digits.validation_y) > 0.9
    assert trainer.core.update.chi_saturations == 0
    assert trainer.curve[-1]["loss"] < trainer.curve[0]["loss"] / 3


def test_a_resumed_run_gives_the_same_bits(digits, tmp_path):
    whole = Trainer(described(), digits)
    lengths = [point["images"] for point in whole.stretches()]
    assert lengths == [200, 350, 550, 700]

    path = tmp_path / "state.npz"
    first = Trainer(described(), digits)
    stretches = first.stretches()
    next(stretches)
    next(stretches)
    first.save(path)
    second = Trainer(described(), digits)
    second.resume(path)
    assert second.done == 350
    assert [point["images"] for point in second.stretches()] == [550, 700]

    assert np.array_equal(second.core.crossbar.g, whole.core.crossbar.g)
    assert np.array_equal(second.core.update.chi, whole.core.update.chi)
    assert second.core.programmer.set_pulses == whole.core.programmer.set_pulses
    for one, other in zip(second.twin.weights, whole.twin.weights, strict=True):
        assert np.array_equal(one, other)
    assert [point["loss"] for point in second.curve] == [point["loss"] for point in whole.curve]
    part = digits.test_x[:50], digits.test_y[:50]
    assert second.accuracy(*part) == whole.accuracy(*part)


def test_checkpoint_of_another_run(digits, tmp_path):
    path = tmp_path / "state.npz"
    Trainer(described(), digits).save(path)
    with pytest.raises(ValueError, match=r"state\.npz is of a run with another seed$"):
        Trainer(described(seed=4), digits).resume(path)


def test_not_a_checkpoint(digits, tmp_path):
    path = tmp_path / "state.npz"
    np.savez(path, other=np.zeros(3))
    with pytest.raises(ValueError, match=r"state\.npz is not a checkpoint: "):
        Trainer(described(), digits).resume(path)


def test_command_writes_result_and_curve(tmp_path, capsys):
    arguments = ["train", "--epochs", "1", "--images", "300", "--json", "--devices", "1"]
    checkpoint = tmp_path / "state.npz"
    assert main([*arguments, "--out", str(tmp_path), "--checkpoint", str(checkpoint)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["images"] == 300
    assert result["config"]["devices_per_polarity"] == 1
    assert 0.3 < result["accuracy_model"] < 1
    assert 0 < result["pulses_per_weight_per_image"] < 0.01
    written = tmp_path / "train-mlp-64-50-10-pcm-1.json"
    stored = json.loads(written.read_text())
    assert [point["images"] for point in stored["curve"]] == [200, 300]
    assert "validation_accuracy_float" in stored["curve"][-1]
    assert written.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert checkpoint.exists()


@pytest.mark.parametrize("option", ["--epochs", "--images"])
def test_counts_are_positive(option, capsys):
    assert main(["train", option, "0"]) == 2
    assert f"argument {option}: must be a positive integer, not '0'" in capsys.readouterr().err


def test_mnist_needs_its_folder(monkeypatch, capsys):
    monkeypatch.delenv("PHASECORE_DATA", raising=False)
    assert main(["train", "--network", "mlp-196-50-10"]) == 1
    assert "no MNIST folder: give --data DIR or set PHASECORE_DATA" in capsys.readouterr().err
