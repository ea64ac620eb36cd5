# SPDX-License-Identifier: Apache-2.0
"""A golden core, or a golden chip, that learns images: programs, packets and state in one place."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.convolution import ConvNetwork
from phasecore.models.compiler.mapping import ChipMapping, Driver, Work
from phasecore.models.compiler.network import (
    ChipNetwork,
    Network,
    Recipe,
    Training,
    inference_packets,
    inference_program,
    setup_packets,
    setup_program,
    training_packets,
    training_program,
)
from phasecore.models.golden.chip import Chip
from phasecore.models.golden.conv_cores import ConvCores
from phasecore.models.golden.core import Core, Trace
from phasecore.models.golden.device import STUCK, DeviceProfile
from phasecore.models.golden.local_control import CREDITS_MAX
from phasecore.models.training.datasets import order
from phasecore.rtl.spec.core import EXPONENT_BITS, CoreConfig
from phasecore.rtl.spec.instructions import Drift, Opcode, encode

__all__ = [
    "ALL_ENGINES",
    "ENGINES",
    "ChipLearner",
    "ConvLearner",
    "CoreLearner",
    "Learner",
    "check_cores",
    "engine_classes",
    "make_learner",
    "restore_cores",
    "set_refresh",
    "stretches",
]

ALL_ENGINES = ("compiled", "reference")
"""What runs programs: machine code or plain numpy, with the same bits."""

ENGINES = ALL_ENGINES if find_spec("numba") else ("reference",)
"""Those that are installed, the default first."""

Images = NDArray[np.uint8]
Vectors = list[NDArray[np.int8]]

_CORE_STATE = {
    "crossbar": (
        "g", "n", "e", "t", "resets", "time", "windows", "set_pulses", "reset_pulses",
    ),
    "adc": ("offsets", "gains", "drift_baseline", "drift_scale"),
    "update": ("chi", "chi_saturations", "transfer_saturations"),
    "programmer": ("selection", "dirty", "set_pulses", "reset_pulses", "refreshed", "unverified"),
}  # fmt: skip
"""Attributes of a core's blocks that outlive an instruction."""

_INTERFACE_STATE = {
    "local": ("arrived", "dead", "row", "col", "position", "lines"),
    "streams": ("credits",),
}
"""Likewise of its network interface."""

_COUNT_MAX = 2**63 - 1


def engine_classes(engine: str) -> tuple[type[Core], type[Chip]]:
    """Core and chip of one of ``ENGINES``."""
    if engine not in ALL_ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ALL_ENGINES)}, not {engine!r}")
    if engine == "reference":
        return Core, Chip
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
    from phasecore.models.engine.core import CompiledCore

    return CompiledCore, CompiledChip


