# SPDX-License-Identifier: Apache-2.0
"""``phasecore train``: it learns, it stops and goes on, it reports."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from phasecore.models.compiler.networks import CHIP_NETWORKS, NETWORKS
from phasecore.models.golden.device import IDEAL, PCM
from phasecore.models.training import checkpoint as checkpoints
from phasecore.models.training.checkpoint import Run
from phasecore.models.training.datasets import load
from phasecore.models.training.float_reference import FloatTwin
from phasecore.models.training.trainer import Trainer
from phasecore.scripts.cli import main


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def described(name="mlp-64-50-10", **changes):
    network = NETWORKS[name]
    run = Run(network=network, config=network.config, profile=PCM, seed=3, epochs=2, images=350)
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
        assert np.array_equal(one.crossbar.conductance, other.crossbar.conductance)
        assert np.array_equal(one.update.chi, other.update.chi)
        assert one.programmer.set_pulses == other.programmer.set_pulses > 0
    for one, other in zip(second.twin.weights, whole.twin.weights, strict=True):
        assert np.array_equal(one, other)
    assert [point["loss"] for point in second.curve] == [point["loss"] for point in whole.curve]
    part = digits.test_x[:50], digits.test_y[:50]
    assert second.accuracy(*part) == whole.accuracy(*part)


@pytest.fixture(scope="module")
def fresh(digits):
    return Trainer(described(), digits)


@pytest.fixture(scope="module")
def checkpoint(fresh, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "state.npz"
    fresh.save(path)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 4}, "seed 3, not 4"),
        ({"images": 300}, "images 350, not 300"),
        ({"epochs": 1}, r"epochs 2, not 1 \(it may only grow\)"),
        ({"eta": 0.5}, "training.eta 1.0, not 0.5"),
        ({"profile": IDEAL}, "profile.name pcm, not ideal"),
        ({"config": NETWORKS["mlp-64-50-10"].config.replace(chi_bits=8)},
         "config.chi_bits 16, not 8"),
        ({"with_validation": True}, "with_validation False, not True"),
        ({"network": NETWORKS["mlp-64-14-10"]}, "network.name mlp-64-50-10, not mlp-64-14-10"),
    ],
)  # fmt: skip
def test_checkpoint_of_another_run(changes, message, digits, checkpoint):
    inputs = described(**changes).inputs(digits)
    with pytest.raises(ValueError, match=rf"state\.npz is of a run with {message}$"):
        checkpoints.load(checkpoint).check(inputs)


def test_checkpoint_of_before_a_field(digits, checkpoint):
    """A field that came later has its default, and no other value."""
    stored, inputs = checkpoints.load(checkpoint), described().inputs(digits)
    del stored.inputs["config"]["sum_words"]
    stored.check(inputs)
    inputs["config"]["sum_words"] = 8
    with pytest.raises(ValueError, match=r"is of a run with config\.sum_words 0, not 8$"):
        stored.check(inputs)


def test_checkpoint_of_other_data(digits, checkpoint):
    """Its name, its content, its split, its recipe: all are the run's."""
    stored = checkpoints.load(checkpoint)
    stored.check(described().inputs(digits))
    changed = digits.train_x.copy()
    changed[5, 5] ^= 1
    for other, message in (
        (replace(digits, name="mnist14"), "dataset digits, not mnist14"),
        (replace(digits, train_x=changed), "data_sha256 [0-9a-f]{16}, not [0-9a-f]{16}"),
        (digits.merged(), "training_images 1197, not 1497"),
    ):
        with pytest.raises(ValueError, match=rf"state\.npz is of a run with {message}$"):
            stored.check(described().inputs(other))
    inputs = described().inputs(digits)
    inputs["training"]["refresh_high"] = 60
    with pytest.raises(ValueError, match=r"with training\.refresh_high 75, not 60$"):
        stored.check(inputs)


def test_a_run_may_grow(digits, checkpoint):
    trainer = Trainer(described(epochs=3), digits)
    trainer.resume(checkpoint)
    assert trainer.grown == [[0, 2]]


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"",
        lambda content: b"no checkpoint at all",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        # One bit in the middle of an array.
        lambda content: content[:9000] + bytes([content[9000] ^ 4]) + content[9001:],
    ],
)
def test_damaged_checkpoints(change, checkpoint, tmp_path):
    path = tmp_path / "bad.npz"
    path.write_bytes(change(checkpoint.read_bytes()))
    with pytest.raises(ValueError, match=r"bad\.npz is no checkpoint, or damaged: ."):
        checkpoints.load(path)


def rewritten(path, target, *, done=0, **changes):
    """A copy with other content, and a checksum over it as if it were meant."""
    stored = checkpoints.load(path)
    state = {name: array for name, array in (stored.state | changes).items() if array is not None}
    checkpoints.save(
        target, inputs=stored.inputs, done=done, curve=stored.curve, grown=[], state=state
    )
    return target


