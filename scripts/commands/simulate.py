# SPDX-License-Identifier: Apache-2.0
"""``phasecore simulate``: train a network in the RTL and hold every result against the model.

The run itself is ``verification/cosim/simulation.py``.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from phasecore.models.compiler.networks import ON_CHIPS
from phasecore.models.compiler.trainable import named_network
from phasecore.models.golden.device import PROFILES
from phasecore.models.training import checkpoint as checkpoints
from phasecore.models.training.checkpoint import Run
from phasecore.models.training.datasets import NAMES, Dataset
from phasecore.models.training.learner import run_size
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.scripts import interrupts
from phasecore.scripts.commands import inference
from phasecore.scripts.commands.options import (
    TIMELINE,
    add_data,
    add_devices,
    add_network,
    add_profile,
    add_size,
    add_timeline,
    add_validation,
    at_most,
    choose_network,
    core_config,
    load_data,
    positive,
)
from phasecore.scripts.report import results
from phasecore.scripts.report.simulation import plot, report
from phasecore.verification.cosim.machine import Machine
from phasecore.verification.cosim.simulation import Progress, Simulation

__all__ = ["add_parser", "plot", "report", "run", "size"]

TEST_IMAGES = 500
"""Test images unless said otherwise."""

FIRST_RUN = 12_000
"""Training images unless said otherwise: ten times all digits, which is enough to learn them ..."""

SHORT_RUN = 1000
"""... and where a simulator is slow (Icarus, a chip) or the network has learnt (--resume)."""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "simulate",
        help="train in the RTL and compare with the golden model, bit for bit",
        description=(
            "Train a network in the RTL, next to the golden model, and compare every result."
            " Without --network: mlp-196-50-10 if MNIST is found, otherwise a network on the"
            f" digits of scikit-learn. {', '.join(ON_CHIPS)} run on a chip of several cores,"
            " where --config describes each core. --out names the folder of the JSON result and"
            " the learning curve (default: build/simulate). With --infer a trained network infers."
        ),
    )
    add_network(
        parser, *inference.MODELS, without="mlp-196-50-10 if MNIST is found, else one on the digits"
    )
    add_size(
        parser,
        epochs="1 if images are given",
        images=f"{FIRST_RUN:,}, e.g. ten epochs of the digits; {SHORT_RUN:,} with Icarus, on a chip"
        " or with --resume",
    )
    parser.add_argument(
        "--test-images", type=positive, metavar="N",
        help=f"test images (default {TEST_IMAGES}, or all if they are fewer)",
    )  # fmt: skip
    parser.add_argument("--sim", choices=["verilator", "icarus"], default="verilator")
    # With --resume the one of the checkpoint.
    add_profile(parser, default=None)
    add_devices(parser)
    parser.add_argument(
        "--resume", type=Path, metavar="FILE",
        help="go on from a checkpoint of phasecore train of a network of several cores, whose"
        " configuration, profile, seed and rates then hold: the trained devices and chi go into the"
        " RTL",
    )  # fmt: skip
    add_data(parser)
    add_validation(parser)
    add_timeline(parser)
    parser.add_argument("--waves", action="store_true", help="record waveforms in --out (slow)")
    parser.add_argument(
        "--name",
        help="name of the result files (default: simulate-NETWORK, with --infer NETWORK-rtl)",
    )
    inference.add_options(parser)
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    if args.infer:
        return inference.run(args)
    if args.network in inference.MODELS:
        raise ValueError(f"{args.network} does not learn in the RTL: --infer is needed")
    checkpoint = None
    if args.resume:
        checkpoint, trained, data = _checkpoint(args)
    else:
        network = choose_network(args)
        trained = Run(
            network=network, config=core_config(args, network),
            profile=args.profile or PROFILES["pcm"], seed=args.seed, epochs=1, images=1,
        )  # fmt: skip
        data = load_data(args, network)
        data = data.merged() if args.with_validation else data
    network = trained.trained_network()
    mapping = trained.mapping()
    epochs, images = size(args, isinstance(mapping.hardware, ChipConfig), len(data.train_x))
    folder: Path = args.out or Path("build") / "simulate"
    others = (".png", TIMELINE) if args.timeline else (".png",)
    path = results.destination(args, folder, args.name or f"simulate-{network.name}", *others)
    machine = Machine(mapping, trained.seed)
    simulation = Simulation(
        machine, data, seed=trained.seed, epochs=epochs, images=images, test=_tests(args, data),
        checkpoint=checkpoint,
    )  # fmt: skip
    rates = results.rates(machine.mapping.recipe)
    results.warn(machine.mapping.recipe)

    def write(measured: dict[str, Any]) -> dict[str, Any]:
        result = results.record(
            command=args.command, config=machine.mapping.hardware, seed=trained.seed,
            network=network.name, dataset=data.name, profile=trained.profile.name,
            simulator=args.sim, resumed_after=checkpoint.done if checkpoint else 0,
            **rates, **measured,
        )  # fmt: skip
        results.write(path, result, args)
        return result

    result = _simulate(args, simulation, path, write)
    plot(result, path.with_suffix(".png"))
    return {**result, "ok": not result["mismatches"], "out": str(path)}


def size(args: argparse.Namespace, is_chip: bool, available: int) -> tuple[int, int]:
    """Epochs, and training images of each: what was asked for, or a first run."""
    if args.resume:
        for name in ("epochs", "images_per_epoch"):
            if getattr(args, name):
                option = f"--{name.replace('_', '-')}"
                raise ValueError(
                    f"{option}: the checkpoint's hold; --images N says how many images follow"
                )
        # A checkpoint's run goes on around and around.
        return 1, args.images or min(SHORT_RUN, available)
    if args.images or args.epochs or args.images_per_epoch:
        return run_size(
            available, 1, images=args.images, images_per_epoch=args.images_per_epoch,
            epochs=args.epochs,
        )  # fmt: skip
    wanted = SHORT_RUN if args.sim == "icarus" or is_chip else FIRST_RUN
    images = min(wanted, available)
    return wanted // images, images


def _tests(args: argparse.Namespace, data: Dataset) -> int:
    available = len(data.test_x)
    wanted = args.test_images or min(TEST_IMAGES, available)
    return at_most("--test-images", wanted, available, f"test images of {data.name}")


def _simulate(
    args: argparse.Namespace, simulation: Simulation, path: Path,
    write: Callable[[dict[str, Any]], dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """Run a simulation; the result, of which a part is written now and then, and if stopped."""
    progress = Progress(simulation)
    timeline = simulation.observe() if args.timeline else None
    # Waveforms are large: on the disk where they shall stay.
    beside = path.parent.resolve() if args.waves else None
    with tempfile.TemporaryDirectory(prefix="phasecore-", dir=beside) as scratch:
        work = Path(scratch)
        try:
            with interrupts.deferred() as stop:
                for measured in progress.follow(
                    work, sim=args.sim, waves=args.waves, check=stop.check
                ):
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
        if timeline:
            timeline.write(path.with_suffix(TIMELINE))
        if args.waves:
            waves = simulation.machine.rtl.wave_file(work, args.sim)
            result["waves"] = str(waves.replace(path.parent / waves.name))
    return result


def _checkpoint(args: argparse.Namespace) -> tuple[checkpoints.Checkpoint, Run, Dataset]:
    """The checkpoint to go on from, its run and that run's data.

    Options that contradict it are refused; what they leave open is the checkpoint's.
    """
    found = checkpoints.load(args.resume)
    run = found.run()
    network = named_network(args.network) if args.network else run.network
    config = core_config(args, network) if args.config_name else run.config
    asked = replace(
        run,
        network=network,
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
    args.resumed = f"{run.network.name}, seed {run.seed}, {found.done} images, {found.digest[:16]}"
    return found, run, data
