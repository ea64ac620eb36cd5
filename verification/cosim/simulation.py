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
"""Test images per batch."""

REPORT_IMAGES = 1000
"""Training images from one report of unfinished figures to the next."""

log = logging.getLogger("phasecore")


@dataclass
class _Part:
    """What a batch is made of: images ``chosen`` of the training or test set."""

    kind: str
    chosen: NDArray[np.int64]
    eta: float
    restored: Arrays | None = None


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
            yield _Part("train", part[:left], eta, state)
            left, state = left - len(part[:left]), None
        for start in range(0, self.test, TEST_IMAGES):
            part = np.arange(start, min(start + TEST_IMAGES, self.test))
            yield _Part("test", part, training.eta_end)

    def chunk(self, index: int) -> Chunk:
        data, part = self._data, self._parts[index]
        chosen = part.chosen
        if part.kind == "setup":
            return self.machine.setup(part.eta)
        if part.kind == "test":
            return self.machine.inference(data.test_x[chosen], data.test_y[chosen], part.eta)
        images, labels = data.train_x[chosen], data.train_y[chosen]
        return self.machine.training(images, labels, part.eta, part.restored)


class Progress:
    """Runs a simulation to its end and keeps the figures."""

    def __init__(self, simulation: Simulation):
        self.simulation = simulation
        self.curve: list[dict[str, Any]] = []
        self._images = dict.fromkeys(("train", "test"), 0)
        self._seconds = dict.fromkeys(("train", "test"), 0.0)
        self._right = dict.fromkeys(("rtl", "model", "float"), 0.0)
        self._counters: Counter[str] = Counter()
        self._phases: Counter[str] = Counter()
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
        with counted("training in RTL", simulation.total, "images") as line:
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
                    line.to(self._images["train"], self._note())
                    if before // REPORT_IMAGES != self._images["train"] // REPORT_IMAGES:
                        yield self.figures(complete=False)
                elif chunk.kind == "test":
                    self._test(chunk, report)
        simulation.finish()

    def _compare(self, index: int, chunk: Chunk, report: BatchReport) -> None:
        self._mismatches += len(report.mismatches)
        self._compared += report.values
        texts = [f"batch {index} ({chunk.kind}): {text}" for text in report.mismatches[:5]]
        self._first += texts[: 5 - len(self._first)]
        for text in texts[:3]:
            log.error("mismatch in %s", text)

    def _train(self, chunk: Chunk, report: BatchReport) -> None:
        simulation, done = self.simulation, self._images["train"]
        simulation.twin.train(chunk.images, chunk.labels, [chunk.eta] * len(chunk.labels))
        self._counters.update(report.counters)
        self._phases.update(report.phases)
        point: dict[str, Any] = {"images": done}
        for machine, outputs in report.outputs.items():
            loss, accuracy = online_figures(simulation.network, outputs, chunk.labels)
            point |= {f"loss_{machine}": loss, f"online_accuracy_{machine}": accuracy}
        self.curve.append(point)

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
        programmers = [core.programmer for core in machine.cores.values()]
        per_image = {name: count / images for name, count in self._counters.items()}
        bounds = machine.mapping.bounds(per_image)
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
            "cores": len(machine.cores),
            "weights": simulation.network.weights,
            "set_pulses": sum(programmer.set_pulses for programmer in programmers),
            "reset_pulses": sum(programmer.reset_pulses for programmer in programmers),
            "refreshed_pairs": sum(programmer.refreshed for programmer in programmers),
            "counters": dict(self._counters),
            "images_per_second": round(images / self._seconds["train"], 1),
            "test_images_per_second": (
                round(tested / self._seconds["test"], 1) if tested else None
            ),
            "curve": self.curve,
        }
