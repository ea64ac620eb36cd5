# SPDX-License-Identifier: Apache-2.0
"""``phasecore simulate``: train a network in the RTL and hold every result against the model.

The simulator runs in a process of its own; this one runs the golden model on the same batches as
their traces arrive and compares every ADC code, vector byte, pulse and result packet, and after
every batch every chi word and every device.
"""

import argparse
import logging
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.network import (
    CHIP_NETWORKS,
    NETWORKS,
    ChipNetwork,
    Network,
    classes,
    online_figures,
)
from phasecore.models.golden.device import PROFILES, DeviceProfile
from phasecore.models.training import checkpoint as checkpoints
from phasecore.models.training.checkpoint import Run
from phasecore.models.training.datasets import DATA_VARIABLE, NAMES, Dataset, load
from phasecore.models.training.float_reference import FloatTwin
from phasecore.models.training.learner import check_cores, stretches
from phasecore.rtl.spec.chip import CHIPS, ChipConfig
from phasecore.rtl.spec.core import CoreConfig
from phasecore.scripts import interrupts
from phasecore.scripts.commands.options import (
    add_data,
    add_devices,
    add_profile,
    add_validation,
    at_most,
    load_data,
    positive,
)
from phasecore.scripts.report import results
from phasecore.scripts.report.pictures import COLORS, averaged, layered, number_axis, picture
from phasecore.verification.cosim.chip_machine import ChipMachine
from phasecore.verification.cosim.core_machine import Checked, CoreMachine, Machine, Stretch

__all__ = ["Progress", "Simulation", "add_parser", "amount", "choose_network", "report", "run"]

TEST_IMAGES = 500
"""Test images per batch."""

FIRST_RUN = 12_000
"""Training images unless said otherwise: ten times all digits, which is enough to learn them ..."""

SHORT_RUN = 1000
"""... and where a simulator is slow (Icarus, a chip) or the network has learnt (--resume)."""

AHEAD = 3
"""Batches that are written before the simulator asks for them."""

REPORT_IMAGES = 1000
"""Training images from one writing of the unfinished result to the next."""

PID_FILE = "simulator.pid"
"""Number of the simulator's process, which ``verification/cosim/tb_batches.py`` writes."""

STOP_SECONDS = 30
"""Time within which a simulator that is starting can be ended."""

log = logging.getLogger("phasecore")


@dataclass
class _Part:
    """What a batch is made of: images ``chosen`` of the training or test set."""

    kind: str
    chosen: NDArray[np.int64]
    eta: float
    restored: Mapping[str, Any] | None = None


