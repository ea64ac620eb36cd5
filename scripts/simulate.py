# SPDX-License-Identifier: Apache-2.0
"""``phasecore simulate``: train a network in the RTL and hold every result against the model.

The simulator runs in a process of its own; this one runs the golden model on the same batches as
their traces arrive and compares every ADC code, vector byte, pulse and result packet, and after
every batch every chi word and every device.
"""

import argparse
import logging
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.core import Core, Trace
from models.datasets import DATA_VARIABLE, Dataset, load, order
from models.device import PROFILES
from models.float_reference import FloatTwin
from models.networks import (
    NETWORKS,
    Network,
    Recipe,
    classes,
    inference_packets,
    inference_program,
    online_figures,
    setup_packets,
    setup_program,
    training_packets,
    training_program,
)
from models.packets import Result
from rtl.config import CoreConfig
from rtl.csr import events
from rtl.isa import Segment
from scripts import results
from scripts.options import add_data, positive
from verification import harness
from verification.core_session import (
    Batch,
    HardwareTrace,
    compare,
    compare_state,
    read_trace,
)
from verification.random_programs import COUNTERS

__all__ = ["Simulation", "Stretch", "add_parser", "choose_network", "report", "run"]

TOP = Path(harness.__file__).parent / "tops" / "core_top.sv"
TEST_IMAGES = 500
"""Test images per batch."""

log = logging.getLogger("phasecore")


@dataclass
class Stretch:
    """One batch: a program, its packets and what it is for."""

    kind: str
    """``setup``, ``train`` or ``test``."""
    program: list[int]
    packets: list[bytes]
    eta: float
    segments: list[Segment]
    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