@pytest.mark.parametrize("done", [-1, 701])
def test_a_checkpoint_beyond_its_run(done, checkpoint, tmp_path):
    path = rewritten(checkpoint, tmp_path / "bad.npz", done=done)
    with pytest.raises(ValueError, match=rf"bad\.npz has {done} images learnt of a shorter run$"):
        checkpoints.load(path)
    assert checkpoints.load(rewritten(checkpoint, path, done=700)).done == 700


def test_foreign_arrays_and_versions(checkpoint, tmp_path, monkeypatch):
    path = tmp_path / "bad.npz"
    np.savez(path, other=np.zeros(3))
    with pytest.raises(ValueError, match=r"bad\.npz is no checkpoint, or damaged: 'meta"):
        checkpoints.load(path)
    np.savez(path, meta=json.dumps({"run": {}, "done": 3, "curve": []}), other=np.zeros(3))
    with pytest.raises(ValueError, match=r"bad\.npz was written with version 1 of the arithmetic"):
        checkpoints.load(path)
    with np.load(checkpoint) as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays["core0.crossbar.conductance"][3, 3] ^= 1
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=r"bad\.npz is damaged: its checksum does not fit"):
        checkpoints.load(path)
    monkeypatch.setattr(checkpoints, "ARITHMETIC", 10**6)
    with pytest.raises(ValueError, match=r"version \d+ of the arithmetic; this is version 1000000"):
        checkpoints.load(checkpoint)


def test_a_checkpoint_with_former_names_is_refused(checkpoint, tmp_path, monkeypatch):
    """Also where its arithmetic is the present one."""
    stored, path = checkpoints.load(checkpoint), tmp_path / "former.npz"
    with monkeypatch.context() as before:
        before.setattr(checkpoints, "FORMAT", 1)
        checkpoints.save(path, inputs=stored.inputs, done=0, curve=[], grown=[], state=stored.state)
    with pytest.raises(ValueError, match=r"former\.npz has format 1; this is format 4, .*names"):
        checkpoints.load(path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "core0.crossbar.conductance",
            lambda old: old + 4096,
            r"has a value \d+, outside 0\.\.4095",
        ),
        (
            "core0.crossbar.pulses_since_reset",
            lambda old: old - 9,
            r"has a value -\d, outside 0\.\.32",
        ),
        ("core0.update.chi", lambda old: old + 2**15, r"has a value \d+, outside -32768\.\.32767"),
        ("core0.programmer.selection", lambda old: old + 9, r"has a value 9, outside 0\.\.\d"),
        ("core0.crossbar.events", lambda old: old[1:], r"has shape \(127, .*\), not \(128, .*\)"),
        ("core0.adc.gains", lambda old: old / 2, "has type float64, not int64"),
        ("core0.slots", lambda old: None, "is missing"),
        ("twin.0", lambda old: old * np.nan, "has values that are no numbers"),
        ("twin.1", lambda old: old[1:], r"must be float64 of \(51, 10\), not float64 of \(50, .*"),
    ],
)
def test_contents_out_of_range(name, change, message, fresh, checkpoint, tmp_path):
    """And nothing is taken of such a checkpoint, though the rest of it could be."""
    stored = checkpoints.load(checkpoint).state
    # Good values, but other ones than those that are there, of what is restored first and last.
    others = {
        "core0.slots": stored["core0.slots"] ^ 1,
        "core0.crossbar.conductance": stored["core0.crossbar.conductance"] ^ 1,
        "twin.0": stored["twin.0"] + 1,
    }
    changes = {**others, name: change(stored[name])}
    path = rewritten(checkpoint, tmp_path / "bad.npz", done=200, **changes)
    with pytest.raises(ValueError, match=rf"bad\.npz: {name.replace('.', '[.]')} {message}$"):
        fresh.resume(path)
    fresh.save(tmp_path / "after.npz")
    after = checkpoints.load(tmp_path / "after.npz")
    assert after.digest == checkpoints.load(checkpoint).digest


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def number(request):
    """A signal that is not ignored, as SIGINT is in what a shell runs in the background."""
    before = signal.signal(request.param, signal.SIG_DFL)
    yield request.param
    signal.signal(request.param, before)


def test_a_signal_leaves_a_checkpoint(number, tmp_path, capsys, monkeypatch):
    """Whenever it comes, what is saved is of a whole stretch, and going on gives the same bits."""
    base = ["train", "--epochs", "1", "--images", "500", "--out", str(tmp_path / "a")]
    learn = Trainer._learn

    def signalled(self, chosen, eta):
        os.kill(os.getpid(), number)
        learn(self, chosen, eta)

    monkeypatch.setattr(Trainer, "_learn", signalled)
    assert main(base) == 128 + number
    error = capsys.readouterr().err.strip().splitlines()[-1]
    saved = tmp_path / "a" / "train-mlp-64-50-10-pcm-2.npz"
    assert error == (
        f"phasecore: error: stopped after 200 of 500 images, saved in {saved}; the same command"
        f" with --resume {saved} goes on"
    )
    assert [path.name for path in (tmp_path / "a").iterdir()] == [saved.name]
    monkeypatch.undo()
    results = []
    for arguments in ([*base, "--resume", str(saved)], [*base[:-1], str(tmp_path / "b")]):
        assert main([*arguments, "--json"]) == 0
        results.append(json.loads(capsys.readouterr().out))
    assert results[0]["accuracy_model"] == results[1]["accuracy_model"]
    assert results[0]["set_pulses"] == results[1]["set_pulses"] > 0