class Simulation:
    """Batches of one training run and the two machines that run them.

    Parameters
    ----------
    epochs, images : passes, and training images of each, as ``phasecore train`` learns them
    test : test images classified after training
    checkpoint : go on from the state of a ``phasecore train``, with ``epochs * images`` images
        that come next

    Attributes
    ----------
    twin : float reference from the same initial weights
    stretches : batches that are written, by number; checked ones are dropped
    batches : their number in all
    available, total : training images of the data set, and of the run over all epochs
    """

    def __init__(
        self, machine: Machine, data: Dataset, *, seed: int, images: int, test: int,
        epochs: int = 1, checkpoint: checkpoints.Checkpoint | None = None,
    ):  # fmt: skip
        self.machine, self.network = machine, machine.network
        self.seed, self.epochs, self.images, self.test = seed, epochs, images, test
        self.available, self.total = len(data.train_x), epochs * images
        self.twin = FloatTwin(machine.network, machine.weights())
        self.stretches: dict[int, Stretch] = {}
        self._data = data
        self._checkpoint = checkpoint
        if checkpoint:
            self.twin.weights = checkpoint.twin(self.twin.weights)
            try:
                check_cores(machine.cores, checkpoint.state)
            except ValueError as error:
                raise ValueError(f"{checkpoint.path}: {error}") from error
        self._parts = list(self._planned())
        self.batches = len(self._parts)
        self._written = 0
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._pid = Path()

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

    def _stretch(self, part: _Part) -> Stretch:
        data, machine = self._data, self.machine
        is_test = part.kind == "test"
        images = (data.test_x if is_test else data.train_x)[part.chosen]
        labels = (data.test_y if is_test else data.train_y)[part.chosen]
        if part.kind == "setup":
            work = machine.setup()
        elif is_test:
            work = machine.inference(images)
        else:
            work = machine.training(images, labels)
        segments = machine.segments(part.eta)
        return Stretch(part.kind, work, segments, part.eta, images, labels, part.restored)

    def write(self, folder: Path, batches: int | None = None) -> None:
        """Write the macros' initial state and the files of the first ``batches`` (all)."""
        if not self._written:
            self.machine.write_macros(folder)
        wanted = self.batches if batches is None else min(batches, self.batches)
        for index in range(self._written, wanted):
            self.stretches[index] = self._stretch(self._parts[index])
            self.machine.save(folder, index, self.stretches[index])
            self._written = index + 1

    def start(self, folder: Path, *, sim: str, waves: bool) -> None:
        """Build the simulator and start it on the batches that come into ``folder``."""
        log.info("building the %s simulation: some minutes at most, kept for the next run", sim)
        build = self.machine.build(sim=sim, waves=waves)
        self._pid = folder / PID_FILE

        def simulate() -> None:
            try:
                self.machine.simulate(
                    build, folder, sim=sim, seed=self.seed, batches=self.batches, waves=waves
                )
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

    def seconds(self, folder: Path, index: int, stop: interrupts.Stop) -> float:
        """Wait until the simulator has done batch ``index``; CPU seconds that it took."""
        assert self._thread is not None
        path = folder / f"seconds_{index}.txt"
        while not path.exists():
            alive = self._thread.is_alive()
            # Ctrl-C goes to the simulator, too.
            stop.check()
            if not alive and not path.exists():
                raise RuntimeError(f"the simulation ended before batch {index}: {self._failure}")
            time.sleep(0.005)
        return float(path.read_text(encoding="utf-8"))

    def check(self, folder: Path, index: int) -> tuple[Stretch, Checked]:
        """Run batch ``index`` in the model and compare; its files are deleted."""
        stretch = self.stretches.pop(index)
        checked = self.machine.check(folder, index, stretch)
        for pattern in (f"*[a-z]_{index}.*", f"*[a-z]_{index}_*.*"):
            for path in folder.glob(pattern):
                path.unlink()
        return stretch, checked


def choose_network(name: str | None, config: CoreConfig | None, data: Path | None) -> Network:
    """The network asked for, or the largest of one core that fits and whose data are there.

    A folder of MNIST files that was named, but is not usable, is an error.
    """
    if name is not None:
        return {**NETWORKS, **CHIP_NETWORKS}[name]
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


def choose_config(
    network: Network, *, preset: str | None, path: str | None, config: CoreConfig
) -> CoreConfig | ChipConfig:
    """Configuration of a network's core or chip: what was asked for, or its own."""
    if not isinstance(network, ChipNetwork):
        return config if preset or path else network.config
    if path:
        return network.chip.replace(core=config)
    return CHIPS[preset] if preset else network.chip


