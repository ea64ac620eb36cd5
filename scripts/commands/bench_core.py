# SPDX-License-Identifier: Apache-2.0
"""``phasecore bench core``: cycles per operation, simulation speed, targets, literature.

Cycles are counted on the RTL in Verilator (``verification/cosim/core_timing.py``). Simulation speed
is CPU time of the simulator processes, with and without Python, taking turns in one run: the ratio
holds on a busy machine, the absolute numbers belong to the machine.
"""

import argparse
import logging
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from phasecore.models.compiler.mapping import map_network
from phasecore.models.golden.device import PROFILES
from phasecore.progress import working
from phasecore.rtl.lib.verilog import MACRO_SOURCES
from phasecore.rtl.spec.core import DEFAULT, CoreConfig
from phasecore.scripts.commands.options import (
    add_data,
    at_most,
    choose_network,
    load_data,
    positive,
)
from phasecore.scripts.report import results
from phasecore.verification.cosim import core as core_session
from phasecore.verification.cosim import core_timing
from phasecore.verification.cosim.core import build_top
from phasecore.verification.cosim.machine import Machine
from phasecore.verification.cosim.simulation import Simulation
from phasecore.verification.support import build as harness

__all__ = ["Row", "add_parser", "child_seconds", "cycle_rows", "earlier", "report", "run", "table"]

PROFILE = "pcm"

HERMES = "Khaddam-Aljameh et al., JSSC 57(4), 2022: 256 x 256, 1 GHz, from its 1.008 TOPS"
NMPU = "Ferro et al., ISCAS 2024: 64 units, 4 columns each"
UPDATE = "Rasch et al., 2024, assumption: 3.0 us for 512 x 512, taken at 1 GHz"
INTEGRATION = "integration bound, 2**(input_bits - 1) cycles"
PULSE = "pulses themselves (set_cycles, assumed) and one selection per cycle"
PLAIN = "the same RTL and files without Python, same run"