class Learner(ABC):
    """Hardware model of one network, set up and ready to learn.

    Parameters
    ----------
    network, config, profile, seed : ``config`` is that of the core, or of each of them
    engine : one of ``ENGINES``

    Attributes
    ----------
    recipe : of the network
    cores : all cores in use
    """

    recipe: Recipe
    cores: list[Core]

    @abstractmethod
    def set_rate(self, eta: float) -> None:
        """Learning rate from now on."""

    @abstractmethod
    def weights(self) -> list[NDArray[np.float64]]:
        """Weights of every layer, bias last."""

    @abstractmethod
    def learn(self, images: Images, labels: NDArray[np.uint8]) -> Vectors:
        """Learn images in order, then refresh; the output of each before it was learnt."""

    @abstractmethod
    def infer(self, images: Images) -> Vectors:
        """Outputs of images."""

    @abstractmethod
    def calibrate(self, drift: str | None = None) -> None:
        """Calibrate the converters of all cores.

        ``drift``: "baseline" remembers what each array conducts, "compensate" scales its gains by
        what it has lost since, None takes the scale back.
        """

    @abstractmethod
    def _parts(self) -> Iterator[tuple[str, object, tuple[str, ...]]]:
        """Name, object and attributes of everything that outlives a program."""

    def state(self) -> dict[str, Any]:
        """Values of everything that outlives a program, by name."""
        return {
            f"{part}.{name}": getattr(owner, name)
            for part, owner, names in self._parts()
            for name in names
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take the arrays that were made of :meth:`state`.

        Raises ``ValueError``, and changes nothing, where one is missing or none that this hardware
        could have left.
        """
        _take(self._parts(), state, self.recipe.config)
        for core in self.cores:
            core.crossbar.refresh_weights()

    def _prepare(self, network: Network) -> None:
        """Registers of the cores."""
        set_refresh(self.cores, network)
        self.set_rate(network.training.eta)

    def _forget_traces(self) -> None:
        for core in self.cores:
            core.trace = Trace()


class CoreLearner(Learner):
    """A stand-alone core."""

    def __init__(
        self, network: Network, config: CoreConfig, profile: DeviceProfile, seed: int,
        engine: str = ENGINES[0],
    ):  # fmt: skip
        self.recipe = Recipe(network, config, profile)
        self._core = engine_classes(engine)[0](config, profile, seed)
        self.cores = [self._core]
        self._prepare(network)
        self._run(setup_program(self.recipe), setup_packets(self.recipe))

    def set_rate(self, eta: float) -> None:
        segments = self.recipe.segments(eta)
        self._core.segments[: len(segments)] = segments

    def weights(self) -> list[NDArray[np.float64]]:
        return self.recipe.weights(self._core.crossbar.weights)

    def learn(self, images: Images, labels: NDArray[np.uint8]) -> Vectors:
        program = training_program(
            self.recipe, len(images), refresh_interval=len(images), read=True
        )
        return self._run(program, training_packets(self.recipe, images, labels))

    def infer(self, images: Images) -> Vectors:
        program = inference_program(self.recipe, len(images))
        return self._run(program, inference_packets(self.recipe, images))

    def calibrate(self, drift: str | None = None) -> None:
        self._run(_calibration(drift), [])

    def _run(self, program: list[int], packets: list[bytes]) -> Vectors:
        results = self._core.run(program, packets)
        self._forget_traces()
        return [result.codes for result in results]

    def _parts(self) -> Iterator[tuple[str, object, tuple[str, ...]]]:
        return _core_parts("core", self._core)


class ChipLearner(Learner):
    """Cores of a chip: the network's with another core."""

    def __init__(
        self, network: ChipNetwork, config: CoreConfig, profile: DeviceProfile, seed: int,
        engine: str = ENGINES[0],
    ):  # fmt: skip
        self.recipe = Recipe(network, config, profile)
        self._mapping = ChipMapping(self.recipe)
        self._driver = Driver(self._mapping)
        self._chip = engine_classes(engine)[1](self._mapping.chip, profile, seed)
        self.cores = [self._chip.cores[node] for node in self._mapping.nodes]
        self._chip.define(self._mapping.objects, self._mapping.streams)
        self._prepare(network)
        self._run(self._driver.setup())

    def set_rate(self, eta: float) -> None:
        for node, segments in self._mapping.segments(eta).items():
            self._chip.cores[node].segments[: len(segments)] = segments

    def weights(self) -> list[NDArray[np.float64]]:
        cores = self._chip.cores
        return self._mapping.weights(
            {node: cores[node].crossbar.weights for node in self._mapping.nodes}
        )

    def learn(self, images: Images, labels: NDArray[np.uint8]) -> Vectors:
        return self._run(self._driver.training(images, labels, refresh=True, read=True))

    def infer(self, images: Images) -> Vectors:
        return self._run(self._driver.inference(images))

    def calibrate(self, drift: str | None = None) -> None:
        self._chip.run(dict.fromkeys(self._mapping.nodes, _calibration(drift)))
        self._forget_traces()

    def _run(self, work: Work) -> Vectors:
        results = self._chip.run(work.programs, work.packets)
        self._forget_traces()
        return self._mapping.outputs(results)

    def _parts(self) -> Iterator[tuple[str, object, tuple[str, ...]]]:
        chip = self._chip
        for node in self._mapping.nodes:
            yield from _core_parts(f"core{node}", chip.cores[node])
            for part, names in _INTERFACE_STATE.items():
                yield f"core{node}.{part}", getattr(chip.interfaces[node], part), names
        yield "host.streams", chip.host.streams, _INTERFACE_STATE["streams"]
        yield "driver", self._driver, ("images", "targets")


class ConvLearner(Learner):
    """A convolutional network's cores and what lies between them."""

    def __init__(
        self, network: ConvNetwork, config: CoreConfig, profile: DeviceProfile, seed: int,
        engine: str = ENGINES[0],
    ):  # fmt: skip
        self._conv = _conv_class(engine)(network, config, profile, seed)
        self.recipe, self.cores = self._conv.recipe, self._conv.cores
        self._targets = network.training.targets(network.layers[-1].outputs)
        self._prepare(network)

    def set_rate(self, eta: float) -> None:
        self._conv.set_rate(eta)

    def weights(self) -> list[NDArray[np.float64]]:
        return self._conv.weights()

    def learn(self, images: Images, labels: NDArray[np.uint8]) -> Vectors:
        outputs = self._conv.learn(images, self._targets[labels])
        self._conv.refresh()
        return outputs

    def infer(self, images: Images) -> Vectors:
        return self._conv.infer(images)

    def calibrate(self, drift: str | None = None) -> None:
        for core in self.cores:
            core.run(_calibration(drift))
        self._forget_traces()

    def _parts(self) -> Iterator[tuple[str, object, tuple[str, ...]]]:
        for number, core in enumerate(self.cores):
            yield from _core_parts(f"core{number}", core)


def _conv_class(engine: str) -> type[ConvCores]:
    """Convolutional cores of one of ``ENGINES``."""
    if engine_classes(engine)[0] is Core:
        return ConvCores
    from phasecore.models.engine.convolution import CompiledConvCores

    return CompiledConvCores


def _calibration(drift: str | None) -> list[int]:
    """Program that calibrates; ``ValueError`` for an unknown ``drift``."""
    names = {None: Drift.NONE, "baseline": Drift.BASELINE, "compensate": Drift.COMPENSATE}
    if drift not in names:
        raise ValueError(f"drift must be None, baseline or compensate, not {drift!r}")
    return [encode(Opcode.CALIBRATE, drift=names[drift]), encode(Opcode.HALT)]


def _core_parts(name: str, core: Core) -> Iterator[tuple[str, object, tuple[str, ...]]]:
    yield name, core, ("slots", "exponents")
    for part, names in _CORE_STATE.items():
        yield f"{name}.{part}", getattr(core, part), names


def _ranges(config: CoreConfig) -> Mapping[str, tuple[int, int]]:
    """Least and greatest values of what is no plain count."""

    def signed(bits: int) -> tuple[int, int]:
        return -(1 << (bits - 1)), (1 << (bits - 1)) - 1

    def unsigned(bits: int) -> tuple[int, int]:
        return 0, (1 << bits) - 1

    return {
        "slots": signed(config.output_bits), "exponents": signed(EXPONENT_BITS),
        "crossbar.g": unsigned(config.g_bits), "crossbar.n": (0, STUCK),
        "crossbar.t": unsigned(32), "crossbar.time": unsigned(32),
        "adc.offsets": signed(config.calibration_offset_bits),
        "adc.gains": unsigned(config.gain_bits),
        "adc.drift_scale": unsigned(config.drift_scale_bits),
        "update.chi": signed(config.chi_bits),
        "programmer.selection": (0, config.devices_per_polarity - 1),
        "local.arrived": signed(32), "streams.credits": (0, CREDITS_MAX),
    }  # fmt: skip


def _checked(
    name: str, state: Mapping[str, NDArray[Any]], old: object, low: int, high: int
) -> NDArray[Any]:
    """Array of ``state`` in the place of ``old``; ``ValueError`` if it is none."""
    if name not in state:
        raise ValueError(f"{name} is missing")
    found, present = state[name], np.asarray(old)
    if found.shape != present.shape:
        raise ValueError(f"{name} has shape {found.shape}, not {present.shape}")
    if found.dtype.kind not in ("b" if present.dtype.kind == "b" else "iu"):
        raise ValueError(f"{name} has type {found.dtype}, not {present.dtype}")
    for value in (found.min(), found.max()) if found.size else ():
        if not low <= value <= high:
            raise ValueError(f"{name} has a value {value}, outside {low}..{high}")
    return found


def _take(
    parts: Iterable[tuple[str, object, tuple[str, ...]]], state: Mapping[str, NDArray[Any]],
    config: CoreConfig,
) -> None:  # fmt: skip
    """Give parts what is stored of them, once all of it is checked."""
    for owner, name, old, value in _checked_parts(parts, state, config):
        if isinstance(old, np.ndarray):
            old[...] = value
        else:
            setattr(owner, name, type(old)(value.tolist()))


def _checked_parts(
    parts: Iterable[tuple[str, object, tuple[str, ...]]], state: Mapping[str, NDArray[Any]],
    config: CoreConfig,
) -> list[tuple[object, str, Any, NDArray[Any]]]:  # fmt: skip
    """Owner, attribute, present and stored value of everything in ``parts``."""
    ranges, found = _ranges(config), []
    for part, owner, names in parts:
        for name in names:
            where = f"{part}.{name}"
            low, high = ranges.get(where.partition(".")[2], (0, _COUNT_MAX))
            old = getattr(owner, name)
            found.append((owner, name, old, _checked(where, state, old, low, high)))
    return found


def check_cores(cores: Mapping[int, Core], state: Mapping[str, NDArray[Any]]) -> None:
    """Raise ``ValueError`` unless :func:`restore_cores` can take ``state``."""
    for node, core in cores.items():
        _checked_parts(_core_parts(f"core{node}", core), state, core.config)


def restore_cores(cores: Mapping[int, Core], state: Mapping[str, NDArray[Any]]) -> None:
    """Give a chip's cores, by node, what :meth:`Learner.state` holds of them, but no vectors."""
    for node, core in cores.items():
        parts = _core_parts(f"core{node}", core)
        _take((part for part in parts if part[1] is not core), state, core.config)
        core.crossbar.refresh_weights()


def stretches(
    training: Training, *, count: int, seed: int, epochs: int, images: int, done: int = 0,
) -> Iterator[tuple[NDArray[np.int64], float]]:  # fmt: skip
    """Images from one refresh to the next, and their learning rate, without end.

    A run of ``epochs`` times ``images`` of ``count`` training images, of which ``done`` are learnt;
    behind its end it goes on at its last rate.
    """
    total = epochs * images
    while True:
        epoch, start = divmod(done, images)
        chosen = order(count, seed, epoch)[:images]
        for first in range(start, images, training.refresh_interval):
            part = chosen[first : first + training.refresh_interval]
            yield part, training.rate(min(done / total, 1))
            done += len(part)


def set_refresh(cores: Iterable[Core], network: Network) -> None:
    """Registers that say when a pair of a network's weights is worn."""
    for core in cores:
        fewer = 8 - core.config.adc_bits
        core.refresh_high = network.training.refresh_high >> fewer
        core.refresh_low = network.training.refresh_low >> fewer


def make_learner(
    network: Network, config: CoreConfig, profile: DeviceProfile, seed: int,
    engine: str = ENGINES[0],
) -> Learner:  # fmt: skip
    """The chip of a network of several cores, convolutional cores, or the one core."""
    if isinstance(network, ConvNetwork):
        return ConvLearner(network, config, profile, seed, engine)
    if isinstance(network, ChipNetwork):
        return ChipLearner(network, config, profile, seed, engine)
    return CoreLearner(network, config, profile, seed, engine)