class Simulation:
    """Batches of one training run and the two machines that run them.

    Parameters
    ----------
    network, config, profile, seed : what is trained on what
    images : training images, as ``phasecore train --epochs 1 --images N`` learns them
    test : test images classified after training
    """

    def __init__(
        self, network: Network, config: CoreConfig, profile: str, seed: int, data: Dataset,
        *, images: int, test: int,
    ):  # fmt: skip
        self.network, self.config = network, config
        self.recipe = Recipe(network, config, PROFILES[profile])
        self.core = Core(config, PROFILES[profile], seed)
        training = network.training
        self.core.refresh_high, self.core.refresh_low = training.refresh_high, training.refresh_low
        self.twin = FloatTwin(network, self.recipe.weights(self.core.crossbar.weights))
        self.images, self.test = images, test
        self.stretches = list(self._stretches(data, seed))
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def _stretches(self, data: Dataset, seed: int) -> Iterator[Stretch]:
        recipe, training = self.recipe, self.network.training

        def stretch(kind: str, program: list[int], packets: list[bytes], eta: float,
                    *part: NDArray[np.uint8]) -> Stretch:  # fmt: skip
            return Stretch(kind, program, packets, eta, recipe.segments(eta), *part)

        yield stretch(
            "setup", setup_program(recipe), setup_packets(recipe), training.eta,
            data.train_x[:0], data.train_y[:0],
        )  # fmt: skip
        chosen = order(len(data.train_x), seed, 0)[: self.images]
        for start in range(0, len(chosen), training.refresh_interval):
            part = chosen[start : start + training.refresh_interval]
            images, labels = data.train_x[part], data.train_y[part]
            yield stretch(
                "train",
                training_program(recipe, len(part), refresh_interval=len(part), read=True),
                training_packets(recipe, images, labels), training.rate(start / len(chosen)),
                images, labels,
            )  # fmt: skip
        for start in range(0, self.test, TEST_IMAGES):
            images = data.test_x[start : min(start + TEST_IMAGES, self.test)]
            yield stretch(
                "test", inference_program(recipe, len(images)), inference_packets(recipe, images),
                training.eta_end, images, data.test_y[start : start + len(images)],
            )  # fmt: skip

    def write(self, folder: Path) -> None:
        """Write the macro's initial state and the files of every batch."""
        self.core.crossbar.write_macro_files(folder / "macro")
        names = [f"COUNT_{event.name.upper()}" for event in events(self.config)]
        for index, stretch in enumerate(self.stretches):
            batch = Batch(self.config, packets=stretch.packets)
            batch.write("REFRESH_HIGH", self.core.refresh_high)
            batch.write("REFRESH_LOW", self.core.refresh_low)
            batch.write("CONTROL", 4)
            batch.load(stretch.program, stretch.segments)
            batch.run()
            batch.read("ERROR_COUNT", *names)
            batch.dump()
            batch.save(folder, index)

    def start(self, folder: Path, *, sim: str, seed: int, waves: bool) -> None:
        """Build the simulator and start it on the batches in ``folder``."""
        log.info("building the %s simulation: a minute or two, kept for the next run", sim)
        build = build_top(self.config, sim=sim, waves=waves)

        def simulate() -> None:
            try:
                harness.run_bench(
                    build, top="core_top", sim=sim, bench="verification.bench_core",
                    test_dir=folder, seed=seed, config=self.config,
                    env={"PHASECORE_BATCHES": str(len(self.stretches))},
                    plusargs=[f"+phasecore_macro={folder / 'macro'}"], waves=waves,
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

    def seconds(self, folder: Path, index: int) -> float:
        """Wait until the simulator has done batch ``index``; CPU seconds that it took."""
        assert self._thread is not None
        path = folder / f"seconds_{index}.txt"
        while not path.exists():
            if not self._thread.is_alive() and not path.exists():
                raise RuntimeError(f"the simulation ended before batch {index}: {self._failure}")
            time.sleep(0.005)
        return float(path.read_text())

    def check(self, folder: Path, index: int) -> tuple[HardwareTrace, list[Result], list[str]]:
        """Run batch ``index`` in the model; hardware trace, model results and mismatches."""
        stretch = self.stretches[index]
        self.core.segments[: len(stretch.segments)] = stretch.segments
        self.core.trace = Trace()
        before = {name: value(self.core) for name, value in COUNTERS.items()}
        expected = self.core.run(stretch.program, stretch.packets)
        hardware = read_trace(folder / f"trace_{index}.txt", self.config)
        mismatches = compare(hardware, self.core.trace, expected, self.config.lines)
        mismatches += compare_state(folder, index, self.core)
        for name, value in COUNTERS.items():
            counted, due = hardware.register(self.config, name), value(self.core) - before[name]
            if counted != due:
                mismatches.append(f"{name}: got {counted}, expected {due}")
        if hardware.register(self.config, "ERROR_COUNT"):
            mismatches.append("the core counted errors")
        for path in folder.glob(f"*_{index}.*"):
            path.unlink()
        return hardware, expected, mismatches


def build_top(config: CoreConfig, *, sim: str, waves: bool = False) -> Path:
    """Build folder of a core in its simulation top."""
    folder: Path = harness.build(
        harness.core_verilog(config), top="core_top", sim=sim, sources=[TOP],
        build_args=harness.VERILATOR_FAST if sim == "verilator" else None,
        parameters={"POST_LANES": config.post_lanes}, waves=waves,
    )  # fmt: skip
    return folder


def choose_network(name: str | None, config: CoreConfig | None, data: Path | None) -> Network:
    """The network asked for, or the largest that fits and whose data are there.

    A folder of MNIST files that was named, but is not usable, is an error.
    """
    if name is not None:
        return NETWORKS[name]
    reason = ""
    for network in NETWORKS.values():
        try:
            network.check(config or network.config)
        except ValueError as error:
            reason = str(error)
            continue
        try:
            load(network.dataset, data)
        except (ValueError, OSError) as error:
            if data is not None or os.environ.get(DATA_VARIABLE):
                raise
            reason = str(error)
            continue
        return network
    raise ValueError(f"no network fits this configuration: {reason}")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "simulate",
        help="train in the RTL and compare with the golden model, bit for bit",
        description=(
            "Train a network in the RTL, next to the golden model, and compare every result."
            " Without --network: mlp-196-50-10 if MNIST is found, otherwise a network on the"
            " digits of scikit-learn. --out names the folder of the JSON result and the learning"
            " curve (default: build/simulate)."
        ),
    )
    parser.add_argument("--network", choices=NETWORKS)
    parser.add_argument(
        "--images", type=positive, default=1000, metavar="N", help="training images (default 1000)"
    )
    parser.add_argument(
        "--test", type=positive, default=500, metavar="N", help="test images (default 500)"
    )
    parser.add_argument("--sim", choices=["verilator", "icarus"], default="verilator")
    parser.add_argument("--profile", choices=PROFILES, default="pcm", help="device profile")
    add_data(parser)
    parser.add_argument("--waves", action="store_true", help="record waveforms in --out (slow)")
    parser.add_argument("--name", help="name of the result files (default: simulate-NETWORK)")
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    given = args.preset is not None or args.config_path is not None
    network = choose_network(args.network, args.config if given else None, args.data)
    config: CoreConfig = args.config if given else network.config
    data = load(network.dataset, args.data)
    simulation = Simulation(
        network, config, args.profile, args.seed, data,
        images=min(args.images, len(data.train_x)), test=min(args.test, len(data.test_x)),
    )  # fmt: skip
    folder: Path = args.out or Path("build") / "simulate"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="phasecore-") as scratch:
        work = Path(scratch) if not args.waves else folder.resolve()
        simulation.write(work)
        simulation.start(work, sim=args.sim, seed=args.seed, waves=args.waves)
        measured = _follow(simulation, work)
    result = results.record(
        command=args.command, config=config, seed=args.seed, network=network.name,
        profile=args.profile, simulator=args.sim, **measured,
    )  # fmt: skip
    path = results.write(args.name or f"simulate-{network.name}", result, folder)
    plot(result, path.with_suffix(".png"))
    if args.waves:
        result["waves"] = str(harness.wave_file(folder, "core_top", args.sim))
    return {**result, "ok": not result["mismatches"], "out": str(path)}


