# SPDX-License-Identifier: Apache-2.0
"""A golden model that learns images: any mapping."""

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.mapping import NONE_SENT, Job, Mapping, Sent
from phasecore.models.compiler.mapping.base import Images, Labels
from phasecore.models.compiler.network import Network, Training
from phasecore.models.golden.core import Core
from phasecore.models.training.datasets import order
from phasecore.models.training.model import Kinds, make_model
from phasecore.models.training.state import Arrays, Part, restore_state, values

__all__ = ["Learner", "run_size", "set_refresh", "stretches"]

Vectors = list[NDArray[np.int8]]


class Learner:
    """Hardware model of a mapping, set up and ready to learn.

    Parameters
    ----------
    mapping : what the hardware has to do
    seed : of all devices
    kinds : other classes of hardware than the golden model's

    Attributes
    ----------
    cores : all in use, in the mapping's order
    """

    def __init__(self, mapping: Mapping, seed: int, kinds: Kinds | None = None):
        self.mapping = mapping
        self._model = make_model(mapping, seed, kinds)
        self.cores: list[Core] = list(self._model.cores.values())
        self._sent = NONE_SENT
        set_refresh(self.cores, mapping.network)
        self.set_rate(mapping.network.training.eta)
        self._run(mapping.setup())

    def set_rate(self, eta: float) -> None:
        """Learning rate from now on."""
        self._model.set_segments(self.mapping.segments(eta))

    def weights(self) -> list[NDArray[np.float64]]:
        """Weights of every layer, bias last."""
        cores = self._model.cores
        return self.mapping.weights({node: core.crossbar.weights for node, core in cores.items()})

    def learn(self, images: Images, labels: Labels) -> Vectors:
        """Learn images in order, then refresh; the output of each before it was learnt."""
        return self._run(self.mapping.training(images, labels, self._sent))

    def infer(self, images: Images) -> Vectors:
        """Outputs of images."""
        return self._run(self.mapping.inference(images, self._sent))

    def calibrate(self, drift: str | None = None) -> None:
        """Calibrate the converters; see :meth:`Mapping.calibration`."""
        self._run(self.mapping.calibration(drift))

    def state(self) -> dict[str, Any]:
        """Values of everything that outlives a job, by name."""
        sent = {f"sent.{name}": value for name, value in self._sent._asdict().items()}
        return {**values(self._model.parts()), **sent}

    def restore(self, state: Arrays) -> None:
        """Take the arrays that were made of :meth:`state`.

        Raises ``ValueError``, and changes nothing, where one is missing or none that this hardware
        could have left.
        """
        host = SimpleNamespace(**self._sent._asdict())
        parts = [*self._model.parts(), Part("sent", host, Sent._fields)]
        restore_state(parts, state, self.mapping.config)
        self._sent = Sent(**vars(host))
        for core in self.cores:
            core.crossbar.refresh_weights()

    def _run(self, job: Job) -> Vectors:
        results = self._model.run(job)
        self._sent = self._sent.after(job)
        self._model.forget_traces()
        return self.mapping.outputs(results)


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


def run_size(
    available: int, default_epochs: int, *, images: int | None = None,
    images_per_epoch: int | None = None, epochs: int | None = None,
) -> tuple[int, int]:  # fmt: skip
    """Epochs of a run, and images of each.

    Parameters
    ----------
    available : training images that there are
    images : of the whole run, in as few epochs as hold them unless ``epochs`` says how many
    images_per_epoch : None: as many as ``images`` leaves, or all

    Raises ``ValueError`` where that cannot be.
    """
    given = {"images": images, "images_per_epoch": images_per_epoch, "epochs": epochs}
    for name, value in given.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    most = images_per_epoch or available
    if images is None:
        count, each = epochs or default_epochs, most
    else:
        count = epochs or -(-images // most)
        each, rest = divmod(images, count)
        if rest or images_per_epoch not in (None, each):
            per = "" if images_per_epoch is None else f" of {images_per_epoch}"
            raise ValueError(f"images must be a multiple of {count} epochs{per}, not {images}")
    if each > available:
        raise ValueError(
            f"images_per_epoch must be at most {available} (images that there are), not {each}"
        )
    return count, each


def set_refresh(cores: Iterable[Core], network: Network) -> None:
    """Registers that say when a pair of a network's weights is worn."""
    for core in cores:
        fewer = 8 - core.config.adc_bits
        core.refresh_high = network.training.refresh_high >> fewer
        core.refresh_low = network.training.refresh_low >> fewer