def make_machine(
    network: Network, config: CoreConfig | ChipConfig, profile: DeviceProfile, seed: int
) -> Machine:
    """The core or chip that trains a network."""
    if isinstance(config, CoreConfig):
        return CoreMachine(network, config, profile, seed)
    if not isinstance(network, ChipNetwork):
        raise TypeError(f"{network.name} is a network of one core")
    return ChipMachine(network, config, profile, seed)


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "simulate",
        help="train in the RTL and compare with the golden model, bit for bit",
        description=(
            "Train a network in the RTL, next to the golden model, and compare every result."
            " Without --network: mlp-196-50-10 if MNIST is found, otherwise a network on the"
            f" digits of scikit-learn. {', '.join(CHIP_NETWORKS)} run on a chip of several cores,"
            " where --config describes each core. --out names the folder of the JSON result and"
            " the learning curve (default: build/simulate)."
        ),
    )
    parser.add_argument("--network", choices=[*NETWORKS, *CHIP_NETWORKS])
    parser.add_argument(
        "--images", type=positive, metavar="N",
        help=f"training images per epoch (default: all with --epochs; without, {FIRST_RUN:,} in"
        f" all, e.g. ten epochs of the digits, or {SHORT_RUN:,} with Icarus, on a chip or with"
        " --resume)",
    )  # fmt: skip
    parser.add_argument(
        "--epochs", type=positive, metavar="N",
        help="times each image is seen (default 1 with --images)",
    )  # fmt: skip
    parser.add_argument(
        "--test", type=positive, metavar="N",
        help=f"test images (default {TEST_IMAGES}, or all if they are fewer)",
    )  # fmt: skip
    parser.add_argument("--sim", choices=["verilator", "icarus"], default="verilator")
    add_profile(parser)
    # With --resume the one of the checkpoint.
    parser.set_defaults(profile=None)
    add_devices(parser)
    parser.add_argument(
        "--resume", type=Path, metavar="FILE",
        help="go on from a checkpoint of phasecore train of a network of several cores, whose"
        " configuration, profile, seed and rates then hold: the trained devices and chi go into the"
        " RTL",
    )  # fmt: skip
    add_data(parser)
    add_validation(parser)
    parser.add_argument("--waves", action="store_true", help="record waveforms in --out (slow)")
    parser.add_argument("--name", help="name of the result files (default: simulate-NETWORK)")
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    checkpoint = None
    config: CoreConfig | ChipConfig
    if args.resume:
        checkpoint, trained, data = _checkpoint(args)
        network = trained.trained_network()
        config = CHIP_NETWORKS[network.name].chip.replace(core=trained.config)
        profile, seed = trained.profile, trained.seed
    else:
        given = args.config if args.preset or args.config_path else None
        network = choose_network(args.network, given, args.data)
        config = choose_config(
            network, preset=args.preset, path=args.config_path, config=args.config
        )
        if args.devices:
            config = _with_devices(config, args.devices)
        profile, seed = args.profile or PROFILES["pcm"], args.seed
        data = load_data(args, network)
        data = data.merged() if args.with_validation else data
    epochs, images = amount(args, network, len(data.train_x))
    folder: Path = args.out or Path("build") / "simulate"
    path = results.destination(args, folder, args.name or f"simulate-{network.name}", ".png")
    simulation = Simulation(
        make_machine(network, config, profile, seed), data, seed=seed, epochs=epochs,
        images=images, test=_tests(args, data), checkpoint=checkpoint,
    )  # fmt: skip
    rates = results.rates(simulation.machine.recipe)

    def write(measured: dict[str, Any]) -> dict[str, Any]:
        result = results.record(
            command=args.command, config=config, seed=seed, network=network.name,
            dataset=data.name, profile=profile.name, simulator=args.sim,
            resumed_after=checkpoint.done if checkpoint else 0, **rates, **measured,
        )  # fmt: skip
        results.write(path, result, args)
        return result

    result = _simulate(args, simulation, path, write)
    plot(result, path.with_suffix(".png"))
    return {**result, "ok": not result["mismatches"], "out": str(path)}


def amount(args: argparse.Namespace, network: Network, available: int) -> tuple[int, int]:
    """Epochs, and training images of each: what was asked for, or a first run."""
    if args.resume and args.epochs:
        raise ValueError("--epochs: the checkpoint's hold; --images N says how many images follow")
    if args.images or args.epochs:
        # A checkpoint's run goes on around and around.
        wanted = args.images if args.resume else at_most(
            "--images", args.images, available,
            "training images there are; --epochs sees them several times",
        )  # fmt: skip
        return args.epochs or 1, wanted
    slow = args.sim == "icarus" or args.resume or isinstance(network, ChipNetwork)
    wanted = SHORT_RUN if slow else FIRST_RUN
    images = min(wanted, available)
    return wanted // images, images


