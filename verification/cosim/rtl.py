# SPDX-License-Identifier: Apache-2.0
"""The RTL of a mapping's hardware: its simulation, its batches, its traces beside the model's."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from typing import ClassVar

from phasecore.models.compiler.mapping import Job
from phasecore.models.golden.core import Core
from phasecore.models.golden.packets import Result
from phasecore.models.training.model import ChipModel, CoreModel, Model
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import Segment
from phasecore.rtl.spec.registers.core import events
from phasecore.verification.cosim import chip as chip_session
from phasecore.verification.cosim import core as core_session
from phasecore.verification.cosim.counters import compare_counters
from phasecore.verification.support import build as harness

__all__ = ["Batch", "Comparison", "Rtl", "make_rtl"]

WATCHDOG = 10_000_000
"""Cycles without an instruction after which a core of a chip gives up."""

Counted = Mapping[str, int]


@dataclass
class Batch:
    """A job for the simulator, and what it needs besides."""

    job: Job
    segments: dict[int, list[Segment]]
    nodes: tuple[int, ...]
    is_restored: bool = False
    """Whether the cores take the state of :meth:`Rtl.write_restores` before."""
    is_dumped: bool = True
    """Whether chi and all devices are compared after it."""


@dataclass
class Comparison:
    """What a batch did, beside the model.

    ``values``: codes, vector bytes and pulses compared; ``results``: packets sent; ``counters``:
    registers of every core by node; ``phases``: cycles by phase.
    """

    values: int
    mismatches: list[str]
    results: list[Result]
    counters: dict[int, dict[str, int]]
    phases: dict[str, int]


class Rtl(ABC):
    """RTL in a simulator, beside the golden model of the same hardware."""

    top: ClassVar[str]
    """Name of the simulation's top."""

    phases_add_up: ClassVar[bool]
    """Every cycle is in one phase; otherwise phases are units, which work at the same time."""

    restores: ClassVar[bool]
    """A batch can begin with the state of a checkpoint."""

    has_timeline: ClassVar[bool]
    """It can tell what goes on in every core."""

    @abstractmethod
    def build(self, *, sim: str, waves: bool = False) -> Path:
        """Compile the simulation."""

    @abstractmethod
    def simulate(
        self, build: Path, folder: Path, *, sim: str, seed: int, batches: int, waves: bool = False,
        timeline: bool = False,
    ) -> None:  # fmt: skip
        """Run the simulator on the batches that are, or will be, in ``folder``."""

    @abstractmethod
    def write_macros(self, folder: Path) -> None:
        """Write the initial state of the macros."""

    @abstractmethod
    def save(self, folder: Path, index: int, batch: Batch) -> None:
        """Write the files of batch ``index``."""

    @abstractmethod
    def compare(
        self, folder: Path, index: int, before: Mapping[int, Counted], expected: list[Result], *,
        is_dumped: bool = True,
    ) -> Comparison:  # fmt: skip
        """Compare what the simulator left of a batch with the model that has done it.

        ``before`` are the model's counters of before the batch, by node; ``is_dumped`` as of the
        :class:`Batch`.
        """

    def write_restores(self, folder: Path, model: Model) -> None:
        """Write the state of a model for batches that are restored."""
        raise ValueError(f"{self.top} cannot go on from a state")

    def wave_file(self, folder: Path, sim: str) -> Path:
        """Waveforms of a simulation with ``waves``."""
        path: Path = harness.wave_file(folder, self.top, sim)
        return path


def _write_settings(script: core_session.Batch, core: Core, batch: Batch, node: int) -> None:
    """Registers, program and segments of a core; counters start at 0."""
    script.write("REFRESH_HIGH", core.refresh_high)
    script.write("REFRESH_LOW", core.refresh_low)
    script.write("CONTROL", 4)
    script.load(batch.job.programs[node], batch.segments[node])


def _registers(config: CoreConfig) -> list[str]:
    """What is read of a core after a batch."""
    return ["FAULT_COUNT", *(event.register for event in events(config))]


