# SPDX-License-Identifier: Apache-2.0
"""Training runs and their checkpoints: what a run depends on is part of its checkpoint."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore import files
from phasecore.models.compiler.mapping import Mapping as NetworkMapping
from phasecore.models.compiler.mapping import map_network
from phasecore.models.compiler.network import Network, Training
from phasecore.models.compiler.networks import restored
from phasecore.models.golden.arithmetic import ARITHMETIC
from phasecore.models.golden.device import DeviceProfile
from phasecore.models.training.datasets import Dataset, order
from phasecore.models.training.state import Arrays
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["Checkpoint", "Run", "load", "save"]

FORMAT = 4
"""Of the files: 2 named fields and arrays as version 2 of the register map does, 3 knows rings,
4 credits of every consumer."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is trained, but for the data: see :meth:`inputs`."""

    network: Network
    config: CoreConfig
    profile: DeviceProfile
    seed: int
    epochs: int
    images: int
    """Images per epoch."""
    eta: float | None = None
    """Learning rate at the start, None for the network's ..."""
    eta_end: float | None = None
    """... and at the end."""
    with_validation: bool = False
    """Whether the validation images are trained on, too."""

    def trained_network(self) -> Network:
        """The network with this run's rates."""
        known = self.network.training
        training = replace(
            known,
            eta=known.eta if self.eta is None else self.eta,
            eta_end=known.eta_end if self.eta_end is None else self.eta_end,
        )
        if (self.eta is None) != (self.eta_end is None) and training.eta < training.eta_end:
            raise ValueError(
                f"a rate that rises from {training.eta:g} to {training.eta_end:g} must be asked for"
                " with both --eta and --eta-end"
            )
        return replace(self.network, training=training)

    def mapping(self) -> NetworkMapping:
        """The network on its hardware."""
        return map_network(self.trained_network(), self.config, self.profile)

    def inputs(self, data: Dataset) -> dict[str, Any]:
        """All that the run's bits depend on, as JSON has it."""
        network = self.trained_network()
        placed = {"name": network.name, **asdict(network)}
        training = placed.pop("training")
        # A chip has the run's cores; what a network is tuned for and tried on is not used.
        placed.get("chip", {}).pop("core", None)
        del placed["config"], placed["dataset"]
        count = len(data.train_x)
        inputs = {
            "arithmetic": ARITHMETIC,
            "network": placed,
            "dataset": data.name,
            "data_sha256": data.checksum(),
            "with_validation": self.with_validation,
            "training_images": count,
            "images": self.images,
            "epochs": self.epochs,
            "seed": self.seed,
            # numpy does not promise that its permutations stay.
            "order": hashlib.sha256(order(count, self.seed, 0).tobytes()).hexdigest()[:16],
            "training": training,
            "profile": asdict(self.profile),
            "config": asdict(self.config),
        }
        found: dict[str, Any] = json.loads(json.dumps(inputs))
        return found


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """State of a run after ``done`` images.

    ``inputs`` are :meth:`Run.inputs`; ``curve`` has an entry per stretch; ``grown`` the images
    learnt and the epochs that were to be learnt whenever the run was made longer; ``state`` is the
    learner's, and the float twin's as ``twin.LAYER``; ``digest`` is of all of these.
    """

    path: Path
    inputs: dict[str, Any]
    done: int
    curve: list[dict[str, Any]]
    grown: list[list[int]]
    state: Arrays
    digest: str

    def run(self) -> Run:
        """The run that left it."""
        inputs = self.inputs
        config = CoreConfig.from_dict(inputs["config"])
        network = restored(
            inputs["network"], config=config, training=Training(**inputs["training"]),
            dataset=inputs["dataset"],
        )  # fmt: skip
        return Run(
            network=network,
            config=config,
            profile=DeviceProfile.from_dict(inputs["profile"]),
            eta=inputs["training"]["eta"],
            eta_end=inputs["training"]["eta_end"],
            **{name: inputs[name] for name in ("seed", "epochs", "images", "with_validation")},
        )

    def check(self, inputs: Mapping[str, Any]) -> None:
        """Raise ``ValueError``, naming the input, unless a run of ``inputs`` can go on from it."""
        held, theirs = dict(_flat(self.inputs)), dict(_flat(inputs))
        mine = _later_fields() | held
        for name in theirs | held:
            old, new = mine.get(name), theirs.get(name)
            if old != new:
                grows = ""
                if name == "epochs":
                    if inputs["epochs"] > self.inputs["epochs"]:
                        continue
                    grows = " (it may only grow)"
                raise ValueError(f"{self.path} is of a run with {name} {old}, not {new}{grows}")

    def twin(self, weights: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
        """The float twin's weights, in the place of ``weights``."""
        found = [self.state.get(f"twin.{index}") for index in range(len(weights))]
        for index, (one, like) in enumerate(zip(found, weights, strict=True)):
            if one is None or one.shape != like.shape or one.dtype != like.dtype:
                kind = "nothing" if one is None else f"{one.dtype} of {one.shape}"
                raise ValueError(
                    f"{self.path}: twin.{index} must be {like.dtype} of {like.shape}, not {kind}"
                )
            if not np.isfinite(one).all():
                raise ValueError(f"{self.path}: twin.{index} has values that are no numbers")
        return [one for one in found if one is not None]


def save(
    path: Path, *, inputs: Mapping[str, Any], done: int, curve: list[dict[str, Any]],
    grown: list[list[int]], state: Mapping[str, Any],
) -> None:  # fmt: skip
    """Write a :class:`Checkpoint`, which :func:`load` reads."""
    meta = json.dumps(
        {"format": FORMAT, "inputs": inputs, "done": done, "curve": curve, "grown": grown}
    )
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in state.items()}
    digest = _digest(meta, arrays)
    with files.whole(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, meta=np.array(meta), sha256=np.array(digest), **arrays)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint; ``ValueError`` names a file that is none, is damaged or is too old."""
    try:
        with np.load(path) as stored:
            arrays = {name: stored[name] for name in stored.files}
        meta = str(arrays.pop("meta"))
        values = json.loads(meta)
        inputs = values["inputs"] if "run" not in values else {"arithmetic": 1}
        version, digest = inputs["arithmetic"], str(arrays.pop("sha256", ""))
        written = values.pop("format", 1)
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise
        # Damaged bytes make zip, zlib, numpy and json raise nearly everything.
        raise ValueError(f"{path} is no checkpoint, or damaged: {error}") from error
    if version != ARITHMETIC:
        raise ValueError(
            f"{path} was written with version {version} of the arithmetic; this is version"
            f" {ARITHMETIC}, which gives other bits: the run cannot go on"
        )
    if written != FORMAT:
        raise ValueError(
            f"{path} has format {written}; this is format {FORMAT}, where fields of configurations"
            " and state have other names: train again"
        )
    if digest != _digest(meta, arrays):
        raise ValueError(f"{path} is damaged: its checksum does not fit its content")
    found = Checkpoint(path=path, state=arrays, digest=digest, **values)
    if not 0 <= found.done <= inputs["epochs"] * inputs["images"]:
        raise ValueError(f"{path} has {found.done} images learnt of a shorter run")
    return found


def _digest(meta: str, arrays: Arrays) -> str:
    """SHA-256 of all of a checkpoint's content."""
    digest = hashlib.sha256(meta.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"\0{name} {array.dtype.str} {array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _later_fields() -> dict[str, Any]:
    """Inputs that a checkpoint of before they were there does not have: their defaults."""
    return {
        f"{place}.{one.name}": one.default
        for place, kind in (("config", CoreConfig), ("network.chip", ChipConfig))
        for one in fields(kind)
        if one.default is not MISSING
    }


def _flat(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested dictionaries and lists, with dotted names."""
    named = values.items() if isinstance(values, Mapping) else enumerate(values)
    for name, value in named:
        if isinstance(value, Mapping | list):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
