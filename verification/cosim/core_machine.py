# SPDX-License-Identifier: Apache-2.0
"""What ``phasecore simulate`` trains, as RTL and as golden model: here a stand-alone core.

A machine turns images into work, writes the work as a batch for the simulator and, when that has
done it, runs the golden model on the same and compares.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.mapping import Work
from phasecore.models.compiler.network import (
    Network,
    Recipe,
    inference_packets,
    inference_program,
    setup_packets,
    setup_program,
    training_packets,
    training_program,
)
from phasecore.models.engine.core import CompiledCore
from phasecore.models.golden.core import Core, Trace
from phasecore.models.golden.device import DeviceProfile
from phasecore.models.golden.packets import Result
from phasecore.models.training.learner import set_refresh
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import Segment
from phasecore.rtl.spec.registers.core import events
from phasecore.verification.cosim import core as core_session
from phasecore.verification.cosim.random_programs import COUNTERS
from phasecore.verification.support import build as harness

__all__ = [
    "Checked",
    "CoreMachine",
    "Images",
    "Machine",
    "Stretch",
    "codes",
    "compare_counters",
    "counter_names",
]

Images = NDArray[np.uint8]


@dataclass
class Stretch:
    """One batch: what the machine does, and what it is for."""

    kind: str
    """``setup``, ``train`` or ``test``."""
    work: Work
    segments: Mapping[int, list[Segment]]
    eta: float
    images: Images
    labels: NDArray[np.uint8]
    restored: Mapping[str, Any] | None = None
    """State of the cores (``Learner.state``) that is put in place before the batch."""


@dataclass
class Checked:
    """Comparison of one batch.

    ``outputs``: output vectors of ``rtl`` and ``model``, one per image; ``counters``: the
    performance counters, summed over the cores; ``phases``: cycles by phase.
    """

    values: int
    mismatches: list[str]
    outputs: dict[str, list[NDArray[np.int8]]]
    counters: dict[str, int]
    phases: dict[str, int]


class Machine(ABC):
    """Hardware and golden model of one network.

    Attributes
    ----------
    cores : golden cores by node
    config : what the result file names
    """

    top: ClassVar[str]
    """Name of the simulation's top."""

    phases_add_up: ClassVar[bool]
    """Every cycle is in one phase; otherwise phases are units, which work at the same time."""

    network: Network
    recipe: Recipe
    config: CoreConfig | ChipConfig
    cores: dict[int, Core]

    @abstractmethod
    def setup(self) -> Work:
        """What is done once."""

    @abstractmethod
    def training(self, images: Images, labels: NDArray[np.uint8]) -> Work:
        """Learn ``images`` in order, then refresh; the outputs of all are sent."""

    @abstractmethod
    def inference(self, images: Images) -> Work:
        """Send the outputs of ``images``."""

    @abstractmethod
    def segments(self, eta: float) -> dict[int, list[Segment]]:
        """Segment descriptors of every core for one learning rate."""

    @abstractmethod
    def weights(self) -> list[NDArray[np.float64]]:
        """Weights of every layer, bias last, as they are now."""

    @abstractmethod
    def build(self, *, sim: str, waves: bool) -> Path:
        """Compile the simulation."""

    @abstractmethod
    def simulate(
        self, build: Path, folder: Path, *, sim: str, seed: int, batches: int, waves: bool
    ) -> None:
        """Run the simulator on the batches that are, or will be, in ``folder``."""

    @abstractmethod
    def write_macros(self, folder: Path) -> None:
        """Write the initial state of the macros."""

    @abstractmethod
    def save(self, folder: Path, index: int, stretch: Stretch) -> None:
        """Write the files of batch ``index``."""

    @abstractmethod
    def run_model(self, stretch: Stretch) -> list[Result]:
        """Do a batch in the model, whose traces are then of this batch."""

    @abstractmethod
    def check(self, folder: Path, index: int, stretch: Stretch) -> Checked:
        """Do batch ``index`` in the model and compare what the simulator left in ``folder``."""

    def bounds(self, counters: Mapping[str, float]) -> dict[str, float]:
        """Least cycles per training image of phases that add up; see the chip's."""
        return {}

    def wave_file(self, folder: Path, sim: str) -> Path:
        """Waveforms of a simulation with ``waves``."""
        path: Path = harness.wave_file(folder, self.top, sim)
        return path

    def _settings(self, batch: core_session.Batch, node: int, stretch: Stretch) -> None:
        """Registers, program and segments of a core; counters start at 0."""
        core = self.cores[node]
        batch.write("REFRESH_HIGH", core.refresh_high)
        batch.write("REFRESH_LOW", core.refresh_low)
        batch.write("CONTROL", 4)
        batch.load(stretch.work.programs[node], stretch.segments[node])

    def _prepare(self, stretch: Stretch) -> None:
        """Segments of a batch, and empty traces."""
        for node, segments in stretch.segments.items():
            self.cores[node].segments[: len(segments)] = segments
        for core in self.cores.values():
            core.trace = Trace()

    def _counters(self) -> dict[int, dict[str, int]]:
        """What the golden cores have counted so far, by node."""
        return {
            node: {name: value(core) for name, value in COUNTERS.items()}
            for node, core in self.cores.items()
        }


