# SPDX-License-Identifier: Apache-2.0
"""What ``import phasecore`` offers beside data: train, infer, simulate, generate, their results.

A name in the place of an object means the one of that name in ``NETWORKS``, ``PROFILES``,
``PRESETS`` or ``CHIPS``. ``ValueError`` names the argument that does not fit and its value.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from phasecore import files
from phasecore.models.compiler.mapping import map_network
from phasecore.models.compiler.network import Network
from phasecore.models.compiler.trainable import named_network
from phasecore.models.golden.device import PROFILES, DeviceProfile
from phasecore.models.training.checkpoint import Run
from phasecore.models.training.datasets import Dataset
from phasecore.models.training.learner import run_size
from phasecore.models.training.own_data import load_for
from phasecore.rtl.spec.chip import CHIPS, ChipConfig
from phasecore.rtl.spec.core import PRESETS, CoreConfig

__all__ = [
    "GeneratedFiles", "InferenceResult", "SimulationResult", "TrainingResult", "generate", "infer",
    "simulate", "train",
]  # fmt: skip

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class _Result:
    """Figures of a run."""

    network: str
    profile: str
    seed: int
    images: int
    """Images learnt, over all epochs."""
    accuracy_model: float
    """Fraction of the test images that the golden model classifies as labelled ..."""
    accuracy_float: float
    """... and plain SGD in floating point, from the same weights, on the same images."""
    curve: list[dict[str, Any]] = field(repr=False)
    """Points of the learning curve, in order; ``images`` says how many were learnt before."""
    record: dict[str, Any] = field(repr=False)
    """All figures, as the commands write them."""

    def to_json(self) -> str:
        """:attr:`record` as one JSON object."""
        return json.dumps(self.record)


@dataclass(frozen=True, kw_only=True)
class TrainingResult(_Result):
    """What :func:`train` measured."""

    config: CoreConfig
    """Of the core, or of every core of a chip."""
    images_per_second: float
    pulses_per_weight_per_image: float


@dataclass(frozen=True, kw_only=True)
class SimulationResult(_Result):
    """What :func:`simulate` measured."""

    config: CoreConfig | ChipConfig
    accuracy_rtl: float
    mismatches: int
    """Values of the RTL that are not the golden model's: 0 unless something is wrong."""
    values_compared: int
    cycles_per_image: dict[str, float]
    """Clock cycles of a training image, ``total`` and by phase or busy unit."""


@dataclass(frozen=True, kw_only=True)
class InferenceResult:
    """What :func:`infer` measured."""

    network: str
    profile: str
    seed: int
    images: int
    config: ChipConfig
    """As many cores as the network needs."""
    accuracy_model: float
    """Fraction of the images that the golden model classifies as labelled ..."""
    accuracy_float: float
    """... and the network in floating point."""
    outputs: NDArray[np.int8] = field(repr=False)
    """Codes that the golden model gives, shape (images, outputs)."""
    mismatches: int | None
    """Values of the RTL that are not the golden model's; None without RTL."""
    record: dict[str, Any] = field(repr=False)
    """All figures, as the commands write them."""

    def to_json(self) -> str:
        """:attr:`record` as one JSON object."""
        return json.dumps(self.record)


@dataclass(frozen=True, kw_only=True)
class GeneratedFiles:
    """Verilog of a core or chip, and what belongs to it."""

    config: CoreConfig | ChipConfig
    top: str
    """Name of the top module."""
    texts: dict[str, str] = field(repr=False)
    """Content by file name."""

    def write(self, folder: str | Path) -> None:
        """Write all files into a folder, which is made if it is not there."""
        place = files.check_folder(Path(folder))
        for name, text in self.texts.items():
            files.write(place / name, text)

    def checksums(self) -> dict[str, dict[str, Any]]:
        """``bytes`` and ``sha256`` by file name."""
        contents = {name: text.encode() for name, text in self.texts.items()}
        return {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in contents.items()
        }

    def to_json(self) -> str:
        """Top, configuration and checksums as one JSON object."""
        config = json.loads(self.config.to_json())
        return json.dumps({"top": self.top, "config": config, "files": self.checksums()})


def generate(config: CoreConfig | ChipConfig | str = "default") -> GeneratedFiles:
    """Verilog of a core or a chip, macros, register maps and what tools need to take them.

    ``config``: of a core or chip; a name is that of a core. The same configuration gives the same
    bytes on every machine.
    """
    from phasecore.scripts.commands.generate import files
    from phasecore.scripts.flow.design import design

    cores: Mapping[str, CoreConfig | ChipConfig] = PRESETS
    found = _named("config", config, cores)
    return GeneratedFiles(config=found, top=design(found).top, texts=files(found))


