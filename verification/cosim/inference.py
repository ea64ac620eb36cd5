# SPDX-License-Identifier: Apache-2.0
"""Trained graphs that infer in RTL and golden model, and the figures of that.

Every ADC code, vector byte and result packet is compared, and at the end of a run every device.
"""

import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.graph import Images, decibels
from phasecore.models.compiler.schedule import schedule
from phasecore.models.training.programmed import Programmed
from phasecore.progress import counted
from phasecore.verification.cosim.batches import AHEAD, Batches
from phasecore.verification.cosim.core import packets_so_far
from phasecore.verification.cosim.machine import Chunk, Machine

__all__ = ["Inference"]

log = logging.getLogger("phasecore")


class Inference(Batches):
    """Batches of images, the first with the programmed devices.

    Parameters
    ----------
    images, labels : to infer, shapes (images, inputs) and (images,)
    at_once : images of a batch, which follow one another without a gap
    in_rtl : the RTL programs its devices itself, which takes it long, and is calibrated again;
        otherwise those of the golden model are put in their place

    Attributes
    ----------
    codes : outputs of the RTL when it has run, shape (images, codes)
    """

    codes: NDArray[np.int8]

    def __init__(
        self, programmed: Programmed, images: Images, labels: Images, *, seed: int, at_once: int,
        in_rtl: bool = False,
    ):  # fmt: skip
        super().__init__(Machine(programmed.mapping, seed), seed)
        self.mapping = programmed.mapping
        self._state = None if in_rtl else programmed.state
        self._programs = [*self.mapping.programming(), self.mapping.setup()] if in_rtl else []
        self.images, self.labels = images, labels
        at_once = min(at_once, self.mapping.most_images)
        self._parts = [
            slice(start, min(start + at_once, len(images)))
            for start in range(0, len(images), at_once)
        ]
        self.batches = 1 + len(self._programs) + len(self._parts)

    def chunk(self, index: int) -> Chunk:
        if index == 0:
            return self.machine.setup(0)
        if index <= len(self._programs):
            is_last = index == len(self._programs)
            return self.machine.programming(self._programs[index - 1], is_dumped=is_last)
        number = index - 1 - len(self._programs)
        part = self._parts[number]
        return self.machine.inference(
            self.images[part], self.labels[part], 0, None if number else self._state,
            is_dumped=index + 1 == self.batches,
        )  # fmt: skip

    def names(self) -> dict[int, str]:
        return {stage.node: stage.name for stage in self.mapping.stages}

    def run(
        self, folder: Path, *, sim: str, check: Callable[[], None] = lambda: None, what: str = ""
    ) -> dict[str, Any]:
        """Infer all images; the figures. ``check`` is called again and again; it raises to end."""
        totals: Counter[str] = Counter()
        windows: Counter[int] = Counter()
        first: list[str] = []
        outputs: dict[str, list[NDArray[np.int8]]] = {"rtl": [], "model": []}
        self.write(folder, AHEAD)
        self.start(folder, sim=sim, waves=False)
        with counted(f"inference in RTL{what}", len(self.images), "images") as line:
            for index in range(self.batches):
                note = f"{totals['mismatches']} mismatches"
                line.to(partial(self._images, folder, index, len(outputs["rtl"])), note)
                seconds = self.seconds(folder, index, check)
                self.write(folder, index + 1 + AHEAD)
                chunk, report = self.check(folder, index)
                first += report.mismatches[: 5 - len(first)]
                totals["mismatches"] += len(report.mismatches)
                totals["values"] += report.values
                if chunk.kind == "program":
                    totals["programming_cycles"] += report.phases["total"]
                if chunk.kind != "test":
                    continue
                totals["cycles"] += report.phases["total"]
                totals["milliseconds"] += round(1000 * seconds)
                windows.update(report.windows)
                for machine, found in report.outputs.items():
                    outputs[machine] += found
        self.finish()
        for text in first[:3]:
            log.error("mismatch: %s", text)
        return self._figures(totals, windows, first, outputs)

    def _images(self, folder: Path, index: int, packets: int) -> int:
        """Images that are through while batch ``index`` runs; ``packets`` were before it."""
        packets += packets_so_far(folder / f"trace_{index}.txt")
        return packets // self.mapping.vectors

    def _figures(
        self, totals: Counter[str], windows: Counter[int], first: list[str],
        outputs: dict[str, list[NDArray[np.int8]]],
    ) -> dict[str, Any]:  # fmt: skip
        count, cycles = len(self.images), totals["cycles"]
        graph = self.mapping.network
        exact = graph.outputs(self.images)
        codes = {name: np.concatenate(of).reshape(count, -1) for name, of in outputs.items()}
        self.codes = codes["rtl"]
        found = {name: of * self.mapping.code for name, of in codes.items()}
        busy = {stage.name: round(windows[stage.node] / cycles, 4) for stage in self.mapping.stages}
        accuracies: dict[str, Any] = {}
        if self.mapping.vectors == 1:
            for name, values_ in (("float", exact), *found.items()):
                right = np.count_nonzero(values_.argmax(axis=1) == self.labels)
                accuracies[f"accuracy_{name}"] = int(right) / count
        return {
            "images": count,
            "mismatches": totals["mismatches"],
            "first_mismatches": first,
            "values_compared": totals["values"],
            **accuracies,
            "signal_to_noise_db": round(decibels(found["rtl"], exact), 2),
            **self._programming(totals),
            "cycles_per_image": round(cycles / count, 1),
            "cycles_modelled": round(self._modelled() / count, 1),
            "busy": busy[self.mapping.stages[0].name],
            "busy_by_core": busy,
            "images_per_second": round(1000 * count / max(1, totals["milliseconds"]), 2),
        }

    def _modelled(self) -> int:
        """Cycles of all images by the model without data."""
        counts = Counter(part.stop - part.start for part in self._parts)
        return sum(times * schedule(self.mapping, size).cycles for size, times in counts.items())

    def _programming(self, totals: Counter[str]) -> dict[str, Any]:
        """Cycles, and pulses of all cores, of what the RTL has programmed itself."""
        if not self._programs:
            return {}
        units = [core.programmer for core in self.machine.cores.values()]
        return {
            "programming_cycles": totals["programming_cycles"],
            "programming_pulses": sum(one.set_pulses + one.reset_pulses for one in units),
            "unverified": sum(one.unverified for one in units),
        }
