# SPDX-License-Identifier: Apache-2.0
"""The whole chip in RTL against its golden model: random pipelines, training, bad input."""

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from phasecore.models.compiler.networks import NETWORKS
from phasecore.models.golden.device import PCM
from phasecore.models.training import checkpoint as checkpoints
from phasecore.models.training.datasets import load
from phasecore.models.training.trainer import Trainer
from phasecore.rtl.spec.chip import CHIPS
from phasecore.scripts.cli import main
from phasecore.verification.cosim import chip as chip_session
from phasecore.verification.cosim.random_runs import CHIP, Case, run_cases


@pytest.fixture(scope="module")
def build() -> Path:
    return chip_session.build_top(CHIP, sim="icarus")


def checked(build, folder, kind, seed, stall):
    """Values compared of a random pipeline, which RTL and model agree on."""
    (verdict,) = run_cases(
        CHIP, [Case(kind, seed)], folder, build=build, sim="icarus", stall=stall, seed=seed
    )
    assert verdict.mismatches == []
    return verdict


@pytest.mark.parametrize("stall", [0, 128])
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(1, 8))]
)
def test_random_pipelines(build, tmp_path, seed, stall):
    assert checked(build, tmp_path, "pipelines", seed, stall).values > 0


@pytest.mark.parametrize("stall", [0, 128])
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(1, 20))]
)
def test_random_windows(build, tmp_path, seed, stall):
    """Windows of random layers: tiles, cursors, packed rows, pooled blocks, the largest."""
    verdict = checked(build, tmp_path, "windows", seed, stall)
    assert verdict.values > 0
    assert verdict.windows > 0


@pytest.mark.parametrize(
    ("seed", "stall"),
    [
        (0, 0), (1, 128), (2, 0),
        *(pytest.param(seed, 128 * (seed % 2), marks=pytest.mark.full) for seed in range(3, 20)),
    ],
)  # fmt: skip
def test_random_sums(build, tmp_path, seed, stall):
    """Errors of all positions of random layers, summed by pixel and sent."""
    assert checked(build, tmp_path, "sums", seed, stall).values > 0


def simulated(capsys, tmp_path, *options):
    status = main(["simulate", "--json", "--out", str(tmp_path), *options])
    result = json.loads(capsys.readouterr().out)
    assert result["mismatches"] == 0, result["first_mismatches"]
    assert status == 0
    assert result["cores"] == 5
    assert result["set_pulses"] > 0
    assert result["accuracy_rtl"] == result["accuracy_model"]
    return result


def test_tiny_chip_trains_in_icarus(capsys, tmp_path):
    result = simulated(
        capsys, tmp_path, "--network", "mlp-48-12-10", "--sim", "icarus", "--images", "6",
        "--test-images", "5", "--timeline",
    )  # fmt: skip
    assert result["images"] == 6
    check_timeline(result, tmp_path / "simulate-mlp-48-12-10.timeline.json")


@pytest.mark.full
def test_small_chip_trains_in_icarus(capsys, tmp_path):
    """Words of 32 lines: packets of more than two flits."""
    result = simulated(
        capsys, tmp_path, "--network", "mlp-64-14-10", "--sim", "icarus", "--images", "3",
        "--test-images", "2",
    )  # fmt: skip
    check_phases(result, images=3)


@pytest.mark.full
def test_default_chip_trains_in_verilator(capsys, tmp_path):
    """The chip of the recorded epoch; without MNIST on digits enlarged to its format."""
    result = simulated(
        capsys, tmp_path, "--network", "mlp-784-250-10", "--dataset", "digits28", "--images", "60",
        "--test-images", "20",
    )  # fmt: skip
    check_phases(result, images=60)


def check_timeline(result, path):
    """Spans of a unit follow one another; they cover what the counters of training say."""
    spans = defaultdict(list)
    for event in json.loads(path.read_text(encoding="utf-8"))["traceEvents"]:
        if event["ph"] == "X":
            spans[event["pid"], event["name"]].append((event["ts"], event["ts"] + event["dur"]))
    for found in spans.values():
        assert all(end <= start for (_, end), (start, _) in pairwise(found))
    assert {node for node, _ in spans} == {0, 1, 3, 4, 5}
    for unit, counter in (("window", "window"), ("update", "update_busy")):
        busy = sum(end - start for key in spans if key[1] == unit for start, end in spans[key])
        assert busy >= result["counters"][counter] > 0


def check_phases(result, *, images):
    """Every cycle is in one phase."""
    assert result["images"] == images
    phases = {**result["cycles_per_image"]}
    total = phases.pop("total")
    assert total == pytest.approx(sum(phases.values()), abs=1)
    assert len(result["busy_by_core"]) == result["cores"]
    assert 0 < result["busy"] == max(result["busy_by_core"].values()) < 1


def test_rtl_goes_on_from_a_checkpoint(capsys, tmp_path):
    """Trained devices, chi and selection counters go into the RTL; it trains on as the run does."""
    run = checkpoints.Run(
        network=NETWORKS["mlp-48-12-10"], config=CHIPS["tiny"].core.replace(devices_per_polarity=2),
        profile=PCM, seed=5, epochs=9, images=15,
    )  # fmt: skip
    trainer = Trainer(run, load("digits48"))
    stretches = trainer.stretches()
    interval = next(stretches)["images"]
    next(stretches)
    path = tmp_path / "state.npz"
    trainer.save(path)
    assert any(counter for core in trainer.cores for counter in core.programmer.selection)

    arguments = ["simulate", "--json", "--sim", "icarus", "--resume", str(path)]
    arguments += ["--test-images", "2"]
    for contradiction, message in (
        (["--seed", "6"], "seed 5, not 6"),
        (["--profile", "ideal"], "profile.name pcm, not ideal"),
        (["--devices", "1"], "config.devices_per_polarity 2, not 1"),
        (["--with-validation"], "with_validation False, not True"),
    ):
        assert main([*arguments, *contradiction, "--out", str(tmp_path)]) == 1
        assert f"state.npz is of a run with {message}" in capsys.readouterr().err
    arguments += ["--images", str(interval), "--out", str(tmp_path)]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["mismatches"] == 0, result["first_mismatches"]
    assert result["resumed_after"] == 2 * interval

    before = sum(core.programmer.set_pulses for core in trainer.cores)
    next(stretches)
    assert result["set_pulses"] == (
        sum(core.programmer.set_pulses for core in trainer.cores) - before
    )  # fmt: skip
    assert result["curve"][0]["loss_rtl"] == pytest.approx(trainer.curve[-1]["loss"], abs=1e-5)


def test_checkpoints_of_one_core_stay_in_the_model(capsys, tmp_path):
    config = NETWORKS["mlp-64-50-10"].config
    run = checkpoints.Run(
        network=NETWORKS["mlp-64-50-10"], config=config, profile=PCM, seed=1, epochs=1, images=10
    )
    path = tmp_path / "state.npz"
    Trainer(run, load("digits")).save(path)
    assert main(["simulate", "--resume", str(path), "--out", str(tmp_path)]) == 1
    assert "state.npz: the RTL of mlp-64-50-10 cannot go on from a state" in capsys.readouterr().err
