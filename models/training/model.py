# SPDX-License-Identifier: Apache-2.0
"""Golden hardware that does the jobs of a mapping, whatever hardware that is."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import singledispatch
from importlib.util import find_spec
from typing import Any

from phasecore.models.compiler.mapping import Job, Mapping
from phasecore.models.compiler.mapping.convolution import ConvConfig, ConvMapping
from phasecore.models.golden.chip import Chip
from phasecore.models.golden.conv_cores import ConvCores
from phasecore.models.golden.core import Core, Trace
from phasecore.models.golden.packets import Result
from phasecore.models.training.state import Part, core_parts, interface_parts, stream_parts
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import Segment

__all__ = [
    "ALL_ENGINES",
    "ENGINES",
    "ChipModel",
    "ConvModel",
    "CoreModel",
    "Model",
    "engine_classes",
    "make_model",
]

ALL_ENGINES = ("compiled", "reference")
"""What runs programs: machine code or plain numpy, with the same bits."""

ENGINES = ALL_ENGINES if find_spec("numba") else ("reference",)
"""Those that are installed, the default first."""


def engine_classes(engine: str) -> tuple[type[Core], type[Chip], type[ConvCores]]:
    """Core, chip and cores with feature maps of one of ``ENGINES``."""
    if engine not in ALL_ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ALL_ENGINES)}, not {engine!r}")
    if engine == "reference":
        return Core, Chip, ConvCores
    try:
        # Importing the compiler takes a second.
        import numba
    except ImportError as error:
        raise RuntimeError(
            f"engine 'compiled' needs numba ({error}); engine 'reference' does without"
        ) from error
    if numba.config.DISABLE_JIT:
        raise RuntimeError(
            "engine 'compiled' needs numba's compiler, which NUMBA_DISABLE_JIT switches off: unset"
            " it, or take engine 'reference'"
        )
    from phasecore.models.engine.chip import CompiledChip
    from phasecore.models.engine.convolution import CompiledConvCores
    from phasecore.models.engine.core import CompiledCore

    return CompiledCore, CompiledChip, CompiledConvCores


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
        """Write the traces of all cores from now on, which costs the compiled engine some speed."""

    def set_segments(self, segments: dict[int, list[Segment]]) -> None:
        """Write the first segment descriptors of every node named."""
        for node, entries in segments.items():
            self.cores[node].segments[: len(entries)] = entries

    def forget_traces(self) -> None:
        """Empty the traces of all cores."""
        for core in self.cores.values():
            core.trace = Trace()


class CoreModel(Model):
    """A stand-alone core."""

    def __init__(self, mapping: Mapping, seed: int, kind: type[Core]):
        self.core = kind(mapping.config, mapping.profile, seed)
        self.cores = {0: self.core}

    def keep_traces(self) -> None:
        self.core.traced = True

    def run(self, job: Job) -> list[Result]:
        return self.core.run(job.programs[0], job.packets)

    def parts(self) -> Iterator[Part]:
        return core_parts(0, self.core)


class ChipModel(Model):
    """A chip."""

    def __init__(self, mapping: Mapping, chip: ChipConfig, seed: int, kind: type[Chip]):
        self.chip = kind(chip, mapping.profile, seed)
        self.cores = {node: self.chip.cores[node] for node in mapping.nodes}

    def keep_traces(self) -> None:
        self.chip.traced = True

    def run(self, job: Job) -> list[Result]:
        self.chip.define(
            {node: tables.objects for node, tables in job.tables.items()},
            {node: tables.streams for node, tables in job.tables.items()},
        )
        return self.chip.run(job.programs, job.packets)

    def parts(self) -> Iterator[Part]:
        for node, core in self.cores.items():
            yield from core_parts(node, core)
            yield from interface_parts(node, self.chip.interfaces[node])
        yield from stream_parts(self.chip.host)


class ConvModel(Model):
    """Cores with feature maps between them."""

    def __init__(self, mapping: ConvMapping, seed: int, kind: type[ConvCores]):
        self._conv = kind(mapping, seed)
        self.cores = self._conv.cores

    def keep_traces(self) -> None:
        """Products are traced by the reference only."""

    def run(self, job: Job) -> list[Result]:
        return self._conv.run(job)

    def parts(self) -> Iterator[Part]:
        for node, core in self.cores.items():
            yield from core_parts(node, core)


def make_model(mapping: Mapping, seed: int, engine: str = ENGINES[0]) -> Model:
    """Hardware of a mapping; core n of several has ``seed + n``."""
    return _model(mapping.hardware, mapping, seed, engine_classes(engine))


@singledispatch
def _model(hardware: object, mapping: Any, seed: int, kinds: Any) -> Model:
    raise TypeError(f"no golden model of {type(hardware).__name__}")


@_model.register
def _(hardware: CoreConfig, mapping: Any, seed: int, kinds: Any) -> Model:
    return CoreModel(mapping, seed, kinds[0])


@_model.register
def _(hardware: ChipConfig, mapping: Any, seed: int, kinds: Any) -> Model:
    return ChipModel(mapping, hardware, seed, kinds[1])


@_model.register
def _(hardware: ConvConfig, mapping: Any, seed: int, kinds: Any) -> Model:
    return ConvModel(mapping, seed, kinds[2])