def counter_names(config: CoreConfig) -> list[str]:
    return [f"COUNT_{event.name.upper()}" for event in events(config)]


def compare_counters(
    core: Core, before: Mapping[str, int], counted: Mapping[str, int]
) -> list[str]:
    """Mismatches of the counters that the model has, too, and any error of the core."""
    mismatches = ["the core counted errors"] if counted["ERROR_COUNT"] else []
    for name, value in COUNTERS.items():
        due = value(core) - before[name]
        if counted[name] != due:
            mismatches.append(f"{name}: got {counted[name]}, expected {due}")
    return mismatches


class CoreMachine(Machine):
    """A stand-alone core, node 0."""

    top = "core_top"
    phases_add_up = False

    def __init__(self, network: Network, config: CoreConfig, profile: DeviceProfile, seed: int):
        self.network, self.config = network, config
        self._config = config
        self.recipe = Recipe(network, config, profile)
        self._core = CompiledCore(config, profile, seed)
        self._core.traced = True
        self.cores = {0: self._core}
        set_refresh(self.cores.values(), network)

    def setup(self) -> Work:
        return Work({0: setup_program(self.recipe)}, setup_packets(self.recipe))

    def training(self, images: Images, labels: NDArray[np.uint8]) -> Work:
        program = training_program(
            self.recipe, len(images), refresh_interval=len(images), read=True
        )
        return Work({0: program}, training_packets(self.recipe, images, labels))

    def inference(self, images: Images) -> Work:
        program = inference_program(self.recipe, len(images))
        return Work({0: program}, inference_packets(self.recipe, images))

    def segments(self, eta: float) -> dict[int, list[Segment]]:
        return {0: self.recipe.segments(eta)}

    def weights(self) -> list[NDArray[np.float64]]:
        return self.recipe.weights(self._core.crossbar.weights)

    def build(self, *, sim: str, waves: bool = False) -> Path:
        path: Path = core_session.build_top(self._config, sim=sim, waves=waves)
        return path

    def simulate(
        self, build: Path, folder: Path, *, sim: str, seed: int, batches: int, waves: bool = False
    ) -> None:
        core_session.simulate(
            build, folder, self._config, sim=sim, seed=seed, batches=batches, waves=waves
        )

    def write_macros(self, folder: Path) -> None:
        core_session.write_macro(folder, self._core)

    def save(self, folder: Path, index: int, stretch: Stretch) -> None:
        batch = core_session.Batch(self._config, packets=stretch.work.packets)
        self._settings(batch, 0, stretch)
        batch.run()
        batch.read("ERROR_COUNT", *counter_names(self._config))
        batch.dump()
        batch.save(folder, index)

    def run_model(self, stretch: Stretch) -> list[Result]:
        self._prepare(stretch)
        return self._core.run(stretch.work.programs[0], stretch.work.packets)

    def check(self, folder: Path, index: int, stretch: Stretch) -> Checked:
        config, core = self._config, self._core
        before = self._counters()[0]
        expected = self.run_model(stretch)
        trace = core_session.read_trace(folder / f"trace_{index}.txt", config)
        counted = {
            name: trace.register(config, name) for name in ("ERROR_COUNT", *counter_names(config))
        }
        mismatches = core_session.compare(trace, core.trace, expected, config.lines)
        mismatches += core_session.compare_state(folder, index, core)
        mismatches += compare_counters(core, before, counted)
        counters = {event.name: counted[f"COUNT_{event.name.upper()}"] for event in events(config)}
        phases = {
            "total": "cycles", "window": "window", "post_processing": "post_busy",
            "update": "update_busy", "programming": "programmer_busy", "load": "load_busy",
            "read": "store_busy",
        }  # fmt: skip
        return Checked(
            len(trace.codes) + len(trace.bytes) + len(trace.devices), mismatches,
            {"rtl": codes(trace.results), "model": codes(expected)}, counters,
            {name: counters[event] for name, event in phases.items()},
        )  # fmt: skip


def codes(results: list[Result]) -> list[NDArray[np.int8]]:
    return [result.codes for result in results]