log = logging.getLogger("phasecore")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured value; ``at_least`` or ``at_most`` is its target, if it has one."""

    name: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    reference: float | None = None
    source: str = ""

    @property
    def verdict(self) -> str:
        """``pass``, ``fail``, or empty without a target."""
        if self.at_least is None and self.at_most is None:
            return ""
        low = self.at_least is None or self.value >= self.at_least
        high = self.at_most is None or self.value <= self.at_most
        return "pass" if low and high else "fail"


def cycle_rows(config: CoreConfig, cycles: Mapping[str, float]) -> list[Row]:
    """Rows of everything that is counted in cycles."""
    window = config.window_cycles
    weights = config.rows * config.cols
    dense = cycles["update_cycles"]
    pulses = core_timing.pulses_in_a_row(config)
    hidden = cycles["stream_period"] - cycles["bare_period"]
    return [
        Row(name="MVM, first window cycle to codes", value=cycles["mvm_from_window"],
            unit="cycles", at_most=window + 2, reference=130, source=HERMES),
        Row(name="MVM, FORWARD taken to codes", value=cycles["mvm_from_command"], unit="cycles"),
        Row(name="MVM stream, period with activation", value=cycles["stream_period"],
            unit="cycles", at_most=window + 2, reference=130, source=HERMES),
        Row(name="MVM stream, of the bound", value=100 * window / cycles["stream_period"],
            unit="%", at_least=98, reference=100, source=INTEGRATION),
        Row(name="Affine + ReLU of all lines", value=cycles["post_cycles"], unit="cycles",
            at_most=window),
        Row(name="Affine + ReLU, passes", value=cycles["post_passes"], unit="passes",
            at_most=config.blocks, reference=4, source=NMPU),
        Row(name="Affine + ReLU, cost behind the next window", value=hidden, unit="cycles",
            at_most=0),
        Row(name="chi update, products per cycle", value=weights / dense, unit="1/cycle",
            reference=88, source=UPDATE),
        Row(name="chi update, use of the lanes",
            value=100 * weights / (config.update_lanes * dense), unit="%", at_least=95),
        Row(name="chi update, half of the rows 0", unit="% of dense",
            value=100 * cycles["update_half_cycles"] / dense, at_most=55),
        Row(name="chi update, x = 0", value=cycles["update_empty_cycles"], unit="cycles"),
        Row(name="Transfer of the whole array", value=cycles["transfer_cycles"], unit="cycles"),
        Row(name="SET pulse, alone, queue to end", value=cycles["pulse_cycles"], unit="cycles",
            at_most=1.2 * config.set_cycles, reference=config.set_cycles, source=PULSE),
        Row(name=f"SET pulses, {pulses} of a row, each", value=cycles["row_pulse_cycles"],
            unit="cycles", at_most=1.2 * (pulses + config.set_cycles) / pulses,
            reference=(pulses + config.set_cycles) / pulses, source=PULSE),
        Row(name="SET pulses of one weight, each", value=cycles["repeated_pulse_cycles"],
            unit="cycles", at_most=1.2 * config.set_cycles, reference=config.set_cycles,
            source=PULSE),
    ]  # fmt: skip


def with_targets(rows: list[Row], config: CoreConfig) -> list[Row]:
    """The rows; their targets were set for the default configuration and hold for no other."""
    if config == DEFAULT:
        return rows
    return [replace(row, at_least=None, at_most=None) for row in rows]


def build_plain(config: CoreConfig) -> Path:
    """The simulation as a program of its own, without Python or anything visible to it."""
    program: Path = harness.build_program(
        harness.core_verilog(config), top="core_top", sources=[*MACRO_SOURCES, core_session.TOP],
        arguments=[
            "-fno-inline", *harness.VERILATOR_TEST, "--timescale", "1ns/1ps",
            f"-GPOST_LANES={config.post_lanes}",
        ],
    )  # fmt: skip
    return program


class Speed:
    """The same training batches in the simulator with and without Python, and in the model."""

    def __init__(self, simulation: Simulation, config: CoreConfig, folder: Path, seed: int):
        self.simulation, self.folder, self.seed = simulation, folder, seed
        self._build = simulation.machine.rtl.build(sim="verilator")
        self._plain = build_plain(config)
        self._macro = f"+phasecore_macro={folder / core_session.MACRO}"
        simulation.write(folder)

    def measure(self, repeats: int) -> tuple[float, float]:
        """Images per CPU second through cocotb and without it, medians of ``repeats`` turns."""
        found: dict[Callable[[int], None], list[float]]
        found = {self._through_cocotb: [], self._alone: []}
        for turn in range(repeats):
            traces = []
            for machine, speeds in found.items():
                fixed = child_seconds(machine, 1)
                whole = child_seconds(machine, self.simulation.batches)
                speeds.append(self.simulation.images / (whole - fixed))
                traces.append([path.read_bytes() for path in sorted(self.folder.glob("trace_*"))])
            if traces[0] != traces[1]:
                raise RuntimeError("the simulation with and without Python differ")
            log.info(
                "turn %d: %.1f images/s through cocotb, %.1f without", turn + 1,
                *(speeds[-1] for speeds in found.values()),
            )  # fmt: skip
        cocotb, plain = (median(speeds) for speeds in found.values())
        return cocotb, plain

    def model(self) -> float:
        """Images per CPU second of the golden model."""
        seconds = 0.0
        for chunk in self.simulation.chunks.values():
            began = time.process_time()
            self.simulation.machine.run_model(chunk)
            if chunk.kind == "train":
                seconds += time.process_time() - began
        images: int = self.simulation.images
        return images / seconds

    def _through_cocotb(self, batches: int) -> None:
        self.simulation.machine.rtl.simulate(
            self._build, self.folder, sim="verilator", seed=self.seed, batches=batches
        )

    def _alone(self, batches: int) -> None:
        done = subprocess.run(
            [self._plain, f"+batches={batches}", self._macro], cwd=self.folder, encoding="utf-8",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        if done.returncode or f"batches {batches} failed 0" not in done.stdout:
            raise RuntimeError(f"the simulation without Python failed: {done.stdout[-500:]}")


def child_seconds(work: Callable[[int], None], batches: int) -> float:
    """CPU seconds of the processes that ``work`` starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work(batches)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def speed_rows(
    simulation: Simulation, config: CoreConfig, folder: Path, *, seed: int, repeats: int
) -> list[Row]:
    """Rows of everything that is measured in CPU seconds."""
    speed = Speed(simulation, config, folder, seed)
    cocotb, plain = speed.measure(repeats)
    unit = "images/s"
    return [
        Row(name="RTL training through cocotb", value=cocotb, unit=unit, at_least=100,
            reference=plain, source=PLAIN),
        Row(name="  of the speed without Python", value=100 * cocotb / plain, unit="%",
            at_least=60, reference=100, source=PLAIN),
        Row(name="Golden model training", value=speed.model(), unit=unit),
    ]  # fmt: skip


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "bench core",
        help="measure cycles per operation and simulation speed",
        description=(
            "Measure the RTL: cycles of every operation, and how fast it simulates. Writes"
            " bench.json into --out (default: build/results; committed results are in"
            " docs/results). Targets are for the default configuration only. The first run builds"
            " two simulators, which takes some minutes."
        ),
    )
    parser.add_argument(
        "--images", type=positive, default=400, metavar="N", help="training images (default 400)"
    )
    parser.add_argument(
        "--repeats", type=positive, default=3, metavar="N", help="turns of the speed (default 3)"
    )
    parser.add_argument("--cycles-only", action="store_true", help="do not measure speed")
    parser.add_argument(
        "--before", type=Path, metavar="FILE",
        help="bench.json that another commit wrote, for a column beside; its speeds compare only if"
        " it was measured on this machine, in the same hour",
    )  # fmt: skip
    add_data(parser)
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    config: CoreConfig = args.config
    path = results.destination(args, args.out or results.ROOT / "build" / "results", "bench")
    commit, before = earlier(args.before) if args.before else (None, {})
    simulation = None if args.cycles_only else _simulation(args)
    with working("building the simulation, kept for the next run"):
        top = build_top(config, sim="verilator")
    with (
        tempfile.TemporaryDirectory(prefix="phasecore-") as scratch,
        working("counting cycles"),
    ):
        cycles = core_timing.measure(config, top, Path(scratch), sim="verilator")
    rows = cycle_rows(config, cycles)
    if simulation is not None:
        with tempfile.TemporaryDirectory(prefix="phasecore-") as scratch:
            rows += speed_rows(
                simulation, config, Path(scratch), seed=args.seed, repeats=args.repeats
            )
    rows = with_targets(rows, config)
    result = results.record(
        command=args.command, config=config, seed=args.seed,
        network=simulation and simulation.network.name, profile=PROFILE,
        images=simulation and simulation.images, cycles=cycles,
        rows=[
            {**asdict(row), "before": before.get(row.name), "verdict": row.verdict} for row in rows
        ],
        before=commit,
    )  # fmt: skip
    results.write(path, result, args)
    passed = all(row.verdict != "fail" for row in rows)
    return {**result, "ok": passed, "out": str(path)}


