# SPDX-License-Identifier: Apache-2.0
"""The whole chip in RTL against its golden model: random pipelines, training, bad input."""

import json
from pathlib import Path

import pytest

from phasecore.models.compiler.networks import NETWORKS
from phasecore.models.golden.chip import Chip
from phasecore.models.golden.core import Trace
from phasecore.models.golden.device import IDEAL, PCM
from phasecore.models.training import checkpoint as checkpoints
from phasecore.models.training.datasets import load
from phasecore.models.training.trainer import Trainer
from phasecore.rtl.spec.chip import CHIPS, ChipConfig
from phasecore.scripts.cli import main
from phasecore.verification.cosim import chip as chip_session
from phasecore.verification.cosim.random_chip import SEGMENT, Pipeline
from phasecore.verification.cosim.random_sums import RandomSums
from phasecore.verification.cosim.random_windows import RandomWindows

TINY = CHIPS["tiny"]
PIPELINES = TINY.replace(core=TINY.core.replace(slots=16, program_depth=128))

WATCHDOG = 20_000
"""Cycles without an instruction after which a core gives up."""


@pytest.fixture(scope="module")
def build() -> Path:
    return chip_session.build_top(PIPELINES, sim="icarus")


class Run:
    """Batches for RTL and model; what they gave is compared at the end."""

    def __init__(self, config: ChipConfig, seed: int, folder: Path):
        self.config, self.seed, self.folder = config, seed, folder
        self.chip = Chip(config, IDEAL, seed)
        self.batches = 0
        self.expected = []
        chip_session.write_macros(folder, self.chip)

    def frame(self, pipeline: Pipeline | RandomWindows | RandomSums) -> None:
        """The next frames through a pipeline; the first ones write the tables."""
        batch = chip_session.ChipBatch(self.config, pipeline.packets())
        nodes = [stage.node for stage in pipeline.stages]
        if not self.batches:
            for node in (*nodes, self.config.host):
                objects, routes = pipeline.objects[node], pipeline.routes[node]
                batch.define(node, objects, routes)
                for index, entry in enumerate(objects):
                    self.chip.define_object(node, index, entry)
                for index, entry in enumerate(routes):
                    self.chip.define_route(node, index, entry)
        programs = pipeline.programs()
        for node in nodes:
            self.chip.cores[node].segments[SEGMENT] = pipeline.segment
            batch.core(node).write("WATCHDOG", WATCHDOG)
            batch.core(node).load(programs[node], [pipeline.segment])
        batch.run(nodes)
        for node in nodes:
            batch.core(node).read("FAULT_COUNT")
        batch.dump(nodes)
        batch.save(self.folder, self.batches)
        self.expected.append((nodes, self._model(programs, batch.packets)))
        self.batches += 1

    def _model(self, programs, packets):
        for core in self.chip.cores.values():
            core.trace = Trace()
        results = self.chip.run(programs, packets)
        return results, {node: core.trace for node, core in self.chip.cores.items()}

    def compare(self, build: Path, *, stall: int, settle: int = 0) -> int:
        """Simulate all batches, compare all that they left; vector bytes seen."""
        chip_session.simulate(
            build, self.folder, self.config, sim="icarus", seed=self.seed, batches=self.batches,
            stall=stall, settle=settle,
        )  # fmt: skip
        seen = 0
        for index, (nodes, (results, traces)) in enumerate(self.expected):
            trace = chip_session.read_traces(self.folder, index, self.config)
            for node, core in self.chip.cores.items():
                core.trace = traces[node]
            assert chip_session.compare_chip(trace, self.chip, results) == []
            assert [trace.register(node, "FAULT_COUNT") for node in nodes] == [0] * len(nodes)
            seen += trace.values
        assert chip_session.compare_states(self.folder, index, self.chip, nodes) == []
        return seen


@pytest.mark.parametrize("stall", [0, 128])
@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(2, 8))]
)
def test_random_pipelines(build, tmp_path, seed, stall):
    run, pipeline = Run(PIPELINES, seed, tmp_path), Pipeline(PIPELINES, seed)
    for _ in range(3):
        run.frame(pipeline)
    assert run.compare(build, stall=stall) > 0


@pytest.mark.parametrize("stall", [0, 128])
@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(2, 20))]
)
def test_random_windows(build, tmp_path, seed, stall):
    """Windows of random layers: tiles, cursors, packed rows, pooled blocks, the largest."""
    run, windows = Run(PIPELINES, seed, tmp_path), RandomWindows(PIPELINES, seed)
    for _ in range(3):
        run.frame(windows)
    assert run.compare(build, stall=stall, settle=1000) > 0


@pytest.mark.parametrize(
    ("seed", "stall"),
    [
        (0, 0), (1, 128), (2, 0),
        *(pytest.param(seed, 128 * (seed % 2), marks=pytest.mark.full) for seed in range(3, 20)),
    ],
)  # fmt: skip
def test_random_sums(build, tmp_path, seed, stall):
    """Errors of all positions of random layers, summed by pixel and sent."""
    run, sums = Run(PIPELINES, seed, tmp_path), RandomSums(PIPELINES, seed)
    for _ in range(2):
        run.frame(sums)
    assert run.compare(build, stall=stall, settle=1000) > 0


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
        capsys, tmp_path, "--network", "mlp-48-12-10", "--sim", "icarus", "--images", "10",
        "--test-images", "5",
    )  # fmt: skip
    assert result["images"] == 10


def test_small_chip_trains_in_icarus(capsys, tmp_path):
    """Words of 32 lines: packets of more than two flits."""
    result = simulated(
        capsys, tmp_path, "--network", "mlp-64-14-10", "--sim", "icarus", "--images", "5",
        "--test-images", "2",
    )  # fmt: skip
    check_phases(result, images=5)


@pytest.mark.full
def test_default_chip_trains_in_verilator(capsys, tmp_path):
    """The chip of the recorded epoch; without MNIST on digits enlarged to its format."""
    result = simulated(
        capsys, tmp_path, "--network", "mlp-784-250-10", "--dataset", "digits28", "--images", "60",
        "--test-images", "20",
    )  # fmt: skip
    check_phases(result, images=60)


def check_phases(result, *, images):
    """Every cycle is in one phase."""
    assert result["images"] == images
    phases = {**result["cycles_per_image"]}
    assert phases.pop("total") == pytest.approx(sum(phases.values()), abs=1)


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

    next(stretches)
    pulses = sum(core.programmer.set_pulses for core in trainer.cores)
    assert result["set_pulses"] == pulses
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
