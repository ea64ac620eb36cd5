# SPDX-License-Identifier: Apache-2.0
"""A chip as ``phasecore simulate`` trains it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.mapping import ChipMapping, Driver, Work
from phasecore.models.compiler.network import ChipNetwork, Recipe
from phasecore.models.engine.chip import CompiledChip
from phasecore.models.golden.chip import Chip
from phasecore.models.golden.device import DeviceProfile
from phasecore.models.golden.packets import Result
from phasecore.models.training.learner import restore_cores, set_refresh
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import GROUP, Segment
from phasecore.rtl.spec.messages import LINES_PER_FLIT, PAYLOAD_FLITS, MessageKind
from phasecore.rtl.spec.registers.core import events
from phasecore.verification.cosim import chip as chip_session
from phasecore.verification.cosim.core_machine import (
    Checked,
    Images,
    Machine,
    Stretch,
    compare_counters,
    counter_names,
)

__all__ = ["ChipMachine"]

WATCHDOG = 10_000_000
"""Cycles without an instruction after which a core gives up."""


class ChipMachine(Machine):
    """Cores on a mesh, and the host that feeds them."""

    top = "chip_top"
    phases_add_up = True

    def __init__(self, network: ChipNetwork, config: ChipConfig, profile: DeviceProfile, seed: int):
        self.network, self.config = network, config
        self._config = config
        self.recipe = Recipe(network, config.core, profile)
        self.mapping = ChipMapping(self.recipe, config)
        self._driver = Driver(self.mapping)
        self.chip = CompiledChip(config, profile, seed)
        self.chip.traced = True
        self._profile, self._seed = profile, seed
        self.cores = {node: self.chip.cores[node] for node in self.mapping.nodes}
        set_refresh(self.cores.values(), network)

    def setup(self) -> Work:
        return self._driver.setup()

    def training(self, images: Images, labels: NDArray[np.uint8]) -> Work:
        return self._driver.training(images, labels, refresh=True, read=True)

    def inference(self, images: Images) -> Work:
        return self._driver.inference(images)

    def segments(self, eta: float) -> dict[int, list[Segment]]:
        return self.mapping.segments(eta)

    def weights(self) -> list[NDArray[np.float64]]:
        return self.mapping.weights(
            {node: core.crossbar.weights for node, core in self.cores.items()}
        )

    def build(self, *, sim: str, waves: bool = False) -> Path:
        path: Path = chip_session.build_top(self._config, sim=sim, waves=waves)
        return path

    def simulate(
        self, build: Path, folder: Path, *, sim: str, seed: int, batches: int, waves: bool = False
    ) -> None:
        chip_session.simulate(
            build, folder, self._config, sim=sim, seed=seed, batches=batches, waves=waves
        )

    def write_macros(self, folder: Path) -> None:
        chip_session.write_macros(folder, self.chip)

    def save(self, folder: Path, index: int, stretch: Stretch) -> None:
        batch = chip_session.ChipBatch(self._config, stretch.work.packets)
        if stretch.restored is not None:
            chip = Chip(self._config, self._profile, self._seed)
            restore_cores({node: chip.cores[node] for node in self.cores}, stretch.restored)
            chip_session.write_restores(folder, chip, list(self.cores))
            batch.restore(list(self.cores))
        for node in self.cores:
            self._settings(batch.core(node), node, stretch)
            batch.core(node).write("WATCHDOG", WATCHDOG)
        if stretch.kind == "setup":
            for node, objects in self.mapping.objects.items():
                batch.define(node, objects, self.mapping.streams[node])
        batch.run(list(self.cores))
        for node in self.cores:
            batch.core(node).read("ERROR_COUNT", *counter_names(self._config.core))
        batch.dump(list(self.cores))
        batch.save(folder, index)

    def run_model(self, stretch: Stretch) -> list[Result]:
        self._prepare(stretch)
        if stretch.kind == "setup":
            self.chip.define(self.mapping.objects, self.mapping.streams)
        return self.chip.run(stretch.work.programs, stretch.work.packets)

    def check(self, folder: Path, index: int, stretch: Stretch) -> Checked:
        if stretch.restored is not None:
            restore_cores(self.cores, stretch.restored)
        before = self._counters()
        expected = self.run_model(stretch)
        trace = chip_session.read_traces(folder, index, self._config)
        mismatches = chip_session.compare_chip(trace, self.chip, expected)
        mismatches += chip_session.compare_states(folder, index, self.chip, list(self.cores))
        names = ["ERROR_COUNT", *counter_names(self._config.core)]
        counters = {event.name: 0 for event in events(self._config.core)}
        for node, core in self.cores.items():
            counted = {name: trace.register(node, name) for name in names}
            found = compare_counters(core, before[node], counted)
            mismatches += [f"core {node}: {text}" for text in found]
            for event in counters:
                counters[event] += counted[f"COUNT_{event.upper()}"]
        phases = {"total": sum(trace.host.phases.values()), **trace.host.phases}
        return Checked(
            trace.values, mismatches,
            {name: self.mapping.outputs(of) for name, of in
             (("rtl", trace.host.results), ("model", expected))},
            counters, phases,
        )  # fmt: skip

    def bounds(self, counters: Mapping[str, float]) -> dict[str, float]:
        """Least cycles per training image that a phase's work takes at the hardware's full rate.

        - window: one forward product per layer and one backward product per layer but the first;
          tiles work at the same time.
        - post_processing: words of ``post_lanes`` lines of every result, one per cycle.
        - partial_sums: flits of the hidden layer's sums, heads included, through one port; the
          chain adds on the way.
        - transfer: flits of the hidden layer's error vector, a multicast.
        - update: chi words, one per cycle, of the average core.

        What of this an earlier phase hides is counted there, so a phase can be below its bound.
        """
        core, fabric, network = self._config.core, self._config.fabric, self.network
        layers = network.layers
        hidden = [layer.outputs for layer in layers[:-1]]
        words = [-(-outputs // core.post_lanes) for outputs in hidden]
        last = -(-layers[-1].outputs // core.post_lanes)
        # The tiles' sums, then ACTIVATE and ERROR of every layer.
        passes = words[0] + 2 * sum(words) + 2 * last
        lines = hidden[0]
        sums = -(-lines // LINES_PER_FLIT[MessageKind.PARTIAL])
        return {
            "window": (2 * len(layers) - 1) * core.window_cycles,
            "post_processing": passes,
            "partial_sums": sums + -(-sums // PAYLOAD_FLITS),
            "transfer": multicast_flits(lines, core, fabric.depth - 1),
            "update": counters["chi_blocks"] / len(self.cores),
        }


def multicast_flits(lines: int, core: CoreConfig, payload: int) -> int:
    """Flits of a vector of which no packet has more than ``payload`` or crosses a word."""
    flits = 0
    for start in range(0, lines, core.post_lanes):
        data = -(-min(core.post_lanes, lines - start) // GROUP)
        flits += data + -(-data // min(payload, PAYLOAD_FLITS))
    return flits