def train(
    network: Network | Path | str = "mlp-64-50-10",
    *,
    config: CoreConfig | str | None = None,
    profile: DeviceProfile | str = "pcm",
    devices: int | None = None,
    dataset: Dataset | Path | str | None = None,
    data: Path | None = None,
    with_validation: bool = False,
    images: int | None = None,
    images_per_epoch: int | None = None,
    epochs: int | None = None,
    eta: float | None = None,
    eta_end: float | None = None,
    seed: int = 1,
) -> TrainingResult:
    """Train a network in the golden model, next to its float twin, and classify the test images.

    Parameters
    ----------
    network : one, the name of a built-in one, or an ONNX file, whose layers begin with random
        weights
    config : of the core or of each core of a chip; None: the network's
    devices : per polarity of a weight, in the place of the configuration's
    dataset, data : in the place of the network's data set; folder of the MNIST files
    with_validation : train on the validation images, too
    images, images_per_epoch, epochs : images of the whole run and of each epoch; what is not given
        follows from the others, or is all images and the network's epochs
    eta, eta_end : learning rate at the start and the end; None: the network's
    seed : of devices, converters and the order of images
    """
    from phasecore.models.training.trainer import Trainer, validate
    from phasecore.scripts.commands.train import measured

    chosen = network if isinstance(network, Network) else named_network(network)
    cores = chosen.config if config is None else _named("config", config, chosen.presets)
    if devices is not None:
        cores = cores.replace(devices_per_polarity=devices)
    loaded = load_for(chosen, dataset, data)
    loaded = loaded.merged() if with_validation else loaded
    count, each = run_size(
        len(loaded.train_x), chosen.training.epochs, images=images,
        images_per_epoch=images_per_epoch, epochs=epochs,
    )  # fmt: skip
    run = Run(
        network=chosen, config=cores, profile=_named("profile", profile, PROFILES), seed=seed,
        epochs=count, images=each, eta=eta, eta_end=eta_end, with_validation=with_validation,
    )  # fmt: skip
    trainer = Trainer(run, loaded)
    for point in trainer.stretches():
        validate(trainer, point)
    record = measured(trainer, "phasecore.train")
    return TrainingResult(config=cores, record=record, **_figures(TrainingResult, record))


def simulate(
    network: Network | Path | str = "mlp-64-50-10",
    *,
    config: CoreConfig | ChipConfig | str | None = None,
    profile: DeviceProfile | str = "pcm",
    dataset: Dataset | Path | str | None = None,
    data: Path | None = None,
    images: int = 200,
    images_per_epoch: int | None = None,
    epochs: int | None = None,
    test_images: int = 100,
    sim: str = "verilator",
    seed: int = 1,
) -> SimulationResult:
    """Train a network in the RTL, in a simulator, and compare every result with the golden model.

    Parameters
    ----------
    config : of the core, or of the chip for a network of several; None: the network's. A name is
        that of a preset
    sim : "verilator", which builds for some minutes, once, or "icarus"
    others : see :func:`train`
    """
    from phasecore.scripts.report import results
    from phasecore.verification.cosim.machine import Machine
    from phasecore.verification.cosim.simulation import Progress, Simulation

    _check_simulator(sim)
    chosen = network if isinstance(network, Network) else named_network(network)
    used = chosen.config if config is None else _named("config", config, chosen.presets)
    machine = Machine(map_network(chosen, used, _named("profile", profile, PROFILES)), seed)
    loaded = load_for(chosen, dataset, data)
    count, each = run_size(
        len(loaded.train_x), 1, images=images, images_per_epoch=images_per_epoch, epochs=epochs
    )
    simulation = Simulation(
        machine, loaded, seed=seed, epochs=count, images=each,
        test=_at_most("test_images", test_images, len(loaded.test_x)),
    )  # fmt: skip
    progress = Progress(simulation)
    with tempfile.TemporaryDirectory(prefix="phasecore-") as folder:
        try:
            for _ in progress.follow(Path(folder), sim=sim, waves=False):
                pass
        finally:
            simulation.stop()
    record = results.record(
        command="phasecore.simulate", config=machine.mapping.hardware, seed=seed,
        network=chosen.name, dataset=loaded.name, profile=machine.mapping.profile.name,
        simulator=sim,
        **progress.figures(complete=True),
    )  # fmt: skip
    return SimulationResult(
        config=machine.mapping.hardware, record=record, **_figures(SimulationResult, record)
    )


