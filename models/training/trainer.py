# SPDX-License-Identifier: Apache-2.0
"""A training run: the golden model and a float twin on the same images, with checkpoints."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.network import classes, online_figures
from phasecore.models.engine.jit import COMPILED
from phasecore.models.golden.core import Core
from phasecore.models.training import checkpoint as checkpoints
from phasecore.models.training.checkpoint import Run
from phasecore.models.training.datasets import Dataset
from phasecore.models.training.float_convolution import make_twin
from phasecore.models.training.float_reference import FloatTwin
from phasecore.models.training.learner import Learner, stretches

__all__ = ["Trainer", "validate"]

EARLY_IMAGES = 2000
VALIDATION_IMAGES = 10_000
"""Validated points of the curve: one early, then at these intervals, besides one per epoch."""

INFERENCE_IMAGES = 500
"""Images per inference program."""

log = logging.getLogger("phasecore")


class Trainer:
    """A core, or a chip, and a float twin that learn the same images.

    Attributes
    ----------
    mapping : what the hardware has to do
    inputs : of the run, see :meth:`Run.inputs`
    done : images learnt
    curve : one entry per stretch of images between two refreshes
    grown : images learnt and epochs that were to be learnt, whenever a run was made longer
    """

    def __init__(self, run: Run, data: Dataset):
        self.run = run
        self.inputs = run.inputs(data)
        self.data = data
        self.network = run.trained_network()
        self.mapping = run.mapping()
        self._learner = Learner(self.mapping, run.seed)
        self.twin = make_twin(self.network, self._learner.weights(), _twin_class())
        self.done = 0
        self.curve: list[dict[str, Any]] = []
        self.grown: list[list[int]] = []

    @property
    def cores(self) -> list[Core]:
        """All cores in use."""
        return self._learner.cores

    @property
    def total(self) -> int:
        """Images of the whole run."""
        return self.run.epochs * self.run.images

    def stretches(self) -> Iterator[dict[str, Any]]:
        """Learn what is left; yield the curve's entries as they come."""
        run = self.run
        endless = stretches(
            self.network.training, count=len(self.data.train_x), seed=run.seed, epochs=run.epochs,
            images=run.images, done=self.done,
        )  # fmt: skip
        while self.done < self.total:
            self._learn(*next(endless))
            yield self.curve[-1]

    def accuracy(self, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> float:
        """Fraction of images that the core classifies as labelled."""
        right = 0
        for start in range(0, len(images), INFERENCE_IMAGES):
            part = images[start : start + INFERENCE_IMAGES]
            found = classes(self._learner.infer(part))
            right += int(np.count_nonzero(found == labels[start : start + INFERENCE_IMAGES]))
        return right / len(images)

    def save(self, path: Path) -> None:
        """Write everything that :meth:`resume` needs to go on as if never stopped."""
        state = self._learner.state()
        state |= {f"twin.{i}": weights for i, weights in enumerate(self.twin.weights)}
        checkpoints.save(
            path, inputs=self.inputs, done=self.done, curve=self.curve, grown=self.grown,
            state=state,
        )  # fmt: skip

    def resume(self, path: Path) -> None:
        """Take the state of a checkpoint of the same run, or of one that had fewer epochs."""
        stored = checkpoints.load(path)
        stored.check(self.inputs)
        twin = stored.twin(self.twin.weights)
        try:
            self._learner.restore(stored.state)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        self.twin.weights = twin
        self.done, self.curve, self.grown = stored.done, stored.curve, stored.grown
        epochs = stored.inputs["epochs"]
        if epochs < self.run.epochs:
            self.grown.append([self.done, epochs])
            log.info("%s: the run grows from %d to %d epochs", path, epochs, self.run.epochs)

    def _learn(self, chosen: NDArray[np.int64], eta: float) -> None:
        began = time.perf_counter()
        images, labels = self.data.train_x[chosen], self.data.train_y[chosen]
        self._learner.set_rate(eta)
        outputs = self._learner.learn(images, labels)
        seconds = time.perf_counter() - began
        self.twin.train(images, labels, [eta] * len(chosen))
        self.done += len(chosen)
        loss, online = online_figures(self.network, outputs, labels)
        self.curve.append(
            {
                "images": self.done,
                "eta": round(eta, 6),
                "loss": round(loss, 6),
                "online_accuracy": round(online, 4),
                "seconds": round(seconds, 3),
            }
        )


def _twin_class() -> type[FloatTwin]:
    """Compiled where kernels are; its figures differ by the rounding of sums only."""
    if not COMPILED:
        return FloatTwin
    from phasecore.models.training.float_engine import CompiledFloatTwin

    return CompiledFloatTwin


def validate(trainer: Trainer, point: dict[str, Any]) -> None:
    """Add accuracies on the validation images, if there are any, to some points of the curve."""
    data, done = trainer.data, point["images"]
    is_due = done == EARLY_IMAGES or done % VALIDATION_IMAGES == 0
    # Without validation images: they are being trained on.
    if (is_due or done % trainer.run.images == 0) and len(data.validation_x):
        part = data.validation_x, data.validation_y
        point["validation_accuracy"] = trainer.accuracy(*part)
        point["validation_accuracy_float"] = trainer.twin.accuracy(*part)
