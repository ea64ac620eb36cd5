# SPDX-License-Identifier: Apache-2.0
"""``phasecore train``: train a network in the golden model, next to its float twin.

Every product runs in the crossbar model and every update through chi and pulses. The twin is
plain SGD from the same initial weights, on the same images at the same rates.
"""

import argparse
import errno
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from phasecore import files
from phasecore.models.compiler.networks import ON_CHIPS
from phasecore.models.compiler.trainable import named_network
from phasecore.models.golden.core import Core
from phasecore.models.training import checkpoint as checkpoints
from phasecore.models.training.checkpoint import Run
from phasecore.models.training.datasets import Dataset
from phasecore.models.training.learner import run_size
from phasecore.models.training.trainer import Trainer, validate
from phasecore.progress import counted
from phasecore.scripts import interrupts
from phasecore.scripts.commands.options import (
    add_data,
    add_devices,
    add_network,
    add_profile,
    add_size,
    add_validation,
    core_config,
    load_data,
    positive,
    rate,
)
from phasecore.scripts.report import results
from phasecore.scripts.report.pictures import (
    COLORS,
    averaged,
    error_axis,
    layered,
    number_axis,
    picture,
)

__all__ = ["add_parser", "measured", "plot", "report", "run"]

CURVE_POINTS = 500
"""Points of a learning curve in a result file."""

CHECKPOINT_SECONDS, CHECKPOINT_SHARE = 60, 20
"""Least time between checkpoints, and in units of the time that one takes."""

log = logging.getLogger("phasecore")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "train",
        help="train a network in the golden model",
        description=(
            "Train a network in the golden model, next to plain SGD in floating point from the"
            " same initial weights. --out names the folder of the JSON result and the learning"
            " curve (default: build/train). Without --config the network's own"
            f" configuration is taken. {', '.join(ON_CHIPS)} run on a chip of several cores, all of"
            " that configuration."
        ),
    )
    add_network(parser, default="mlp-64-50-10")
    add_profile(parser)
    parser.add_argument("--name", help="name of the result files (default: of network and devices)")
    add_size(parser)
    parser.add_argument(
        "--seeds",
        type=positive,
        default=1,
        metavar="K",
        help="train K times, with seeds from --seed up (default 1)",
    )
    add_validation(parser)
    parser.add_argument(
        "--eta", type=rate, metavar="RATE", help="learning rate at the start (default: network's)"
    )
    parser.add_argument(
        "--eta-end",
        type=rate,
        metavar="RATE",
        help="... and at the end, to which it falls geometrically",
    )
    add_devices(parser)
    add_data(parser)
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE",
        help=f"write the state here, every {CHECKPOINT_SECONDS} seconds at most, and at the end",
    )  # fmt: skip
    parser.add_argument("--resume", type=Path, metavar="FILE", help="go on from a checkpoint")
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    network = named_network(args.network)
    config = core_config(args, network)
    folder: Path = args.out or Path("build") / "train"
    name = args.name or f"train-{network.name}-{args.profile.name}-{config.devices_per_polarity}"
    growing = ("epochs", "images") if args.resume else ()
    path = results.destination(args, folder, name, ".png", growing=growing)
    data = load_data(args, network)
    if args.with_validation:
        data = data.merged()
    epochs, images = run_size(
        len(data.train_x), network.training.epochs, images=args.images,
        images_per_epoch=args.images_per_epoch, epochs=args.epochs,
    )  # fmt: skip
    first = Run(
        network=network, config=config, profile=args.profile, seed=args.seed, epochs=epochs,
        images=images, eta=args.eta, eta_end=args.eta_end, with_validation=args.with_validation,
    )  # fmt: skip
    todo = [replace(first, seed=seed) for seed in range(args.seed, args.seed + args.seeds)]
    checkpoint: Path = args.checkpoint or path.with_suffix(".npz")
    _check_checkpoints(todo, data, checkpoint, args)
    runs: list[dict[str, Any]] = []
    for one in todo:
        trainer = Trainer(one, data)
        results.warn(trainer.mapping.recipe)
        resume = args.resume and _of_seed(args.resume, one.seed, args.seeds)
        # Of several seeds, those that had not begun have no checkpoint.
        if resume and resume.exists():
            trainer.resume(resume)
        with interrupts.deferred() as stop:
            saved = _of_seed(checkpoint, one.seed, args.seeds)
            with interrupts.explained(f"the same command with --resume {checkpoint} goes on"):
                _train(trainer, stop, saved, regularly=args.checkpoint is not None)
            runs.append(measured(trainer, args.command))
            result = runs[0] if args.seeds == 1 else _summary(runs)
            results.write(path, result, args)
            if len(runs) < args.seeds:
                stop.check(f"stopped after {len(runs)} of {args.seeds} seeds: {path} has them")
    plot(result, path.with_suffix(".png"))
    return {**result, "out": str(path)}