def _follow(simulation: Simulation, folder: Path) -> dict[str, Any]:
    """Compare batch after batch as the simulator finishes them."""
    config, network = simulation.config, simulation.network
    done = mismatches = compared = 0
    train_seconds = test_seconds = 0.0
    right = {"rtl": 0, "model": 0}
    float_right = 0.0
    totals = dict.fromkeys((event.name for event in events(config)), 0)
    curve: list[dict[str, Any]] = []
    point: dict[str, Any]
    first: list[str] = []
    for index, stretch in enumerate(simulation.stretches):
        seconds = simulation.seconds(folder, index)
        hardware, expected, found = simulation.check(folder, index)
        mismatches += len(found)
        compared += len(hardware.codes) + len(hardware.bytes) + len(hardware.devices)
        first += [f"batch {index} ({stretch.kind}): {text}" for text in found[: 5 - len(first)]]
        for text in found[:3]:
            log.error("mismatch in batch %d (%s): %s", index, stretch.kind, text)
        if stretch.kind == "train":
            simulation.twin.train(
                stretch.images, stretch.labels, [stretch.eta] * len(stretch.labels)
            )
            done += len(stretch.labels)
            train_seconds += seconds
            for event in events(config):
                totals[event.name] += hardware.register(config, f"COUNT_{event.name.upper()}")
            point = {"images": done}
            for machine, sent in (("rtl", hardware.results), ("model", expected)):
                outputs = [result.codes for result in sent]
                loss, accuracy = online_figures(network, outputs, stretch.labels)
                point |= {f"loss_{machine}": loss, f"online_accuracy_{machine}": accuracy}
            curve.append(point)
            log.info(
                "%5d/%d images  loss %.4f  online %.1f %%  %.0f images/s  %d mismatches",
                done, simulation.images, point["loss_rtl"],
                100 * point["online_accuracy_rtl"], done / train_seconds, mismatches,
            )  # fmt: skip
        elif stretch.kind == "test":
            test_seconds += seconds
            float_right += simulation.twin.accuracy(stretch.images, stretch.labels) * len(
                stretch.labels
            )
            for machine, sent in (("rtl", hardware.results), ("model", expected)):
                found_classes = classes(network, [result.codes for result in sent])
                right[machine] += int(np.count_nonzero(found_classes == stretch.labels))
    simulation.finish()
    programmer = simulation.core.programmer
    return {
        "images": done,
        "test_images": simulation.test,
        "mismatches": mismatches,
        "first_mismatches": first,
        "values_compared": compared,
        "accuracy_rtl": right["rtl"] / simulation.test,
        "accuracy_model": right["model"] / simulation.test,
        "accuracy_float": float_right / simulation.test,
        "loss_rtl": curve[-1]["loss_rtl"],
        "loss_model": curve[-1]["loss_model"],
        "cycles_per_image": _phases(totals, done),
        "weights": sum(layer.rows * layer.outputs for layer in network.layers),
        "set_pulses": programmer.set_pulses,
        "reset_pulses": programmer.reset_pulses,
        "refreshed_pairs": programmer.refreshed,
        "counters": totals,
        "images_per_second": round(done / train_seconds, 1),
        "test_images_per_second": round(simulation.test / test_seconds, 1),
        "curve": curve,
    }


