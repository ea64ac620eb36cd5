# SPDX-License-Identifier: Apache-2.0
"""Golden hardware that does the jobs of a mapping, whatever hardware that is."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import singledispatch
from typing import Any, NamedTuple

from phasecore.models.compiler.mapping import Job, Mapping
from phasecore.models.golden.chip import Chip
from phasecore.models.golden.core import Core
from phasecore.models.golden.packets import Result
from phasecore.models.training.state import Part, core_parts, interface_parts, route_parts
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import Segment

__all__ = ["ChipModel", "CoreModel", "Kinds", "Model", "make_model"]


class Kinds(NamedTuple):
    """Classes of the hardware that jobs run on."""

    core: Any = Core
    chip: Any = Chip


class Model(ABC):
    """Golden hardware of a mapping.

    Attributes
    ----------
    cores : those in use by node, in the mapping's order
    """

    cores: dict[int, Core]

    @abstractmethod
    def run(self, job: Job) -> list[Result]:
        """Do a job; the packets that it sends."""

    @abstractmethod
    def parts(self) -> Iterator[Part]:
        """Everything that outlives a job."""

    @abstractmethod
    def keep_traces(self) -> None:
        """Write the traces of all cores from now on, which costs some speed."""

    def set_segments(self, segments: dict[int, list[Segment]]) -> None:
        """Write the first segment descriptors of every node named."""
        for node, entries in segments.items():
            self.cores[node].segments[: len(entries)] = entries

    def forget_traces(self) -> None:
        """Empty the traces of all cores."""
        for core in self.cores.values():
            core.trace = type(core.trace)()


class CoreModel(Model):
    """A stand-alone core."""

    def __init__(self, mapping: Mapping, seed: int, kind: Any):
        self.core: Core = kind(mapping.config, mapping.profile, seed)
        self.core.traced = False
        self.cores = {0: self.core}

    def keep_traces(self) -> None:
        self.core.traced = True

    def run(self, job: Job) -> list[Result]:
        return self.core.run(job.programs[0], job.packets)

    def parts(self) -> Iterator[Part]:
        return core_parts(0, self.core)


class ChipModel(Model):
    """A chip."""

    def __init__(self, mapping: Mapping, chip: ChipConfig, seed: int, kind: Any):
        self.chip: Chip = kind(chip, mapping.profile, seed)
        self.chip.traced = False
        self.cores = {node: self.chip.cores[node] for node in mapping.nodes}

    def keep_traces(self) -> None:
        self.chip.traced = True

    def run(self, job: Job) -> list[Result]:
        for node, tables in job.tables.items():
            for index, entry in enumerate(tables.objects):
                self.chip.define_object(node, index, entry)
            for index, route in enumerate(tables.routes):
                self.chip.define_route(node, index, route)
        for node, parts in job.memory.items():
            for address, data in parts:
                self.chip.cores[node].write_memory(address, data)
        return self.chip.run(job.programs, job.packets)

    def parts(self) -> Iterator[Part]:
        for node, core in self.cores.items():
            yield from core_parts(node, core)
            yield from interface_parts(node, self.chip.interfaces[node])
        yield from route_parts(self.chip.host)


def make_model(mapping: Mapping, seed: int, kinds: Kinds | None = None) -> Model:
    """Hardware of a mapping; core n of several has ``seed + n``. ``kinds``: other classes."""
    return _model(mapping.hardware, mapping, seed, kinds or Kinds())


@singledispatch
def _model(hardware: object, mapping: Any, seed: int, kinds: Kinds) -> Model:
    raise TypeError(f"no golden model of {type(hardware).__name__}")


@_model.register
def _(hardware: CoreConfig, mapping: Any, seed: int, kinds: Kinds) -> Model:
    return CoreModel(mapping, seed, kinds.core)


@_model.register
def _(hardware: ChipConfig, mapping: Any, seed: int, kinds: Kinds) -> Model:
    return ChipModel(mapping, hardware, seed, kinds.chip)
