# SPDX-License-Identifier: Apache-2.0
"""A training run in RTL and golden model, batch by batch, and its figures.

Every ADC code, vector byte, pulse and result packet is compared, and after every batch every chi
word and every device.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.network import classes, online_figures
from phasecore.models.training.checkpoint import Checkpoint
from phasecore.models.training.datasets import Dataset
from phasecore.models.training.float_convolution import make_twin
from phasecore.models.training.learner import stretches
from phasecore.models.training.state import Arrays
from phasecore.progress import counted
from phasecore.verification.cosim.batches import AHEAD, Batches
from phasecore.verification.cosim.machine import BatchReport, Chunk, Machine

__all__ = ["Progress", "Simulation"]

TEST_IMAGES = 500
"""Most test images per batch."""

WINDOWS = 2500
"""About so many windows of a layer are a batch: some seconds of a large chip."""

REPORT_IMAGES = 1000
"""Training images from one report of unfinished figures to the next."""

PULSES = ("set_pulses", "reset_pulses", "refreshed_pairs")
"""Counters of a whole run."""

log = logging.getLogger("phasecore")


@dataclass
class _Part:
    """What a batch is made of: images ``chosen`` of the training or test set."""

    kind: str
    chosen: NDArray[np.int64]
    eta: float
    restored: Arrays | None = None
    refresh: bool = True


class Simulation(Batches):
    """Batches of one training run and the machine that runs them.

    Parameters
    ----------
    epochs, images : passes, and training images of each, as ``phasecore train`` learns them
    test : test images classified after training
    checkpoint : go on from the state of a ``phasecore train``, with ``epochs * images`` images
        that come next

    Attributes
    ----------
    twin : float reference from the same initial weights
    available, total : training images of the data set, and of the run over all epochs
    """

    def __init__(
        self, machine: Machine, data: Dataset, *, seed: int, images: int, test: int,
        epochs: int = 1, checkpoint: Checkpoint | None = None,
    ):  # fmt: skip
        super().__init__(machine, seed)
        self.network = machine.mapping.network
        self.epochs, self.images, self.test = epochs, images, test
        self.available, self.total = len(data.train_x), epochs * images
        self.twin = make_twin(self.network, machine.weights())
        self._data = data
        self._checkpoint = checkpoint
        if checkpoint:
            self.twin.weights = checkpoint.twin(self.twin.weights)
            try:
                machine.check_state(checkpoint.state)
            except ValueError as error:
                raise ValueError(f"{checkpoint.path}: {error}") from error
        self._parts = list(self._planned())
        self.batches = len(self._parts)

    def _planned(self) -> Iterator[_Part]:
        training = self.network.training
        yield _Part("setup", np.arange(0), training.eta)
        epochs, images, done, state = self.epochs, self.images, 0, None
        if self._checkpoint:
            run, done, state = self._checkpoint.run(), self._checkpoint.done, self._checkpoint.state
            epochs, images = run.epochs, run.images
        endless = stretches(
            training, count=len(self._data.train_x), seed=self.seed, epochs=epochs, images=images,
            done=done,
        )  # fmt: skip
        left = self.total
        while left:
            part, eta = next(endless)
            parts = self._cut(part[:left])
            for number, images in enumerate(parts, 1):
                yield _Part("train", images, eta, state, refresh=number == len(parts))
                state = None
            left -= len(part[:left])
        for start in range(0, self.test, TEST_IMAGES):
            for images in self._cut(np.arange(start, min(start + TEST_IMAGES, self.test))):
                yield _Part("test", images, training.eta_end)

    def _cut(self, images: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Images of a batch each: few of a network with many windows, so that a run is heard of."""
        windows = max(getattr(layer, "positions", 1) for layer in self.network.layers)
        at_once = max(1, WINDOWS // windows)
        return [images[start : start + at_once] for start in range(0, len(images), at_once)]

    def chunk(self, index: int) -> Chunk:
        data, part = self._data, self._parts[index]
        chosen = part.chosen
        if part.kind == "setup":
            return self.machine.setup(part.eta)
        if part.kind == "test":
            return self.machine.inference(data.test_x[chosen], data.test_y[chosen], part.eta)
        images, labels = data.train_x[chosen], data.train_y[chosen]
        return self.machine.training(
            images, labels, part.eta, part.restored, refresh=part.refresh
        )  # fmt: skip


class Progress:
    """Runs a simulation to its end and keeps the figures."""

    def __init__(self, simulation: Simulation):
        self.simulation = simulation
        self.curve: list[dict[str, Any]] = []
        self._images = dict.fromkeys(("train", "test"), 0)
        self._seconds = dict.fromkeys(("train", "test"), 0.0)
        self._right = dict.fromkeys(("rtl", "model", "float"), 0.0)
        self._counters: Counter[str] = Counter()
        self._pulses: Counter[str] = Counter()
        self._outputs: dict[str, list[NDArray[np.int8]]] = {"rtl": [], "model": []}
        self._labels: list[NDArray[np.uint8]] = []
        self._phases: Counter[str] = Counter()
        self._windows: Counter[int] = Counter()
        self._mismatches = self._compared = 0
        self._first: list[str] = []

    def follow(
        self, folder: Path, *, sim: str, waves: bool, check: Callable[[], None] = lambda: None
    ) -> Iterator[dict[str, Any]]:
        """Compare batch after batch as the simulator does them; yield figures now and then.

        ``check`` is called again and again; it raises to end the run.
        """
        simulation = self.simulation
        simulation.write(folder, AHEAD)
        simulation.start(folder, sim=sim, waves=waves)
        total = simulation.total + simulation.test
        with counted("training and test in RTL", total, "images") as line:
            for index in range(simulation.batches):
                seconds = simulation.seconds(folder, index, check)
                simulation.write(folder, index + 1 + AHEAD)
                chunk, report = simulation.check(folder, index)
                before = self._images["train"]
                self._compare(index, chunk, report)
                if chunk.kind != "setup":
                    self._images[chunk.kind] += len(chunk.labels)
                    self._seconds[chunk.kind] += seconds
                if chunk.kind == "train":
                    self._train(chunk, report)
                    if before // REPORT_IMAGES != self._images["train"] // REPORT_IMAGES:
                        yield self.figures(complete=False)
                elif chunk.kind == "test":
                    self._test(chunk, report)
                if self.curve:
                    line.to(sum(self._images.values()), self._note())
        simulation.finish()

    def _compare(self, index: int, chunk: Chunk, report: BatchReport) -> None:
        self._mismatches += len(report.mismatches)
        self._compared += report.values
        for name in PULSES:
            self._pulses[name] += report.counters[name]
        texts = [f"batch {index} ({chunk.kind}): {text}" for text in report.mismatches[:5]]
        self._first += texts[: 5 - len(self._first)]
        for text in texts[:3]:
            log.error("mismatch in %s", text)

    def _train(self, chunk: Chunk, report: BatchReport) -> None:
        simulation, done = self.simulation, self._images["train"]
        simulation.twin.train(chunk.images, chunk.labels, [chunk.eta] * len(chunk.labels))
        self._counters.update(report.counters)
        self._phases.update(report.phases)
        self._windows.update(report.windows)
        # A point for all batches from one refresh to the next, made anew with each of them.
        if self._labels:
            self.curve.pop()
        self._labels.append(chunk.labels)
        labels, point = np.concatenate(self._labels), {"images": done}
        for machine, outputs in self._outputs.items():
            outputs += report.outputs[machine]
            loss, accuracy = online_figures(simulation.network, outputs, labels)
            point |= {f"loss_{machine}": loss, f"online_accuracy_{machine}": accuracy}
        self.curve.append(point)
        if chunk.is_dumped:
            self._labels.clear()
            for outputs in self._outputs.values():
                outputs.clear()

    def _note(self) -> str:
        """How well it goes."""
        point = self.curve[-1]
        return (
            f"loss {point['loss_rtl']:.4f}, online {100 * point['online_accuracy_rtl']:.1f} %,"
            f" {self._mismatches} mismatches"
        )

    def _test(self, chunk: Chunk, report: BatchReport) -> None:
        twin, labels = self.simulation.twin, chunk.labels
        self._right["float"] += twin.accuracy(chunk.images, labels) * len(labels)
        for machine, outputs in report.outputs.items():
            self._right[machine] += int(np.count_nonzero(classes(outputs) == labels))

    def figures(self, *, complete: bool) -> dict[str, Any]:
        """What the result file says; accuracies are null before the test."""
        simulation, images = self.simulation, self._images["train"]
        machine = simulation.machine
        tested = self._images["test"]
        per_image = {name: count / images for name, count in self._counters.items()}
        bounds = machine.mapping.bounds(per_image)
        busy = {
            node: round(self._windows[node] / self._phases["total"], 4) for node in machine.cores
        }
        return {
            "complete": complete,
            "epochs": simulation.epochs,
            "images": images,
            "images_available": simulation.available,
            "training": asdict(simulation.network.training),
            "test_images": tested,
            "mismatches": self._mismatches,
            "first_mismatches": self._first,
            "values_compared": self._compared,
            **{
                f"accuracy_{name}": right / tested if complete else None
                for name, right in self._right.items()
            },
            "loss_rtl": self.curve[-1]["loss_rtl"],
            "loss_model": self.curve[-1]["loss_model"],
            "cycles_per_image": {
                name: round(count / images, 1) for name, count in self._phases.items()
            },
            "phases_add_up": machine.rtl.phases_add_up,
            "bounds": {name: round(bound, 1) for name, bound in bounds.items()},
            "busy": max(busy.values()),
            "busy_by_core": busy,
            "cores": len(machine.cores),
            "weights": simulation.network.weights,
            **{name: self._pulses[name] for name in PULSES},
            "counters": dict(self._counters),
            "images_per_second": round(images / self._seconds["train"], 1),
            "test_images_per_second": (
                round(tested / self._seconds["test"], 1) if tested else None
            ),
            "curve": self.curve,
        }
