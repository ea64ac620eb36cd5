# SPDX-License-Identifier: Apache-2.0
"""``phasecore bench aihwkit``: fair turns, right ratios, and what it says without aihwkit."""

import json
import time

import numpy as np
import pytest

from phasecore.models.compiler.networks import NETWORKS
from phasecore.models.training.datasets import load
from phasecore.scripts.cli import main
from phasecore.scripts.commands import bench_aihwkit
from phasecore.scripts.commands.bench_aihwkit import SETTINGS, TARGET, report
from phasecore.scripts.commands.contestants import OURS, WARM_UP, layers, take_turns
from phasecore.scripts.report.results import RESULTS


class Recorder:
    """Keeps what it is given, and takes its time over every image."""

    def __init__(self, log, name, seconds):
        self.log, self.name, self.seconds = log, name, seconds
        self.images, self.labels = [], []

    def learn(self, images, labels):
        self.log.append(self.name)
        self.images += list(images)
        self.labels += list(labels)
        stop = time.process_time() + self.seconds * len(images)
        while time.process_time() < stop:
            pass


def test_turns_are_fair():
    digits, log = load("digits"), []
    contestants = {name: Recorder(log, name, s) for name, s in (("a", 1e-4), ("b", 5e-4))}
    chosen = np.arange(30)[::-1]
    seconds = take_turns(contestants, digits, chosen, images=40, repeats=3)
    assert log == ["a", "b", "b", "a", "a", "b", "b", "a"]
    a, b = contestants.values()
    seen = chosen[np.arange(WARM_UP + 3 * 40) % 30]
    for contestant in (a, b):
        np.testing.assert_array_equal(contestant.images, digits.train_x[seen])
        np.testing.assert_array_equal(contestant.labels, digits.train_y[seen])
    assert [len(of) for of in seconds.values()] == [3, 3]
    assert min(seconds["a"]) >= 40e-4
    assert min(seconds["b"]) >= 40 * 5e-4


def test_ratios_are_of_the_same_turns():
    ratios = bench_aihwkit._ratios([10, 30, 24], [1, 2, 2])
    assert ratios == {"low": 10, "median": 12, "high": 15}


def test_without_aihwkit(monkeypatch, capsys):
    monkeypatch.setattr(bench_aihwkit, "find_spec", lambda name: None)
    assert main(["bench", "aihwkit"]) == 1
    assert "pip install -e '.[aihwkit]'" in capsys.readouterr().err


def test_with_aihwkit(tmp_path, capsys):
    pytest.importorskip("aihwkit")
    arguments = [
        "bench", "aihwkit", "--network", "mlp-64-50-10", "--images", "50", "--repeats", "2",
        "--out", str(tmp_path), "--json",
    ]  # fmt: skip
    status = main(arguments)
    result = json.loads(capsys.readouterr().out)
    assert status == (not result["ok"])
    assert set(result["ratios"]) == set(SETTINGS)
    assert set(result["validation_accuracy"]) == {OURS, *SETTINGS}
    assert all(len(of) == 2 for of in result["milliseconds_per_image"].values())


@pytest.mark.parametrize("network", ["mlp-8-6-10", "conv-8x8"])
def test_layers_of_a_network(network):
    """As many weights and biases in every layer of PyTorch as the network has, in its order."""
    nn = pytest.importorskip("torch").nn
    network = NETWORKS[network]
    model = nn.Sequential(*layers(network, nn, linear=nn.Linear, convolution=nn.Conv2d))
    found = [
        sum(p.numel() for p in module.parameters()) for module in model if list(module.parameters())
    ]
    assert found == [layer.outputs * (layer.inputs + 1) for layer in network.layers]


def test_recorded_comparison():
    result = json.loads((RESULTS / "speed-aihwkit-mlp-784-250-10.json").read_text(encoding="utf-8"))
    assert result["ok"]
    assert set(result["ratios"]) == set(SETTINGS)
    rates = result["images_per_second_by_contestant"]
    assert result["fastest"] == max(SETTINGS, key=rates.__getitem__)
    assert result["ratios"][result["fastest"]]["median"] >= TARGET
    text = report({**result, "out": "x"})
    assert "not equal" in text
    assert all(f"aihwkit, {name}" in text for name in SETTINGS)
