# SPDX-License-Identifier: Apache-2.0
"""A mapping in RTL and golden model.

A machine turns images into jobs, writes each as a batch for the simulator and, when that has done
it, has the golden model do the same and compares.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.mapping import NONE_SENT, Job
from phasecore.models.compiler.mapping import Mapping as NetworkMapping
from phasecore.models.compiler.mapping.base import Images, Labels
from phasecore.models.golden.packets import Result
from phasecore.models.training.learner import set_refresh
from phasecore.models.training.model import make_model
from phasecore.models.training.state import Arrays, check_state, restore_devices
from phasecore.rtl.spec.instructions import Segment
from phasecore.rtl.spec.registers.core import events
from phasecore.verification.cosim.counters import counted_by
from phasecore.verification.cosim.rtl import Batch, make_rtl

__all__ = ["BatchReport", "Chunk", "Machine"]


@dataclass
class Chunk:
    """One batch: what the machine does, and what it is for."""

    kind: str
    """``setup``, ``program``, ``train`` or ``test``."""
    job: Job
    segments: dict[int, list[Segment]]
    eta: float
    images: Images
    labels: Labels
    restored: Arrays | None = None
    """State of the cores (``Learner.state``) that is put in place before the batch."""
    is_dumped: bool = True
    """Whether chi and all devices are compared after it."""


@dataclass
class BatchReport:
    """Comparison of one batch.

    ``outputs``: output vectors of ``rtl`` and ``model``, one per image; ``counters``: the
    performance counters, summed over the cores; ``phases``: cycles by phase; ``windows``: by node
    the cycles in which it integrates.
    """

    values: int
    mismatches: list[str]
    outputs: dict[str, list[NDArray[np.int8]]]
    counters: dict[str, int]
    phases: dict[str, int]
    windows: dict[int, int]


class Machine:
    """RTL and golden model of a mapping.

    Parameters
    ----------
    mapping : what the hardware has to do; of hardware that there is in RTL
    seed : of all devices

    Attributes
    ----------
    model : golden hardware
    rtl : the simulation
    cores : golden cores in use by node
    """

    def __init__(self, mapping: NetworkMapping, seed: int):
        self.mapping, self._seed = mapping, seed
        self.model = make_model(mapping, seed)
        self.model.keep_traces()
        self.rtl = make_rtl(self.model)
        self.cores = self.model.cores
        self._sent = NONE_SENT
        set_refresh(self.cores.values(), mapping.network)

    def setup(self, eta: float) -> Chunk:
        """What is done once; no image yet."""
        nothing = np.zeros((0, self.mapping.network.inputs), dtype=np.uint8)
        return self._chunk("setup", self.mapping.setup(), eta, nothing, nothing[:, 0])

    def programming(self, job: Job, *, is_dumped: bool) -> Chunk:
        """A job of the mapping's own that sends no image."""
        nothing = np.zeros((0, self.mapping.network.inputs), dtype=np.uint8)
        chunk = self._chunk("program", job, 0, nothing, nothing[:, 0])
        chunk.is_dumped = is_dumped
        return chunk

    def training(
        self, images: Images, labels: Labels, eta: float, restored: Arrays | None = None, *,
        refresh: bool = True,
    ) -> Chunk:  # fmt: skip
        """Learn ``images`` in order; the outputs of all are sent.

        With ``refresh`` worn pairs are rebuilt at the end, and chi and devices compared.
        """
        job = self.mapping.training(images, labels, self._sent, refresh=refresh)
        chunk = self._chunk("train", job, eta, images, labels, restored)
        chunk.is_dumped = refresh
        return chunk

    def inference(
        self, images: Images, labels: Labels, eta: float, restored: Arrays | None = None, *,
        is_dumped: bool = True,
    ) -> Chunk:  # fmt: skip
        """Send the outputs of ``images``."""
        job = self.mapping.inference(images, self._sent)
        chunk = self._chunk("test", job, eta, images, labels, restored)
        chunk.is_dumped = is_dumped
        return chunk

    def weights(self) -> list[NDArray[np.float64]]:
        """Weights of every layer, bias last, as they are now in the model."""
        return self.mapping.weights(
            {node: core.crossbar.weights for node, core in self.cores.items()}
        )

    def check_state(self, state: Arrays) -> None:
        """Raise ``ValueError`` unless a batch can begin with ``state``."""
        if not self.rtl.restores:
            raise ValueError(f"the RTL of {self.mapping.network.name} cannot go on from a state")
        check_state(self.cores, state)

    def save(self, folder: Path, index: int, chunk: Chunk) -> None:
        """Write the files of batch ``index``."""
        batch = Batch(chunk.job, chunk.segments, tuple(self.cores), is_dumped=chunk.is_dumped)
        if chunk.restored is not None:
            fresh = make_model(self.mapping, self._seed)
            restore_devices(fresh.cores, chunk.restored)
            self.rtl.write_restores(folder, fresh)
            batch.is_restored = True
        self.rtl.save(folder, index, batch)

    def run_model(self, chunk: Chunk) -> list[Result]:
        """Do a batch in the model, whose traces are then of this batch."""
        self.model.set_segments(chunk.segments)
        self.model.forget_traces()
        return self.model.run(chunk.job)

    def check(self, folder: Path, index: int, chunk: Chunk) -> BatchReport:
        """Do batch ``index`` in the model and compare what the simulator left in ``folder``."""
        if chunk.restored is not None:
            restore_devices(self.cores, chunk.restored)
        before = {node: counted_by(core) for node, core in self.cores.items()}
        expected = self.run_model(chunk)
        found = self.rtl.compare(folder, index, before, expected, is_dumped=chunk.is_dumped)
        results = {"rtl": found.results, "model": expected}
        return BatchReport(
            found.values, found.mismatches,
            {name: self.mapping.outputs(of) for name, of in results.items()},
            self._summed(found.counters.values()), found.phases,
            {node: counted["COUNT_WINDOW"] for node, counted in found.counters.items()},
        )  # fmt: skip

    def _chunk(
        self, kind: str, job: Job, eta: float, images: Images, labels: Labels,
        restored: Arrays | None = None,
    ) -> Chunk:  # fmt: skip
        self._sent = self._sent.after(job)
        return Chunk(kind, job, self.mapping.segments(eta), eta, images, labels, restored)

    def _summed(self, counted: Iterable[Mapping[str, int]]) -> dict[str, int]:
        """Performance counters of all cores together, by event."""
        all_cores = list(counted)
        return {
            event.name: sum(one[event.register] for one in all_cores)
            for event in events(self.mapping.config)
        }
