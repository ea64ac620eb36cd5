# SPDX-License-Identifier: Apache-2.0
"""Batches of a machine in a simulator that runs in a process of its own, and their comparison.

This process runs the golden model on the same batches as their traces arrive.
"""

import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from phasecore.progress import working
from phasecore.verification.cosim.machine import BatchReport, Chunk, Machine
from phasecore.verification.cosim.timeline import Timeline

__all__ = ["AHEAD", "Batches"]

AHEAD = 3
"""Batches that are written before the simulator asks for them."""

PID_FILE = "simulator.pid"
"""Number of the simulator's process, which ``verification/cosim/tb_batches.py`` writes."""

STOP_SECONDS = 30
"""Time within which a simulator that is starting can be ended."""


class Batches(ABC):
    """Batches of one run and the machine that runs them.

    Parameters
    ----------
    seed : of the simulator

    Attributes
    ----------
    timeline : takes what goes on in the cores, after :meth:`observe`
    chunks : batches that are written, by number; checked ones are dropped
    batches : their number in all
    """

    batches: int

    timeline: Timeline | None = None

    def __init__(self, machine: Machine, seed: int):
        self.machine, self.seed = machine, seed
        self.chunks: dict[int, Chunk] = {}
        self._written = 0
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._pid = Path()

    @abstractmethod
    def chunk(self, index: int) -> Chunk:
        """Make batch ``index``; they are made in order."""

    def names(self) -> dict[int, str]:
        """What people call the cores, by node."""
        return {node: f"core {node}" for node in self.machine.cores}

    def observe(self) -> Timeline:
        """Have what goes on while images are learnt or inferred in the timeline that is returned.

        Raises ``ValueError`` for hardware that does not tell.
        """
        if not self.machine.rtl.has_timeline:
            name = self.machine.mapping.network.name
            raise ValueError(f"only chips have a timeline; {name} has one core")
        self.timeline = Timeline(self.names())
        return self.timeline

    def write(self, folder: Path, batches: int | None = None) -> None:
        """Write the macros' initial state and the files of the first ``batches`` (all)."""
        if not self._written:
            self.machine.rtl.write_macros(folder)
        wanted = self.batches if batches is None else min(batches, self.batches)
        for index in range(self._written, wanted):
            self.chunks[index] = self.chunk(index)
            self.machine.save(folder, index, self.chunks[index])
            self._written = index + 1

    def start(self, folder: Path, *, sim: str, waves: bool) -> None:
        """Build the simulator and start it on the batches that come into ``folder``."""
        rtl = self.machine.rtl
        with working(f"building the {sim} simulation, kept for the next run"):
            build = rtl.build(sim=sim, waves=waves)
        self._pid = folder / PID_FILE

        def simulate() -> None:
            try:
                rtl.simulate(
                    build, folder, sim=sim, seed=self.seed, batches=self.batches, waves=waves,
                    timeline=self.timeline is not None,
                )  # fmt: skip
            except BaseException as error:
                self._failure = error

        self._thread = threading.Thread(target=simulate, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait for the simulator's end."""
        assert self._thread is not None
        self._thread.join()
        if self._failure:
            raise RuntimeError(str(self._failure))

    def stop(self) -> None:
        """End the simulator, if it runs; whoever removes its folder must do this before."""
        deadline = time.monotonic() + STOP_SECONDS
        while self._thread and self._thread.is_alive() and time.monotonic() < deadline:
            # The simulator may just be starting, without a file yet.
            with suppress(OSError, ValueError):
                os.kill(int(self._pid.read_text(encoding="utf-8")), signal.SIGKILL)
            self._thread.join(0.05)

    def seconds(self, folder: Path, index: int, check: Callable[[], None]) -> float:
        """Wait until the simulator has done batch ``index``; CPU seconds that it took.

        ``check`` is called again and again; it raises to end the wait.
        """
        assert self._thread is not None
        path = folder / f"seconds_{index}.txt"
        while not path.exists():
            alive = self._thread.is_alive()
            # Ctrl-C goes to the simulator, too.
            check()
            if not alive and not path.exists():
                raise RuntimeError(f"the simulation ended before batch {index}: {self._failure}")
            time.sleep(0.005)
        return float(path.read_text(encoding="utf-8"))

    def check(self, folder: Path, index: int) -> tuple[Chunk, BatchReport]:
        """Run batch ``index`` in the model and compare; its files are deleted."""
        chunk = self.chunks.pop(index)
        report = self.machine.check(folder, index, chunk)
        if self.timeline and chunk.kind in ("train", "test"):
            self.timeline.add(folder, index)
        for pattern in (f"*[a-z]_{index}.*", f"*[a-z]_{index}_*.*"):
            for path in folder.glob(pattern):
                path.unlink()
        return chunk, report