class CoreRtl(Rtl):
    """A stand-alone core."""

    top = "core_top"
    phases_add_up = False
    restores = False
    has_timeline = False

    def __init__(self, model: CoreModel):
        self._core = model.core
        self._config = model.core.config

    def build(self, *, sim: str, waves: bool = False) -> Path:
        path: Path = core_session.build_top(self._config, sim=sim, waves=waves)
        return path

    def simulate(
        self, build: Path, folder: Path, *, sim: str, seed: int, batches: int, waves: bool = False,
        timeline: bool = False,
    ) -> None:  # fmt: skip
        core_session.simulate(
            build, folder, self._config, sim=sim, seed=seed, batches=batches, waves=waves
        )

    def write_macros(self, folder: Path) -> None:
        core_session.write_macro(folder, self._core)

    def save(self, folder: Path, index: int, batch: Batch) -> None:
        script = core_session.Batch(self._config, packets=batch.job.packets)
        _write_settings(script, self._core, batch, 0)
        script.run()
        script.read(*_registers(self._config))
        if batch.is_dumped:
            script.dump()
        script.save(folder, index)

    def compare(
        self, folder: Path, index: int, before: Mapping[int, Counted], expected: list[Result], *,
        is_dumped: bool = True,
    ) -> Comparison:  # fmt: skip
        config, core = self._config, self._core
        trace = core_session.read_trace(folder / f"trace_{index}.txt", config)
        counted = {name: trace.register(config, name) for name in _registers(config)}
        mismatches = core_session.compare(trace, core.trace, expected, config.lines)
        if is_dumped:
            mismatches += core_session.compare_state(folder, index, core)
        mismatches += compare_counters(core, before[0], counted)
        units = {
            "total": "cycles", "window": "window", "post_processing": "post_busy",
            "update": "update_busy", "programming": "programmer_busy", "load": "load_busy",
            "read": "read_busy",
        }  # fmt: skip
        phases = {name: counted[f"COUNT_{event.upper()}"] for name, event in units.items()}
        values = len(trace.codes) + len(trace.bytes) + len(trace.devices)
        return Comparison(values, mismatches, trace.results, {0: counted}, phases)


class ChipRtl(Rtl):
    """Cores on a mesh, and the host that feeds them."""

    top = "chip_top"
    phases_add_up = True
    restores = True
    has_timeline = True

    def __init__(self, model: ChipModel):
        self._chip, self._cores = model.chip, model.cores
        self._config = model.chip.config

    def build(self, *, sim: str, waves: bool = False) -> Path:
        path: Path = chip_session.build_top(self._config, sim=sim, waves=waves)
        return path

    def simulate(
        self, build: Path, folder: Path, *, sim: str, seed: int, batches: int, waves: bool = False,
        timeline: bool = False,
    ) -> None:  # fmt: skip
        chip_session.simulate(
            build, folder, self._config, sim=sim, seed=seed, batches=batches, waves=waves,
            timeline=timeline,
        )  # fmt: skip

    def write_macros(self, folder: Path) -> None:
        chip_session.write_macros(folder, self._chip)

    def write_restores(self, folder: Path, model: Model) -> None:
        for node, core in model.cores.items():
            core_session.write_restore(folder, node, core)

    def script(self, batch: Batch) -> chip_session.ChipBatch:
        """What the host writes and sends for a batch, to where all programs have halted."""
        script, nodes = chip_session.ChipBatch(self._config, batch.job.packets), batch.nodes
        if batch.is_restored:
            script.restore(nodes)
        for node in nodes:
            _write_settings(script.core(node), self._cores[node], batch, node)
            script.core(node).write("WATCHDOG", WATCHDOG)
        for node, tables in batch.job.tables.items():
            script.define(node, tables.objects, tables.routes)
        for node, parts in batch.job.memory.items():
            for address, data in parts:
                script.core(node).write_memory(address, data)
        script.run(nodes)
        return script

    def save(self, folder: Path, index: int, batch: Batch) -> None:
        script = self.script(batch)
        for node in batch.nodes:
            script.core(node).read(*_registers(self._config.core))
        if batch.is_dumped:
            script.dump(batch.nodes)
        script.save(folder, index)

    def compare(
        self, folder: Path, index: int, before: Mapping[int, Counted], expected: list[Result], *,
        is_dumped: bool = True,
    ) -> Comparison:  # fmt: skip
        trace = chip_session.read_traces(folder, index, self._config)
        mismatches = chip_session.compare_chip(trace, self._chip, expected)
        if is_dumped:
            nodes = list(self._cores)
            mismatches += chip_session.compare_states(folder, index, self._chip, nodes)
        names, counters = _registers(self._config.core), {}
        for node, core in self._cores.items():
            counters[node] = {name: trace.register(node, name) for name in names}
            found = compare_counters(core, before[node], counters[node])
            mismatches += [f"core {node}: {text}" for text in found]
        phases = {"total": sum(trace.host.phases.values()), **trace.host.phases}
        return Comparison(trace.values, mismatches, trace.host.results, counters, phases)


@singledispatch
def make_rtl(model: object) -> Rtl:
    """RTL of the hardware that a golden model is of."""
    raise TypeError(f"no RTL of {type(model).__name__}")


@make_rtl.register
def _(model: CoreModel) -> Rtl:
    return CoreRtl(model)


@make_rtl.register
def _(model: ChipModel) -> Rtl:
    return ChipRtl(model)
