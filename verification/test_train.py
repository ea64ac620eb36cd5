# SPDX-License-Identifier: Apache-2.0
"""``phasecore train``: it learns, it stops and goes on, it reports."""

import json
from dataclasses import replace

import numpy as np
import pytest

from models.datasets import load
from models.device import IDEAL, PCM
from models.float_reference import FloatTwin
from models.networks import CHIP_NETWORKS, NETWORKS
from scripts.cli import main
from scripts.train import Run, Trainer


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def described(name="mlp-64-50-10", **changes):
    network = {**NETWORKS, **CHIP_NETWORKS}[name]
    run = Run(
        network=network.name, config=network.config, profile=PCM, seed=3, epochs=2, images=350
    )
    return replace(run, **changes)


@pytest.mark.parametrize(
    ("name", "profile", "epochs"),
    [("mlp-64-50-10", IDEAL, 2), ("mlp-64-50-10", PCM, 2), ("mlp-64-14-10", PCM, 4)],
)
def test_digits_are_learnt(name, profile, epochs, digits):
    trainer = Trainer(described(name, profile=profile, seed=4, epochs=epochs, images=1197), digits)
    for _ in trainer.stretches():
        pass
    assert trainer.done == trainer.total == 1197 * epochs
    assert trainer.accuracy(digits.validation_x, digits.validation_y) > 0.9
    assert trainer.twin.accuracy(digits.validation_x, digits.validation_y) > 0.9
    assert sum(core.update.chi_saturations for core in trainer.cores) == 0
    assert trainer.curve[-1]["loss"] < trainer.curve[0]["loss"] / 3


@pytest.mark.parametrize("name", ["mlp-64-50-10", "mlp-64-14-10"])
def test_a_resumed_run_gives_the_same_bits(name, digits, tmp_path):
    # An odd number of images per epoch: a chip's rings of two slots end in their middle.
    whole = Trainer(described(name, images=251), digits)
    interval = whole.network.training.refresh_interval
    assert [point["images"] for point in whole.stretches()] == [interval, 251, 251 + interval, 502]

    path = tmp_path / "state.npz"
    first = Trainer(described(name, images=251), digits)
    stretches = first.stretches()
    next(stretches)
    next(stretches)
    first.save(path)
    second = Trainer(described(name, images=251), digits)
    second.resume(path)
    assert second.done == 251
    assert [point["images"] for point in second.stretches()] == [251 + interval, 502]

    assert len(second.cores) == (5 if name in CHIP_NETWORKS else 1)
    for one, other in zip(second.cores, whole.cores, strict=True):
        assert np.array_equal(one.crossbar.g, other.crossbar.g)
        assert np.array_equal(one.update.chi, other.update.chi)
        assert one.programmer.set_pulses == other.programmer.set_pulses > 0
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
    stored = json.loads(written.read_text(encoding="utf-8"))
    assert [point["images"] for point in stored["curve"]] == [200, 300]
    assert "validation_accuracy_float" in stored["curve"][-1]
    assert written.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert checkpoint.exists()


def test_command_trains_on_a_chip(tmp_path, capsys):
    arguments = ["train", "--network", "mlp-48-12-10", "--preset", "tiny", "--json"]
    arguments += ["--epochs", "1", "--images", "150", "--out", str(tmp_path)]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["config"]["objects"] == 4
    assert result["weights"] == 49 * 12 + 13 * 10
    assert len(result["set_pulses_by_core"]) == 5
    assert sum(result["set_pulses_by_core"]) == result["set_pulses"]
    assert min(result["set_pulses_by_core"]) > 0


@pytest.mark.parametrize("option", ["--epochs", "--images"])
def test_counts_are_positive(option, capsys):
    assert main(["train", option, "0"]) == 2
    assert f"argument {option}: must be a positive integer, not '0'" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--eta", "--eta-end"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "fast"])
def test_rates_are_positive(option, value, capsys):
    assert main(["train", option, value]) == 2
    message = f"argument {option}: must be a number above 0, at most 100, not '{value}'"
    assert message in capsys.readouterr().err


def test_mnist_needs_its_folder(monkeypatch, capsys):
    monkeypatch.delenv("PHASECORE_DATA", raising=False)
    for network in ("mlp-196-50-10", "mlp-784-250-10"):
        assert main(["train", "--network", network]) == 1
        assert "no MNIST folder: give --data DIR or set PHASECORE_DATA" in capsys.readouterr().err


def test_several_seeds_survive_being_killed(tmp_path, capsys):
    base = ["train", "--epochs", "1", "--images", "300", "--json", "--seeds", "2"]
    base += ["--with-validation", "--eta", "0.9", "--eta-end", "0.3"]
    checkpoint = tmp_path / "state.npz"
    whole = [*base, "--out", str(tmp_path / "whole"), "--checkpoint", str(checkpoint)]
    assert main(whole) == 0
    expected = json.loads(capsys.readouterr().out)
    assert expected["seeds"] == [1, 2]
    assert expected["training"]["eta"] == 0.9
    assert len(set(expected["accuracies"])) == 2 or expected["set_pulses_by_seed"][0] > 0
    assert expected["mean_accuracy"] == pytest.approx(np.mean(expected["accuracies"]), abs=1e-6)
    gap = np.mean(expected["accuracies_float"]) - np.mean(expected["accuracies"])
    assert expected["gap_to_float"] == pytest.approx(gap, abs=1e-6)
    assert expected["endurance"]["pulses_max"] >= expected["endurance"]["pulses_mean"] > 0

    # As if it had been killed between the seeds.
    (tmp_path / "state-2.npz").unlink()
    again = [*base, "--out", str(tmp_path / "again"), "--resume", str(checkpoint)]
    assert main(again) == 0
    found = json.loads(capsys.readouterr().out)
    for name in ("accuracies", "accuracies_float", "set_pulses_by_seed", "endurance_by_seed"):
        assert found[name] == expected[name]


def test_compiled_float_twin(digits):
    compiled = pytest.importorskip("models.compiled.float_reference")
    network = CHIP_NETWORKS["mlp-64-14-10"]
    rng = np.random.default_rng(3)
    weights = [rng.normal(0, 0.3, (layer.rows, layer.outputs)) for layer in network.layers]
    one, other = FloatTwin(network, weights), compiled.CompiledFloatTwin(network, weights)
    for twin in (one, other):
        twin.train(digits.train_x[:200], digits.train_y[:200], np.linspace(1, 0.2, 200))
    for left, right in zip(one.weights, other.weights, strict=True):
        assert np.abs(left - right).max() < 1e-9 < np.abs(left - weights[0][0, 0]).max()
