# SPDX-License-Identifier: Apache-2.0
"""``phasecore simulate --infer``: what its options refuse, and a network from its file to a result.

The RTL itself is held in ``verification/chip/test_inference.py``.
"""

import json

import numpy as np
import pytest

from phasecore.models.compiler.convolution import CONV_NETWORKS
from phasecore.models.golden.device import IDEAL
from phasecore.models.training import checkpoint as checkpoints
from phasecore.models.training.datasets import load
from phasecore.models.training.trainer import Trainer
from phasecore.scripts.cli import main
from phasecore.scripts.commands import inference
from phasecore.scripts.report.simulation import report


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """An untrained network's."""
    network = CONV_NETWORKS["conv-8x8"]
    run = checkpoints.Run(
        network=network, config=network.config, profile=IDEAL, seed=1, epochs=1, images=1
    )
    path = tmp_path_factory.mktemp("trained") / "conv.npz"
    Trainer(run, load("digits")).save(path)
    return path


def refused(capsys, *options):
    assert main(["simulate", "--infer", *map(str, options)]) == 1
    return capsys.readouterr().err


def test_options_that_say_nothing_are_refused(capsys, tmp_path, checkpoint):
    network = ("--network", "conv-8x8")
    assert "--infer needs --network, one of lenet-5" in refused(capsys)
    assert "--images is of training, not of --infer" in refused(capsys, *network, "--images", 3)
    assert "--with-validation is of" in refused(capsys, *network, "--with-validation")
    assert "conv-8x8 is of a checkpoint: --resume FILE" in refused(capsys, *network)
    assert "is of conv-8x8, not lenet-5" in refused(
        capsys, "--network", "lenet-5", "--resume", checkpoint
    )
    assert "mnist-conv is of an ONNX file: --model FILE, not --resume" in refused(
        capsys, "--network", "mnist-conv", "--resume", checkpoint
    )
    assert "--model FILE is needed for resnet-8" in refused(capsys, "--network", "resnet-8")
    many = (*network, "--resume", checkpoint, "--test-images", 400, "--out", tmp_path)
    assert "--test-images must be at most 300" in refused(capsys, *many)
    assert main(["simulate", "--network", "mnist-conv"]) == 1
    assert "mnist-conv does not learn in the RTL: --infer is needed" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--program"]])
def test_result_has_every_profile_and_order(capsys, tmp_path, monkeypatch, checkpoint, options):
    """Without a simulator: what a run is asked for, and what is written and said of it."""
    asked = []

    class Fake(inference.Inference):
        def __init__(self, programmed, images, labels, *, seed, at_once, in_rtl):
            assert in_rtl == bool(options)
            asked.append((programmed.mapping.profile.name, len(images), at_once))

        def run(self, folder, *, sim, check, what):
            return {
                "images": 5, "mismatches": 1, "values_compared": 10, "accuracy_rtl": 0.8,
                "accuracy_float": 0.9, "cycles_per_image": 100.0, "busy": 0.5,
                "signal_to_noise_db": 12.0, "images_per_second": 2.0,
            }  # fmt: skip

        def stop(self):
            pass

    monkeypatch.setattr(inference, "Inference", Fake)
    status = main([
        "simulate", "--infer", "--json", "--network", "conv-8x8", "--resume", str(checkpoint),
        "--test-images", "5", "--out", str(tmp_path), *options,
    ])  # fmt: skip
    result = json.loads(capsys.readouterr().out)
    assert status == 1
    assert asked == [("ideal", 5, 5), ("ideal", 5, 1), ("pcm", 5, 5), ("pcm", 5, 1)]
    assert (result["mismatches"], result["values_compared"], result["images"]) == (4, 40, 5)
    stored = json.loads((tmp_path / "conv-8x8-rtl.json").read_text(encoding="utf-8"))
    assert stored["runs"] == result["runs"]
    assert (stored["cycles_per_image"], stored["busy"]) == ({"total": 100.0}, 0.5)
    assert stored["programmed"] == ("rtl" if options else "model")
    text = report(result)
    assert "pcm, one by one: 100 cycles per image, first core busy 50.0 %" in text
    assert "accuracy 80.0 % (float 90.0 %), 12.0 dB" in text
    assert np.isfinite(result["seed"])