def _check_checkpoints(
    runs: Sequence[Run], data: Dataset, checkpoint: Path, args: argparse.Namespace
) -> None:
    """Before the work: what shall be resumed is there, what is written replaces no other run."""
    seeds = len(runs)
    resumed = [_of_seed(args.resume, run.seed, seeds) for run in runs] if args.resume else []
    if args.resume and not any(path.exists() for path in resumed):
        raise FileNotFoundError(errno.ENOENT, "no such checkpoint", str(resumed[0]))
    for run in runs:
        path = _of_seed(checkpoint, run.seed, seeds)
        files.check_target(path)
        if path.exists() and path not in resumed and not args.overwrite:
            try:
                checkpoints.load(path).check(run.inputs(data))
            except ValueError as error:
                raise ValueError(f"{error}: --overwrite replaces it") from error


def _of_seed(path: Path, seed: int, seeds: int) -> Path:
    """Checkpoint of a seed: ``path`` itself, or with several seeds one beside it."""
    return path if seeds == 1 else path.with_stem(f"{path.stem}-{seed}")


def _summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Result of several seeds: means and each of them, with the curve of the first."""
    accuracies = [run["accuracy_model"] for run in runs]
    floats = [run["accuracy_float"] for run in runs]
    mean, mean_float = (float(np.mean(values)) for values in (accuracies, floats))
    each = (
        "pulses_per_weight_per_image", "pulses_by_layer", "set_pulses", "reset_pulses",
        "refreshed_pairs", "chi_saturations", "images_per_second", "endurance",
    )  # fmt: skip
    return {
        **runs[0],
        "seeds": [run["seed"] for run in runs],
        "accuracies": accuracies,
        "accuracies_float": floats,
        "mean_accuracy": round(mean, 6),
        "mean_accuracy_float": round(mean_float, 6),
        "gap_to_float": round(mean_float - mean, 6),
        "accuracy_model": mean,
        "accuracy_float": mean_float,
        **{f"{name}_by_seed": [run[name] for run in runs] for name in each},
    }


def report(result: dict[str, Any]) -> str:
    devices = result["config"]["devices_per_polarity"]
    each = [f"{100 * accuracy:.2f}" for accuracy in result.get("accuracies", [])]
    seeds = f", mean of {', '.join(each)}" if each else ""
    worn = result["endurance"]
    layers = ", ".join(f"{pulses:.1e}" for pulses in result["pulses_by_layer"])
    return "\n".join(
        [
            f"network                    {result['network']}, {result['weights']} weights",
            f"devices                    {devices} per polarity, {result['profile']}",
            f"images learnt              {result['images']}",
            f"test accuracy              {100 * result['accuracy_model']:.2f} %{seeds}",
            f"float twin                 {100 * result['accuracy_float']:.2f} %",
            f"pulses per weight, image   {result['pulses_per_weight_per_image']:.1e}",
            f"the same by layer          {layers}",
            f"pulses per device          mean {worn['pulses_mean']:.1f}, most {worn['pulses_max']}",
            f"RESETs per device          mean {worn['resets_mean']:.2f}, most {worn['resets_max']}",
            f"written                    {result['out']}",
        ]
    )


def _train(trainer: Trainer, stop: interrupts.Stop, checkpoint: Path, *, regularly: bool) -> None:
    """Learn what is left; save to ``checkpoint`` when told to stop, and perhaps regularly."""
    saved, pause = time.monotonic(), CHECKPOINT_SECONDS
    with counted("training", trainer.total, "images", trainer.done) as line:
        for point in trainer.stretches():
            validate(trainer, point)
            line.to(point["images"], _note(point))
            if "validation_accuracy" in point and point["images"] % trainer.run.images == 0:
                log.info("%d of %d images, %s", point["images"], trainer.total, _note(point))
            is_last = point["images"] == trainer.total
            if stop.number and not is_last:
                trainer.save(checkpoint)
                done = f"{point['images']} of {trainer.total} images"
                stop.check(f"stopped after {done}, saved in {checkpoint}")
            if regularly and (is_last or time.monotonic() - saved > pause):
                began = time.monotonic()
                try:
                    trainer.save(checkpoint)
                except OSError as error:
                    # The one before is still there, and the disk may have room by the next.
                    log.warning("warning: no checkpoint: %s: %s", checkpoint, error.strerror)
                saved = time.monotonic()
                pause = max(CHECKPOINT_SECONDS, round(CHECKPOINT_SHARE * (saved - began)))


def _note(point: Mapping[str, Any]) -> str:
    """How well it goes."""
    line = (
        f"eta {point['eta']:.3f}, loss {point['loss']:.4f},"
        f" online {100 * point['online_accuracy']:.1f} %"
    )
    if "validation_accuracy" in point:
        line += (
            f", validation {100 * point['validation_accuracy']:.2f} %"
            f" (float {100 * point['validation_accuracy_float']:.2f} %)"
        )
    return line


def measured(trainer: Trainer, command: str) -> dict[str, Any]:
    """Result of a run that is done, as files have it; it classifies the test images."""
    run, data = trainer.run, trainer.data
    programmers = [core.programmer for core in trainer.cores]
    set_pulses = [programmer.set_pulses for programmer in programmers]
    weights = trainer.network.weights
    seconds = sum(point["seconds"] for point in trainer.curve)
    return results.record(
        command=command,
        config=run.config,
        seed=run.seed,
        network=trainer.network.name,
        profile=run.profile.name,
        epochs=run.epochs,
        grown=trainer.grown,
        images=trainer.done,
        weights=weights,
        training=asdict(trainer.network.training),
        **results.rates(trainer.mapping.recipe),
        dataset=data.name,
        data_sha256=trainer.inputs["data_sha256"],
        with_validation=run.with_validation,
        accuracy_model=trainer.accuracy(data.test_x, data.test_y),
        accuracy_float=trainer.twin.accuracy(data.test_x, data.test_y),
        pulses_per_weight_per_image=sum(set_pulses) / weights / trainer.done,
        set_pulses=sum(set_pulses),
        set_pulses_by_core=set_pulses,
        pulses_by_layer=_pulses_by_layer(trainer),
        reset_pulses=sum(programmer.reset_pulses for programmer in programmers),
        refreshed_pairs=sum(programmer.refreshed for programmer in programmers),
        endurance=_endurance(trainer.cores),
        chi_saturations=sum(core.update.chi_saturations for core in trainer.cores),
        images_per_second=round(trainer.done / seconds, 1),
        curve=_thinned(trainer.curve),
    )


def _pulses_by_layer(trainer: Trainer) -> list[float]:
    """SET pulses per weight and image, by layer."""
    mapping, crossbars = trainer.mapping, [core.crossbar for core in trainer.cores]
    pulses = {
        node: (crossbar.events - crossbar.resets).sum(axis=(2, 3))
        for node, crossbar in zip(mapping.nodes, crossbars, strict=True)
    }
    units = mapping.recipe.weight_units
    return [
        float(layer.mean()) * unit / trainer.done
        for layer, unit in zip(mapping.weights(pulses), units, strict=True)
    ]


def _thinned(curve: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most about ``CURVE_POINTS`` points of a curve, the last and validated ones among them."""
    step = -(-len(curve) // CURVE_POINTS)
    return [
        point for number, point in enumerate(curve, 1)
        if number % step == 0 or number == len(curve) or "validation_accuracy" in point
    ]  # fmt: skip


def _endurance(cores: Sequence[Core]) -> dict[str, float]:
    """Events per device over all cores: mean over all devices of the arrays, and the most."""
    each = [core.crossbar.endurance() for core in cores]
    return {
        name: max(one[name] for one in each)
        if name.endswith("max")
        else float(np.mean([one[name] for one in each]))
        for name in each[0]
    }


def plot(result: Mapping[str, Any], path: Path) -> None:
    """Learning curve: online and validation error against images, and the test's at the end."""
    curve = result["curve"]
    online = [100 * (1 - point["online_accuracy"]) for point in curve]
    # Few points: an error of 1 % is one image of 100.
    images, errors = averaged([point["images"] for point in curve], online, points=40)
    marked = [point for point in curve if "validation_accuracy" in point]
    names = (f"golden model, {result['profile']} devices", "float twin")
    with picture(path, size=(7, 4)) as (_, ((axes,),)):
        axes.plot(images, errors, color="0.7", linewidth=1, label="golden model: images it learns")
        # Without any when the validation images were trained on.
        validated = ("validation_accuracy", "validation_accuracy_float") if marked else ()
        for number, key in enumerate(validated):
            axes.plot(
                [point["images"] for point in marked],
                [100 * (1 - point[key]) for point in marked],
                label=f"{names[number]}: validation", **layered(number, 2, len(marked)),
            )  # fmt: skip
        for number, key in enumerate(("accuracy_model", "accuracy_float")):
            axes.plot(
                curve[-1]["images"], 100 * (1 - result[key]), "*P"[number], color=COLORS[number],
                markersize=11 - 3 * number, markeredgecolor="black", markeredgewidth=0.6,
                label=f"{names[number]}: test", linestyle="none", zorder=3,
            )  # fmt: skip
        error_axis(axes)
        number_axis(axes.xaxis, "training images")
        title = (
            f"{result['network']}, test accuracy {100 * result['accuracy_model']:.2f} %"
            f" (float twin {100 * result['accuracy_float']:.2f} %)"
        )
        if "seeds" in result:
            title += f", means of {len(result['seeds'])} seeds; curve of the first"
        axes.set(ylabel="error, %", title=title)
        axes.legend()