def test_destinations_are_checked_before_the_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Trainer, "stretches", lambda self: pytest.fail("it has begun"))
    taken = tmp_path / "file"
    taken.write_text("x", encoding="utf-8")
    out = ["--out", str(tmp_path / "out")]
    for options, message in (
        (["--out", str(taken)], "file is a file, not a folder"),
        ([*out, "--name", "a/b"], "--name must be a file name without folders, not 'a/b'"),
        ([*out, "--checkpoint", str(taken / "x.npz")], "file is a file, not a folder"),
        ([*out, "--checkpoint", str(tmp_path)], "is a folder"),
        ([*out, "--resume", "nowhere.npz"], "nowhere.npz: no such checkpoint"),
        ([*out, "--checkpoint", str(taken)], "is no checkpoint, or damaged"),
    ):
        assert main(["train", *options]) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert taken.read_text(encoding="utf-8") == "x"


def test_another_run_is_not_overwritten(tmp_path, capsys):
    base = ["train", "--epochs", "1", "--images", "200", "--json", "--out", str(tmp_path)]
    assert main(base) == 0
    path = tmp_path / "train-mlp-64-50-10-pcm-2.json"
    before = path.read_bytes()
    for options, message in (
        (["--seed", "2"], "holds a run with seed 1, not 2: --overwrite replaces it"),
        (["--eta", "0.5"], "holds a run with eta None, not 0.5"),
    ):
        assert main([*base, *options]) == 1
        assert message in capsys.readouterr().err
    assert path.read_bytes() == before
    assert main([*base, "--seed", "2", "--overwrite"]) == 0
    assert main([*base, "--seed", "2"]) == 0
    assert json.loads(path.read_text(encoding="utf-8"))["seed"] == 2


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
    arguments = ["train", "--network", "mlp-48-12-10", "--config", "tiny", "--json"]
    arguments += ["--epochs", "1", "--images", "150", "--out", str(tmp_path)]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["config"]["objects"] == 4
    assert result["weights"] == 49 * 12 + 13 * 10
    assert len(result["set_pulses_by_core"]) == 5
    assert sum(result["set_pulses_by_core"]) == result["set_pulses"]
    assert min(result["set_pulses_by_core"]) > 0


@pytest.mark.parametrize("option", ["--epochs", "--images", "--images-per-epoch"])
def test_counts_are_positive(option, capsys):
    assert main(["train", option, "0"]) == 2
    assert f"argument {option}: must be a positive integer, not '0'" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--eta", "--eta-end"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "fast"])
def test_rates_are_positive(option, value, capsys):
    assert main(["train", option, value]) == 2
    message = f"argument {option}: must be a number above 0, at most 100, not '{value}'"
    assert message in capsys.readouterr().err


def test_rates_that_do_not_fit(tmp_path, capsys):
    """Refused before the work; and a rate never rises unless both ends were asked for."""
    base = ["train", "--out", str(tmp_path), "--epochs", "1", "--images", "200"]
    for rates, message in (
        (["--eta", "1", "--eta-end", "1e-6"], "eta 1 does not fit beside the run's other rates"),
        (["--eta", "0.01"], "a rate that rises from 0.01 to 0.05 must be asked for with both"),
        (["--eta-end", "2"], "a rate that rises from 1 to 2 must be asked for with both"),
    ):
        assert main([*base, *rates]) == 1
        assert message in capsys.readouterr().err
    assert main([*base, "--json", "--eta", "0.01", "--eta-end", "0.05"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["rates_used"][0] == pytest.approx([0.01, 0.01], rel=1e-3)
    assert result["rates_used"][1] == pytest.approx([0.05, 0.05], rel=1e-3)
    assert result["warnings"] == []


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
    compiled = pytest.importorskip("phasecore.models.training.float_engine")
    network = CHIP_NETWORKS["mlp-64-14-10"]
    rng = np.random.default_rng(3)
    weights = [rng.normal(0, 0.3, (layer.rows, layer.outputs)) for layer in network.layers]
    one, other = FloatTwin(network, weights), compiled.CompiledFloatTwin(network, weights)
    for twin in (one, other):
        twin.train(digits.train_x[:200], digits.train_y[:200], np.linspace(1, 0.2, 200))
    for left, right in zip(one.weights, other.weights, strict=True):
        assert np.abs(left - right).max() < 1e-9 < np.abs(left - weights[0][0, 0]).max()
