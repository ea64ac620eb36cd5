# SPDX-License-Identifier: Apache-2.0
"""``phasecore export``: from a checkpoint to a file that ``run`` takes."""

import json

import pytest

from phasecore.scripts.cli import main

pytest.importorskip("onnx")


def test_a_network_learns_leaves_and_infers(tmp_path, capsys):
    """With the weights of its devices: it classifies as it did where it learnt."""
    checkpoint = tmp_path / "digits.npz"
    training = ["--network", "mlp-64-50-10", "--images", "1100"]
    out = ["--out", str(tmp_path), "--json"]
    assert main(["train", *training, "--checkpoint", str(checkpoint), *out]) == 0
    learnt = json.loads(capsys.readouterr().out)
    assert main(["export", str(checkpoint), "--name", "digits", *out]) == 0
    exported = json.loads(capsys.readouterr().out)
    assert exported["weights"] == 65 * 50 + 51 * 10
    assert exported["images"] == 1100
    model = str(tmp_path / "digits.onnx")
    assert main(["run", model, "--dataset", "digits", "--profile", "ideal", *out]) == 0
    found = json.loads(capsys.readouterr().out)
    accuracy = learnt["accuracy_model"]
    assert found["accuracy_float"] == pytest.approx(accuracy, abs=0.06)
    assert found["accuracy_model"] == pytest.approx(found["accuracy_float"], abs=0.03)
    assert main(["export", str(checkpoint), "--name", "digits", *out]) == 1
    assert "digits.onnx exists; --overwrite replaces it" in capsys.readouterr().err


def test_what_is_no_checkpoint_is_refused(tmp_path, capsys):
    path = tmp_path / "a.npz"
    path.write_bytes(b"nothing")
    assert main(["export", str(path)]) == 1
    assert str(path) in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == [path]