def infer(
    model: str | Path,
    images: NDArray[Any],
    labels: NDArray[Any],
    *,
    calibration: NDArray[Any] | None = None,
    config: CoreConfig | str = "default",
    profile: DeviceProfile | str = "ideal",
    devices: int | None = None,
    rtl: int = 0,
    sim: str = "verilator",
    seed: int = 1,
) -> InferenceResult:
    """Program a trained ONNX network into the devices of a chip, and infer as the hardware does.

    Parameters
    ----------
    model : file, as ``torch.onnx.export`` writes it
    images : values of the network's input, shape (images, channels, height, width), or (images,
        inputs) of a network without convolutions
    labels : class of every image, 0..255
    calibration : values like ``images`` that choose ranges; None: the first 200 of ``images``
    config : of each core: one, or the name of a chip, whose cores it has
    devices : per polarity of a weight, in the place of the configuration's
    rtl : as many of the first images in RTL, too, with every code and byte compared
    sim : "verilator", which builds for some minutes, once, or "icarus"
    seed : of devices and converters
    """
    from phasecore.models.compiler.onnx_graph import load_graph
    from phasecore.models.engine.layers import Layers
    from phasecore.models.training.own_data import read_labels
    from phasecore.models.training.programmed import program
    from phasecore.models.training.samples import CALIBRATION, Preprocessing, Samples
    from phasecore.scripts.commands.options import fit
    from phasecore.scripts.commands.run import accuracy, all_outputs, in_rtl
    from phasecore.scripts.report import results

    _check_simulator(sim)
    path, found = Path(model), read_labels(np.asarray(labels), "labels")
    if len(found) != len(images):
        raise ValueError(f"labels must be {len(images)}, one per image, not {len(found)}")
    if rtl:
        _at_most("rtl", rtl, len(images))
    graph = load_graph(path, name=path.stem, dataset="arrays", largest=1)
    values = partial(Preprocessing(layout="CHW").values, shape=graph.shape)
    shown = values(np.asarray(images), what="images")
    ranges = shown[:CALIBRATION]
    if calibration is not None:
        ranges = values(np.asarray(calibration), what="calibration")
    samples = Samples("arrays", ranges, shown, found)
    cores = {name: chip.core for name, chip in CHIPS.items()}
    core = _named("config", config, cores)
    if devices is not None:
        core = core.replace(devices_per_polarity=devices)
    graph, chip = fit(replace(graph, code=samples.code), core)
    kind = _named("profile", profile, PROFILES)
    programmed = program(graph, chip, kind, samples.codes(samples.calibration), seed)
    layers = Layers(programmed.mapping, programmed.model().cores)
    codes = all_outputs(graph, samples.codes(samples.images), layers.outputs, kind.name)
    exact = all_outputs(graph, samples.images / samples.code, graph.outputs, "floating point")
    rtl_figures = in_rtl(programmed, samples, rtl, seed=seed, sim=sim, what="") if rtl else None
    measured: dict[str, Any] = {
        "network": graph.name, "profile": kind.name, "seed": seed, "images": len(images),
        "accuracy_model": accuracy(codes, found), "accuracy_float": accuracy(exact, found),
        "mismatches": rtl_figures["mismatches"] if rtl_figures else None,
    }  # fmt: skip
    record = results.record(command="phasecore.infer", config=chip, **measured, rtl=rtl_figures)
    return InferenceResult(config=chip, outputs=codes, record=record, **measured)


def _named(argument: str, value: T | str, known: Mapping[str, T]) -> T:
    """``value``, or what has that name."""
    if not isinstance(value, str):
        return value
    if value not in known:
        raise ValueError(f"{argument} must be one of {', '.join(known)}, not {value!r}")
    return known[value]


def _check_simulator(sim: str) -> None:
    if sim not in ("icarus", "verilator"):
        raise ValueError(f"sim must be icarus or verilator, not {sim!r}")


def _at_most(argument: str, value: int, most: int) -> int:
    """``value``; ``ValueError`` unless it is in 1..``most``."""
    if not 1 <= value <= most:
        raise ValueError(f"{argument} must be in 1..{most}, not {value}")
    return value


def _figures(kind: type[_Result], record: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a result that its record has under the same names."""
    names = set(kind.__dataclass_fields__) - {"config", "record"}
    return {name: record[name] for name in names}