def _phases(totals: dict[str, int], images: int) -> dict[str, float]:
    """Cycles per training image: all, and those with each unit busy (units overlap)."""
    phases = {
        "total": "cycles", "window": "window", "post_processing": "post_busy",
        "update": "update_busy", "programming": "programmer_busy", "load": "load_busy",
        "read": "store_busy",
    }  # fmt: skip
    return {name: round(totals[event] / images, 1) for name, event in phases.items()}


def report(result: dict[str, Any]) -> str:
    cycles = result["cycles_per_image"]
    busy = ", ".join(f"{name} {value:.0f}" for name, value in cycles.items() if name != "total")
    accuracy = f"{100 * result['accuracy_rtl']:.2f} % / {100 * result['accuracy_model']:.2f} %"
    rows = [
        ("network", f"{result['network']}, {result['profile']} devices, {result['simulator']}"),
        ("images trained", f"{result['images']}"),
        ("mismatches", f"{result['mismatches']} in {result['values_compared']} values"),
        ("", "and all chi words and devices after every batch"),
        ("loss, RTL / model", f"{result['loss_rtl']:.4f} / {result['loss_model']:.4f}"),
        ("test accuracy, RTL / model", f"{accuracy} of {result['test_images']} images"),
        ("  float twin", f"{100 * result['accuracy_float']:.2f} %"),
        ("cycles per image", f"{cycles['total']:.0f}"),
        ("  of which busy (overlap)", busy),
        ("SET / RESET pulses", f"{result['set_pulses']} / {result['reset_pulses']}"),
        ("simulation speed", f"{result['images_per_second']} training images per CPU second"),
        ("written", result["out"]),
    ]  # fmt: skip
    if "waves" in result:
        rows.append(("waveforms", result["waves"]))
    return "\n".join(f"{name:28s}{value}" for name, value in rows)


def plot(result: dict[str, Any], path: Path) -> None:
    """Learning curve of RTL and model (they lie on each other) as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    from matplotlib import pyplot

    curve = result["curve"]
    images = [point["images"] for point in curve]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axes, key, scale, label in (
        (left, "loss", 1, "squared error per image"),
        (right, "online_accuracy", 100, "accuracy on the next images, %"),
    ):
        for machine, style in (("rtl", "o-"), ("model", "x--")):
            values = [scale * point[f"{key}_{machine}"] for point in curve]
            name = "RTL" if machine == "rtl" else "golden model"
            axes.plot(images, values, style, markersize=4, label=name)
        axes.set(xlabel="training images", ylabel=label)
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    figure.suptitle(
        f"{result['network']}, {result['profile']} devices: {result['mismatches']} mismatches,"
        f" test accuracy {100 * result['accuracy_rtl']:.1f} %"
    )
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
