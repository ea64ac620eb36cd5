# SPDX-License-Identifier: Apache-2.0
"""Random pipelines in RTL and golden model: one after another on a chip that keeps its state.

Every code, vector byte and packet is compared, and at the end every chi word and device; of windows
of a ring also that each read what it had to (:mod:`~phasecore.verification.cosim.hazards`).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from phasecore.models.golden.chip import Chip
from phasecore.models.golden.core import Trace
from phasecore.models.golden.device import IDEAL
from phasecore.models.golden.packets import Result
from phasecore.rtl.spec.chip import CHIPS, ChipConfig
from phasecore.rtl.spec.instructions import GROUP, ObjectDescriptor
from phasecore.verification.cosim import chip as chip_session
from phasecore.verification.cosim.hazards import Hazards
from phasecore.verification.cosim.random_chip import SEGMENT, Pipeline
from phasecore.verification.cosim.random_sums import RandomSums
from phasecore.verification.cosim.random_windows import RandomWindows
from phasecore.verification.support.build import BenchError

__all__ = ["CHIP", "KINDS", "STALLS", "Case", "Verdict", "features", "run_cases"]

_TINY = CHIPS["tiny"]
CHIP = _TINY.replace(core=_TINY.core.replace(slots=16, program_depth=128))

STALLS = (0, 64, 128, 224)
"""Of 256 cycles, those in which the host neither sends nor takes."""

WATCHDOG = 20_000
"""Cycles without an instruction after which a core gives up."""

_SETTLE = 1000
"""Cycles in which vectors that no window needed come to their ends."""

Work = Pipeline | RandomWindows | RandomSums


@dataclass(frozen=True)
class Kind:
    """A kind of pipelines, and how many programs run one after another."""

    make: Callable[[ChipConfig, int], Work]
    programs: int


KINDS = {
    "pipelines": Kind(Pipeline, 3),
    "windows": Kind(RandomWindows, 3),
    "sums": Kind(RandomSums, 2),
}


class Case(NamedTuple):
    """A random pipeline."""

    kind: str
    seed: int


@dataclass
class Verdict:
    """What a case gave: values compared, windows watched, kinds of shapes in it, mismatches."""

    case: Case
    values: int = 0
    windows: int = 0
    features: tuple[str, ...] = ()
    mismatches: list[str] = field(default_factory=list)


@dataclass
class _Batch:
    """What the model did in a batch."""

    nodes: list[int]
    results: list[Result]
    traces: dict[int, Trace]


def features(work: Work) -> tuple[str, ...]:
    """What there is of interest in the descriptors of a pipeline."""
    host = work.config.host
    objects = [entry for node in work.objects if node != host for entry in work.objects[node]]
    rings = [entry for entry in objects if not entry.sums]
    lanes = work.config.core.post_lanes
    found = {
        "padding": any(entry.padding_row or entry.padding_col for entry in objects),
        "strides": any(entry.stride_row > 1 or entry.stride_col > 1 for entry in objects),
        "cursors": any(entry.cursor for entry in rings),
        "joins": any(
            sum(not entry.cursor and not entry.sums for entry in work.objects[stage.node]) > 1
            for stage in work.stages
        ),
        "multicast": any(route.multicast for routes in work.routes.values() for route in routes),
        "rings that end in a vector": any(
            entry.size * lanes % (entry.pitch * GROUP) for entry in rings if entry.pitch
        ),
    }
    return tuple(name for name, is_there in found.items() if is_there)


def run_cases(
    config: ChipConfig, cases: Sequence[Case], folder: Path, *, build: Path, sim: str,
    stall: int = 0, seed: int = 1,
) -> list[Verdict]:  # fmt: skip
    """Run cases one after another in one simulation; verdicts up to the first with a mismatch.

    Parameters
    ----------
    config : the chip that ``build`` is of
    folder : empty, for the files of the simulation
    stall : of 256 cycles, those in which the host waits
    seed : of the devices and the stalls
    """
    run = _Run(config, folder, seed)
    work = [KINDS[case.kind].make(config, case.seed) for case in cases]
    for case, one in zip(cases, work, strict=True):
        run.add(one, KINDS[case.kind].programs, is_last=one is work[-1])
    ended = ""
    try:
        chip_session.simulate(
            build, folder, config, sim=sim, seed=seed, batches=len(run.batches), stall=stall,
            settle=_SETTLE, windows=True,
        )  # fmt: skip
    except BenchError as error:
        ended = " ".join(str(error).splitlines()[0].split())
    verdicts, first = [], 0
    for case, one in zip(cases, work, strict=True):
        verdict = Verdict(case, features=features(one))
        batches = range(first, first + KINDS[case.kind].programs)
        first = batches.stop
        run.compare(verdict, one, batches, ended)
        verdicts.append(verdict)
        if verdict.mismatches:
            break
    return verdicts


class _Run:
    """Batches for RTL and model, and what the model made of them."""

    def __init__(self, config: ChipConfig, folder: Path, seed: int):
        self._config, self._folder = config, folder
        self._chip = Chip(config, IDEAL, seed)
        self.batches: list[_Batch] = []
        chip_session.write_macros(folder, self._chip)

    def add(self, work: Work, programs: int, *, is_last: bool) -> None:
        """The next programs; the first of them comes with the tables."""
        for index in range(programs):
            batch = chip_session.ChipBatch(self._config, work.packets())
            nodes = [stage.node for stage in work.stages]
            if index == 0:
                self._define(batch, work, (*nodes, self._config.host))
            written = work.programs()
            for node in nodes:
                self._chip.cores[node].segments[SEGMENT] = work.segment
                batch.core(node).write("WATCHDOG", WATCHDOG)
                batch.core(node).write("CONTROL", 4)
                batch.core(node).load(written[node], [work.segment])
            batch.run(nodes)
            for node in nodes:
                batch.core(node).read("FAULT_COUNT")
            if is_last and index + 1 == programs:
                batch.dump(self._config.cores)
            batch.save(self._folder, len(self.batches))
            for core in self._chip.cores.values():
                core.trace = Trace()
            results = self._chip.run(written, batch.packets)
            traces = {node: core.trace for node, core in self._chip.cores.items()}
            self.batches.append(_Batch(nodes, results, traces))

    def _define(self, batch: chip_session.ChipBatch, work: Work, nodes: Iterable[int]) -> None:
        """Write tables; objects of the pipeline before are no more."""
        for node in nodes:
            objects, routes = work.objects[node], work.routes[node]
            if node != self._config.host:
                unused = self._config.core.objects - len(objects)
                objects = [*objects, *[ObjectDescriptor(enable=0)] * unused]
            batch.define(node, objects, routes)
            for index, entry in enumerate(objects):
                self._chip.define_object(node, index, entry)
            for index, route in enumerate(routes):
                self._chip.define_route(node, index, route)

    def compare(self, verdict: Verdict, work: Work, batches: range, ended: str) -> None:
        """Compare what the simulation left of a case; ``ended`` is why it ended early."""
        hazards = {}
        if isinstance(work, RandomWindows):
            hazards = {
                stage.node: Hazards(self._config.core, work.reads(stage)) for stage in work.stages
            }
        # A batch that fails is the last one.
        good = len(list(self._folder.glob("seconds_*.txt"))) - bool(ended)
        for index in batches:
            if index >= good:
                verdict.mismatches.append(ended)
                break
            expected = self.batches[index]
            trace = chip_session.read_traces(self._folder, index, self._config)
            for node, core in self._chip.cores.items():
                core.trace = expected.traces[node]
            verdict.values += trace.values
            verdict.mismatches += chip_session.compare_chip(trace, self._chip, expected.results)
            verdict.mismatches += [
                f"core {node}: {count} faults"
                for node in expected.nodes
                if (count := trace.register(node, "FAULT_COUNT"))
            ]
            for node, watched in hazards.items():
                path = self._folder / f"trace_{index}_{node}.txt"
                verdict.mismatches += [f"core {node}: {text}" for text in watched.follow(path)]
        verdict.windows = sum(watched.windows for watched in hazards.values())
        if batches.stop == len(self.batches) and not verdict.mismatches:
            verdict.mismatches += chip_session.compare_states(
                self._folder, batches.stop - 1, self._chip, self._config.cores
            )
