# SPDX-License-Identifier: Apache-2.0
"""``phasecore bench chip``: cycles per CPU second of a chip's RTL, by what it trains.

All networks train on the same chip in the same simulator (Verilator), in turns: their ratios hold
on a busy machine, the absolute numbers belong to the machine.
"""

import argparse
import logging
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from phasecore.models.compiler.mapping import map_network
from phasecore.models.compiler.networks import NETWORKS, ON_CHIPS
from phasecore.models.golden.device import PROFILES
from phasecore.progress import counted, working
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.scripts.commands.bench_core import child_seconds
from phasecore.scripts.commands.options import add_data, load_data, positive
from phasecore.scripts.report import results
from phasecore.verification.cosim.chip import read_traces
from phasecore.verification.cosim.machine import Machine
from phasecore.verification.cosim.simulation import Simulation

__all__ = ["add_parser", "report", "run"]

OPTIONS = ("seed", "out", "overwrite")

COMPARED = ("mlp-784-250-10", "lenet-5")
"""Networks unless said otherwise; speeds are beside the first one's."""

PROFILE = "pcm"

CYCLES = 300_000
"""About as many cycles of each network are a turn; images are whole."""

log = logging.getLogger("phasecore")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "bench chip",
        help="measure how many cycles of a chip a CPU second simulates, by network",
        description=(
            "Train networks on the same chip in Verilator, in turns, and count cycles per CPU"
            " second of the simulator. Writes bench-chip.json into --out (default: build/results)."
            " The first run builds the simulator, which takes some minutes."
        ),
    )
    parser.add_argument(
        "--network", nargs="+", choices=list(ON_CHIPS), default=list(COMPARED), metavar="NAME",
        help=f"of {', '.join(ON_CHIPS)} (default: {' '.join(COMPARED)})",
    )  # fmt: skip
    parser.add_argument("--chip", default="default", metavar="NAME|FILE", help="the chip")
    parser.add_argument(
        "--repeats", type=positive, default=3, metavar="N", help="turns (default 3)"
    )
    parser.add_argument("--sim", choices=["verilator", "icarus"], default="verilator")
    parser.add_argument(
        "--images", type=positive, nargs="+", metavar="N",
        help=f"images of each network (default: what {CYCLES:,} cycles train)",
    )  # fmt: skip
    add_data(parser)
    return parser


class Contestant:
    """A network's training batches, ready in a folder.

    Attributes
    ----------
    cycles : of the training, known once it has been simulated
    speeds : cycles per CPU second, by turn
    """

    def __init__(self, simulation: Simulation, folder: Path, *, sim: str):
        self.simulation, self._folder, self._sim = simulation, folder, sim
        self.network = simulation.network.name
        self._build = simulation.machine.rtl.build(sim=sim)
        self.cycles, self.speeds = 0, list[float]()
        simulation.write(folder)

    def turn(self) -> None:
        """Simulate everything once, and what comes before the training once more."""
        fixed = child_seconds(self._simulate, 1)
        whole = child_seconds(self._simulate, self.simulation.batches)
        config = self.simulation.machine.mapping.hardware
        self.cycles = sum(
            sum(read_traces(self._folder, index, config).host.phases.values())
            for index in range(1, self.simulation.batches)
        )
        self.speeds.append(self.cycles / (whole - fixed))

    def _simulate(self, batches: int) -> None:
        self.simulation.machine.rtl.simulate(
            self._build, self._folder, sim=self._sim, seed=1, batches=batches
        )


def run(args: argparse.Namespace) -> dict[str, Any]:
    chip = ChipConfig.load(args.chip)
    path = results.destination(args, args.out or Path("build") / "results", "bench-chip")
    if args.images and len(args.images) != len(args.network):
        raise ValueError(
            f"--images has {len(args.images)} numbers for {len(args.network)} networks"
        )
    with ExitStack() as stack:
        with working(f"building the {args.sim} simulation, kept for the next run"):
            contestants = list(_contestants(args, chip, stack))
        with counted("bench chip", args.repeats, "turns") as line:
            for number in range(args.repeats):
                for contestant in contestants:
                    contestant.turn()
                    log.info(
                        "turn %d: %s, %.0f cycles per CPU second", number + 1,
                        contestant.network, contestant.speeds[-1],
                    )  # fmt: skip
                line.step()
    first = median(contestants[0].speeds)
    rows = [
        {
            "network": one.network, "images": one.simulation.images, "cycles": one.cycles,
            "cycles_per_cpu_second": round(median(one.speeds)),
            "of_the_first": round(median(one.speeds) / first, 2),
        }
        for one in contestants
    ]  # fmt: skip
    result = results.record(
        command=args.command, config=chip, seed=args.seed, simulator=args.sim, profile=PROFILE,
        repeats=args.repeats, rows=rows,
    )  # fmt: skip
    results.write(path, result, args)
    return {**result, "out": str(path)}


def _contestants(
    args: argparse.Namespace, chip: ChipConfig, stack: ExitStack
) -> Iterator[Contestant]:
    for index, name in enumerate(args.network):
        network = NETWORKS[name]
        data = load_data(args, network)
        mapping = map_network(network, chip, PROFILES[PROFILE])
        images = args.images[index] if args.images else max(1, CYCLES // _cycles(name))
        machine = Machine(mapping, args.seed)
        simulation = Simulation(machine, data, seed=args.seed, images=images, test=0)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="phasecore-"))
        yield Contestant(simulation, Path(folder), sim=args.sim)


def _cycles(network: str) -> int:
    """Roughly the cycles of a training image: windows of its first layer, and then some."""
    positions = getattr(NETWORKS[network].layers[0], "positions", 5)
    return 190 * positions


def report(result: dict[str, Any]) -> str:
    lines = ["network             images     cycles  cycles/CPU s  of the first"]
    lines += [
        f"{row['network']:18s}{row['images']:8d}{row['cycles']:11d}"
        f"{row['cycles_per_cpu_second']:14d}{row['of_the_first']:14.2f}"
        for row in result["rows"]
    ]
    return "\n".join([*lines, f"written {result['out']}"])