def _tests(args: argparse.Namespace, data: Dataset) -> int:
    available = len(data.test_x)
    wanted = args.test or min(TEST_IMAGES, available)
    return at_most("--test", wanted, available, f"test images of {data.name}")


def _simulate(
    args: argparse.Namespace, simulation: Simulation, path: Path,
    write: Callable[[dict[str, Any]], dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """Run a simulation; the result, of which a part is written now and then, and if stopped."""
    progress = Progress(simulation)
    # Waveforms are large: on the disk where they shall stay.
    beside = path.parent.resolve() if args.waves else None
    with tempfile.TemporaryDirectory(prefix="phasecore-", dir=beside) as scratch:
        work = Path(scratch)
        try:
            for measured in progress.follow(work, sim=args.sim, waves=args.waves):
                write(measured)
        except interrupts.Interrupted as end:
            if not progress.curve:
                raise
            write(progress.figures(complete=False))
            done = f"{progress.curve[-1]['images']} of {simulation.total} images"
            text = f"stopped after {done}, saved in {path}; the same command begins anew"
            raise interrupts.Interrupted(end.number, text) from None
        finally:
            simulation.stop()
        result = write(progress.figures(complete=True))
        if args.waves:
            waves = simulation.machine.wave_file(work, args.sim)
            result["waves"] = str(waves.replace(path.parent / waves.name))
    return result


def _checkpoint(args: argparse.Namespace) -> tuple[checkpoints.Checkpoint, Run, Dataset]:
    """The checkpoint to go on from, its run and that run's data.

    Options that contradict it are refused; what they leave open is the checkpoint's.
    """
    found = checkpoints.load(args.resume)
    run = found.run()
    if run.network not in CHIP_NETWORKS:
        raise ValueError(
            f"{found.path} is of {run.network}; RTL goes on from checkpoints of"
            f" {', '.join(CHIP_NETWORKS)} only"
        )
    config = run.config
    if args.preset or args.config_path:
        config = args.config if args.config_path else CHIPS[args.preset].core
    asked = replace(
        run,
        network=args.network or run.network,
        config=config.replace(devices_per_polarity=args.devices) if args.devices else config,
        profile=args.profile or run.profile,
        seed=run.seed if args.seed_given is None else args.seed,
        with_validation=args.with_validation or run.with_validation,
    )
    args.dataset = args.dataset or found.inputs["dataset"]
    if isinstance(args.dataset, str) and args.dataset not in NAMES:
        raise ValueError(f"{found.path} is of data of one's own, {args.dataset}: give --dataset")
    data = load_data(args, asked.trained_network())
    data = data.merged() if asked.with_validation else data
    found.check(asked.inputs(data))
    # For the inputs in the result.
    args.resumed = f"{run.network}, seed {run.seed}, {found.done} images, {found.digest[:16]}"
    return found, run, data


def _with_devices(config: CoreConfig | ChipConfig, devices: int) -> CoreConfig | ChipConfig:
    if isinstance(config, CoreConfig):
        return config.replace(devices_per_polarity=devices)
    return config.replace(core=config.core.replace(devices_per_polarity=devices))


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

    def follow(self, folder: Path, *, sim: str, waves: bool) -> Iterator[dict[str, Any]]:
        """Compare batch after batch as the simulator does them; yield figures now and then."""
        simulation = self.simulation
        simulation.write(folder, AHEAD)
        simulation.start(folder, sim=sim, waves=waves)
        with interrupts.deferred() as stop:
            for index in range(simulation.batches):
                seconds = simulation.seconds(folder, index, stop)
                simulation.write(folder, index + 1 + AHEAD)
                stretch, checked = simulation.check(folder, index)
                before = self._images["train"]
                self._compare(index, stretch, checked)
                if stretch.kind != "setup":
                    self._images[stretch.kind] += len(stretch.labels)
                    self._seconds[stretch.kind] += seconds
                if stretch.kind == "train":
                    self._train(stretch, checked)
                    if before // REPORT_IMAGES != self._images["train"] // REPORT_IMAGES:
                        yield self.figures(complete=False)
                elif stretch.kind == "test":
                    self._test(stretch, checked)
            simulation.finish()

    def _compare(self, index: int, stretch: Stretch, checked: Checked) -> None:
        self._mismatches += len(checked.mismatches)
        self._compared += checked.values
        texts = [f"batch {index} ({stretch.kind}): {text}" for text in checked.mismatches[:5]]
        self._first += texts[: 5 - len(self._first)]
        for text in texts[:3]:
            log.error("mismatch in %s", text)

    def _train(self, stretch: Stretch, checked: Checked) -> None:
        simulation, done = self.simulation, self._images["train"]
        simulation.twin.train(stretch.images, stretch.labels, [stretch.eta] * len(stretch.labels))
        self._counters.update(checked.counters)
        self._phases.update(checked.phases)
        point: dict[str, Any] = {"images": done}
        for machine, outputs in checked.outputs.items():
            loss, accuracy = online_figures(simulation.network, outputs, stretch.labels)
            point |= {f"loss_{machine}": loss, f"online_accuracy_{machine}": accuracy}
        self.curve.append(point)
        log.info(
            "%5d/%d images  loss %.4f  online %.1f %%  %.0f images/s  %d mismatches",
            done, simulation.total, point["loss_rtl"], 100 * point["online_accuracy_rtl"],
            done / self._seconds["train"], self._mismatches,
        )  # fmt: skip

    def _test(self, stretch: Stretch, checked: Checked) -> None:
        twin, labels = self.simulation.twin, stretch.labels
        self._right["float"] += twin.accuracy(stretch.images, labels) * len(labels)
        for machine, outputs in checked.outputs.items():
            found = classes(self.simulation.network, outputs)
            self._right[machine] += int(np.count_nonzero(found == labels))

    def figures(self, *, complete: bool) -> dict[str, Any]:
        """What the result file says; accuracies are null before the test."""
        simulation, images = self.simulation, self._images["train"]
        machine = simulation.machine
        tested = self._images["test"]
        programmers = [core.programmer for core in machine.cores.values()]
        per_image = {name: count / images for name, count in self._counters.items()}
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
            "phases_add_up": machine.phases_add_up,
            "bounds": {name: round(bound, 1) for name, bound in machine.bounds(per_image).items()},
            "cores": len(machine.cores),
            "weights": sum(layer.rows * layer.outputs for layer in simulation.network.layers),
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


def report(result: dict[str, Any]) -> str:
    accuracy = f"{100 * result['accuracy_rtl']:.2f} % / {100 * result['accuracy_model']:.2f} %"
    cores = "a core" if result["cores"] == 1 else f"{result['cores']} cores"
    rows = [
        ("network", f"{result['network']} on {cores}, {result['profile']} devices"),
        ("data set, simulator", f"{result['dataset']}, {result['simulator']}"),
        ("images trained", _trained(result)),
        ("mismatches", f"{result['mismatches']} in {result['values_compared']} values"),
        ("", "and all chi words and devices after every batch"),
        ("loss, RTL / model", f"{result['loss_rtl']:.4f} / {result['loss_model']:.4f}"),
        ("test accuracy, RTL / model", f"{accuracy} of {result['test_images']} images"),
        ("  float twin", f"{100 * result['accuracy_float']:.2f} %"),
        *_cycle_rows(result),
        ("SET / RESET pulses", f"{result['set_pulses']} / {result['reset_pulses']}"),
        ("simulation speed", f"{result['images_per_second']} training images per CPU second"),
        *_shown(result),
        ("written", result["out"]),
    ]  # fmt: skip
    if "waves" in result:
        rows.append(("waveforms", result["waves"]))
    return "\n".join(f"{name:28s}{value}" for name, value in rows)


def _trained(result: Mapping[str, Any]) -> str:
    """Images learnt, and what they are; results of before ``--epochs`` do not say it."""
    images, epochs = result["images"], result.get("epochs", 1)
    if result.get("resumed_after"):
        return f"{images}, after {result['resumed_after']} in the golden model"
    if epochs > 1:
        return f"{images}: {epochs} times the same {images // epochs}"
    available = result.get("images_available", images)
    return f"{images}" if images == available else f"{images} of {available}, each once"


def _shown(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """In words what the figures of a run from its beginning, without mismatches, say.

    Results of before ``--epochs`` do not know of what they are a part.
    """
    if "training" not in result or result["resumed_after"] or result["mismatches"]:
        return []
    below = 100 * (result["accuracy_float"] - result["accuracy_rtl"])
    gap = f"{abs(below):.2f} points {'below' if below > 0 else 'above'}" if below else "level with"
    rows = [
        ("this shows", "the RTL trained, with every bit of the golden model;"),
        ("", f"it classifies {gap} plain SGD in floating point"),
    ]
    if result["images"] < result["training"]["epochs"] * result["images_available"]:
        rows.append(("", "after a short run: more --images or --epochs train further"))
    return rows


def _cycle_rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Cycles per image: phases that add up with their bounds, or busy units."""
    cycles = dict(result["cycles_per_image"])
    total = cycles.pop("total")
    rows = [("cycles per image", f"{total:.0f}")]
    if not result["phases_add_up"]:
        busy = ", ".join(f"{name} {value:.0f}" for name, value in cycles.items())
        return [*rows, ("  of which busy (overlap)", busy)]
    for name, value in cycles.items():
        bound = result["bounds"].get(name)
        text = f"{value:7.1f}" if bound is None else f"{value:7.1f}  (bound {bound:.1f})"
        rows.append((f"  {name.replace('_', ' ')}", text))
    return rows


def plot(result: Mapping[str, Any], path: Path) -> None:
    """Learning curve of RTL and model (they lie on each other) and, of a chip, its cycles."""
    stacked = result["phases_add_up"]
    curve = result["curve"]
    with picture(
        path, 1, 3 if stacked else 2, size=(11 if stacked else 8.5, 3.4),
        width_ratios=[3, 3, 1.4] if stacked else None,
    ) as (figure, (panels,)):  # fmt: skip
        for axes, key, scale, label in (
            (panels[0], "loss", 1, "squared error per image"),
            (panels[1], "online_accuracy", 100, "accuracy on the next images, %"),
        ):
            for number, (machine, name) in enumerate([("rtl", "RTL"), ("model", "golden model")]):
                values = [scale * point[f"{key}_{machine}"] for point in curve]
                images, means = averaged([point["images"] for point in curve], values)
                axes.plot(images, means, label=name, **layered(number, 2, len(means)))
            axes.set_ylabel(label)
            number_axis(axes.xaxis, "training images")
            axes.legend()
        if stacked:
            _plot_phases(panels[2], result)
        figure.suptitle(
            f"{result['network']}, {result['profile']} devices: {result['mismatches']} mismatches,"
            f" test accuracy {100 * result['accuracy_rtl']:.1f} %"
            f" (float twin {100 * result['accuracy_float']:.1f} %)"
        )


def _plot_phases(axes: Any, result: Mapping[str, Any]) -> None:
    """Stacked bar of the cycles of an image, beside it the bounds."""
    phases = {n: c for n, c in result["cycles_per_image"].items() if n != "total"}
    tops = dict.fromkeys(("measured", "bound"), 0.0)
    for color, (name, cycles) in zip(COLORS, phases.items(), strict=False):
        for bar, value in (("measured", cycles), ("bound", result["bounds"].get(name, 0))):
            label = f"{name.replace('_', ' ')}, {cycles:.0f}" if bar == "measured" else None
            axes.bar(bar, value, bottom=tops[bar], color=color, label=label, width=0.7)
            tops[bar] += value
    for bar, top in tops.items():
        axes.text(bar, top, f"{top:.0f}", ha="center", va="bottom")
    axes.set_ylabel("cycles per image")
    axes.margins(y=0.1)
    axes.grid(visible=False, axis="x")
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1, 0.5))
