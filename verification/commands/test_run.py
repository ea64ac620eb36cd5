# SPDX-License-Identifier: Apache-2.0
"""``phasecore run``: a network from its file to a result, and what is refused before the work."""

import json

import numpy as np
import pytest

import phasecore
from phasecore.models.compiler.onnx_graph import load_graph
from phasecore.scripts.cli import main
from phasecore.verification.compiler.graphs import CORE

onnx = pytest.importorskip("onnx")


@pytest.fixture
def files(tmp_path):
    """A network of two layers that tells whether the left or the right half is brighter."""
    rng = np.random.default_rng(4)
    kernel = np.abs(rng.normal(size=(2, 1, 3, 3)))
    matrix = np.zeros((2, 4, 4, 2))
    matrix[:, :, :2, 0] = matrix[:, :, 2:, 1] = 1
    make, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        onnx.helper.make_node("Relu", ["a"], ["b"]),
        onnx.helper.make_node("Flatten", ["b"], ["c"]),
        onnx.helper.make_node("MatMul", ["c", "m"], ["d"]),
    ]
    constants = [
        onnx.numpy_helper.from_array(np.asarray(values), name)
        for name, values in (("w", kernel), ("m", matrix.reshape(32, 2)))
    ]
    graph = onnx.helper.make_graph(
        nodes, "g", [make("x", kind, (1, 1, 4, 4))], [make("d", kind, None)], constants
    )
    onnx.save(onnx.helper.make_model(graph), tmp_path / "halves.onnx")
    x = rng.integers(0, 256, (40, 4, 4)).astype(np.uint8)
    y = (x[:, :, 2:].sum((1, 2)) > x[:, :, :2].sum((1, 2), dtype=int)).astype(np.uint8)
    np.savez(tmp_path / "data.npz", x_train=x, y_train=y, x_test=x[:30], y_test=y[:30])
    (tmp_path / "core.json").write_text(CORE.to_json(), encoding="utf-8")
    return tmp_path


def options(files, *more):
    return [
        "run", str(files / "halves.onnx"), "--dataset", str(files / "data.npz"), "--config",
        str(files / "core.json"), "--out", str(files / "out"), *map(str, more),
    ]  # fmt: skip