def earlier(path: Path) -> tuple[str, dict[str, float]]:
    """Commit and values by row of a result of this command."""
    try:
        result = results.read(path)
        return str(result["commit"]), {row["name"]: float(row["value"]) for row in result["rows"]}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"--before {path} is no result of bench core: {error!r}") from error


def _simulation(args: argparse.Namespace) -> Simulation:
    try:
        network = choose_network(args)
    except ValueError as error:
        raise ValueError(f"{error} (--cycles-only does without)") from error
    data = load_data(args, network)
    available = len(data.train_x)
    images = at_most("--images", args.images, available, f"training images of {data.name}")
    machine = Machine(map_network(network, args.config, PROFILES[PROFILE]), args.seed)
    return Simulation(machine, data, seed=args.seed, images=images, test=0)


def report(result: dict[str, Any]) -> str:
    network = f"; {result['network']}, {result['images']} images" if result["network"] else ""
    return f"{table(result)}\n\nPreset {result['preset']}{network}. Written: {result['out']}"


def table(result: Mapping[str, Any]) -> str:
    """The rows of a result as a Markdown table."""
    old = result.get("before")
    beside = (f" {old[:7]} |", "--:|") if old else ("", "")
    lines = [
        f"| operation | measured |{beside[0]} unit | target | reference | source | |",
        f"|---|--:|{beside[1]}---|--:|--:|---|---|",
    ]
    for row in result["rows"]:
        bounds = (("≥", row["at_least"]), ("≤", row["at_most"]))
        target = " ".join(f"{sign} {_number(value)}" for sign, value in bounds if value is not None)
        reference = "" if row["reference"] is None else _number(row["reference"])
        lines.append(
            f"| {row['name']} | {_number(row['value'])} |{_cell(row) if old else ''}"
            f" {row['unit']} | {target} | {reference} | {row['source']} | {row['verdict']} |"
        )
    return "\n".join(lines)


def _cell(row: Mapping[str, Any]) -> str:
    return f" {'' if row['before'] is None else _number(row['before'])} |"


def _number(value: float) -> str:
    return f"{value:.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.1f}"