def test_a_network_from_its_file_to_a_result(files, capsys):
    (files / "halves.toml").write_text("scale = 0.5\n", encoding="utf-8")
    assert main([*options(files), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    graph = load_graph(files / "halves.onnx", name="halves", dataset="", largest=1)
    stored = np.load(files / "data.npz")
    exact = graph.outputs(stored["x_test"].reshape(30, -1) * 0.5 / graph.code)
    right = np.mean(exact.argmax(axis=1) == stored["y_test"])
    assert result["accuracy_float"] == pytest.approx(right)
    assert right > 0.8
    assert [one["profile"] for one in result["runs"]] == ["ideal", "pcm"]
    for one in result["runs"]:
        assert abs(one["accuracy"] - right) < 0.15
        assert len(one["signal_to_noise_db"]) == 2
        assert min(one["signal_to_noise_db"]) > 8
    assert (result["images"], result["crossbars"], result["mismatches"]) == (30, 2, None)
    assert [layer["name"] for layer in result["layers"]] == ["conv1", "dense2"]
    assert (files / "out" / "halves.png").stat().st_size > 5_000
    assert json.loads((files / "out" / "halves.json").read_text(encoding="utf-8"))["images"] == 30
    assert main(options(files, "--profile", "ideal", "--images", 3, "--name", "few")) == 0
    text = capsys.readouterr().out
    assert "halves, 3 images of data\n" in text
    assert "accuracy, ideal" in text
    assert "cycles per image, modelled 2,048 without a gap" in text
    assert "energy an image, modelled " in text
    assert "dense2                 32     2     1" in text


def test_arrays_give_what_files_give(files, capsys):
    stored = np.load(files / "data.npz")
    assert main([*options(files, "--profile", "pcm_inference", "--devices", 2), "--json"]) == 0
    theirs = json.loads(capsys.readouterr().out)
    images = stored["x_train"][:, np.newaxis].astype(np.float32)
    mine = phasecore.infer(
        files / "halves.onnx", images[:30], stored["y_test"], calibration=images, config=CORE,
        profile="pcm_inference", devices=2,
    )  # fmt: skip
    assert (mine.accuracy_model, mine.accuracy_float) == (
        theirs["accuracy_model"], theirs["accuracy_float"],
    )  # fmt: skip
    assert mine.config.core == CORE.replace(devices_per_polarity=2)
    assert np.mean(mine.outputs.argmax(axis=1) == stored["y_test"]) == mine.accuracy_model
    assert json.loads(mine.to_json())["config"] == theirs["config"]
    assert mine.mismatches is None


def test_arrays_go_through_the_rtl(files, monkeypatch):
    """What the simulator says of the first images is passed on, other outputs are counted."""
    asked = []

    def simulated(inference, sim, what, timeline):
        asked.append((len(inference.images), sim))
        inference.codes = np.zeros((2, 2), np.int8)
        return {"mismatches": 3, "first_mismatches": []}

    monkeypatch.setattr("phasecore.scripts.commands.run.simulated", simulated)
    stored = np.load(files / "data.npz")
    arguments = {"config": CORE, "rtl": 2, "sim": "icarus"}
    found = phasecore.infer(files / "halves.onnx", stored["x_test"], stored["y_test"], **arguments)
    assert asked == [(2, "icarus")]
    assert found.outputs[:2].any(axis=1).all()
    assert found.mismatches == 3 + 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.zeros(29, int)}, "labels must be 30, one per image, not 29"),
        ({"labels": np.zeros(30)}, "labels must be integers, not float64"),
        (
            {"images": np.zeros((30, 5))},
            r"images must be images of 4 x 4 x 1, not of shape \(30, 5\)",
        ),
        ({"calibration": np.zeros((0, 16))}, "calibration must be images of 4 x 4 x 1, not of sha"),
        ({"rtl": 31}, r"rtl must be in 1\.\.30, not 31"),
        ({"sim": "vcs"}, "sim must be icarus or verilator, not 'vcs'"),
        ({"profile": "rram"}, "profile must be one of ideal, "),
        ({"config": "huge"}, "config must be one of tiny, "),
        ({"model": "none.onnx"}, "none.onnx"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(files, changes, message):
    stored = np.load(files / "data.npz")
    arguments = {
        "model": files / "halves.onnx", "images": stored["x_test"], "labels": stored["y_test"],
        "config": CORE, **changes,
    }  # fmt: skip
    with pytest.raises((ValueError, OSError), match=message):
        phasecore.infer(**arguments)


def test_times_after_programming(files, capsys):
    """What has drifted is made up for, more or less."""
    drifting = ["--profile", "pcm_drift", "--time", 100, 10_000_000, "--json"]
    assert main(options(files, *drifting)) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [(one["time_s"], one["compensated"]) for one in runs] == [
        (seconds, means) for seconds in (100, 10_000_000) for means in ("tables", "gains", "none")
    ]  # fmt: skip
    levels = [one["signal_to_noise_db"][-1] for one in runs]
    # Gains make up for what comes after the first of the times.
    assert levels[1] == pytest.approx(levels[2], abs=3)
    assert levels[4] > levels[5] + 3
    assert levels[0] > levels[1] + 3
    assert levels[3] > levels[4] + 3


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--images", 31], "--images must be at most 30 (images of data), not 31"),
        (["--preprocessing", "none.toml"], "none.toml: No such file or directory"),
        (["--dataset", "none.npz"], "data set none.npz does not exist; accepted: "),
        (["--devices", 3], "devices_per_polarity must be"),
        (["--rtl", 31], "--rtl must be at most 30 (images that are inferred), not 31"),
        (
            ["--host-script", 9, "--pulses", "--images", 5],
            "--host-script must be at most 5 (images that are inferred), not 9",
        ),
        (["--timeline"], r"--timeline is of the RTL: --rtl N is needed"),
        (["--host-script", 1], r"--host-script programs by pulses: --pulses is needed"),
    ],
)
def test_what_is_refused(files, capsys, more, message):
    assert main(options(files, *more)) == 1
    assert message in capsys.readouterr().err
    assert not list((files / "out").glob("*"))


def test_a_file_that_is_no_network(files, capsys):
    (files / "halves.onnx").write_bytes(b"no network")
    assert main(options(files)) == 1
    assert "halves.onnx is no ONNX file" in capsys.readouterr().err
