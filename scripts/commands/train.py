# SPDX-License-Identifier: Apache-2.0
"""``phasecore train``: train a network in the golden model, next to its float twin.

Every product runs in the crossbar model and every update through chi and pulses. The twin is
plain SGD from the same initial weights, on the same images at the same rates.
"""

import argparse
import errno
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore import files
from phasecore.models.compiler.convolution import CONV_NETWORKS
from phasecore.models.compiler.network import (
    CHIP_NETWORKS,
    ChipNetwork,
    Network,
    classes,
    online_figures,
)
from phasecore.models.golden.core import Core
from phasecore.models.training import checkpoint as checkpoints
from phasecore.models.training.checkpoint import ALL_NETWORKS, Run
from phasecore.models.training.datasets import Dataset
from phasecore.models.training.float_convolution import make_twin
from phasecore.models.training.float_reference import FloatTwin
from phasecore.models.training.learner import ALL_ENGINES, ENGINES, make_learner, stretches
from phasecore.rtl.spec.chip import CHIPS
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

__all__ = ["Trainer", "add_parser", "measured", "plot", "report", "run", "validate"]

EARLY_IMAGES = 2000
VALIDATION_IMAGES = 10_000
"""Validated points of the curve: one early, then at these intervals, besides one per epoch."""

CURVE_POINTS = 500
"""Points of a learning curve in a result file."""

CHECKPOINT_SECONDS = 60
"""Time between checkpoints, each of which takes some seconds for a chip."""

INFERENCE_IMAGES = 500
"""Images per inference program."""

log = logging.getLogger("phasecore")


class Trainer:
    """A core, or a chip, and a float twin that learn the same images.

    ``engine`` is one of ``phasecore.models.training.learner.ENGINES``; a run may be resumed with
    another.

    Attributes
    ----------
    rates : fields of a result that say how well the integers hold the learning rates
    inputs : of the run, see :meth:`Run.inputs`
    done : images learnt
    curve : one entry per stretch of images between two refreshes
    grown : images learnt and epochs that were to be learnt, whenever a run was made longer
    """

    def __init__(self, run: Run, data: Dataset, engine: str = ENGINES[0]):
        self.run = run
        self.inputs = run.inputs(data)
        self.data = data
        self.network = run.trained_network()
        self._learner = make_learner(self.network, run.config, run.profile, run.seed, engine)
        self.rates = results.rates(self._learner.recipe)
        self.twin = make_twin(self.network, self._learner.weights(), _twin_class(engine))
        self.done = 0
        self.curve: list[dict[str, Any]] = []
        self.grown: list[list[int]] = []

    @property
    def cores(self) -> list[Core]:
        """All cores in use."""
        return self._learner.cores

    @property
    def total(self) -> int:
        """Images of the whole run."""
        return self.run.epochs * self.run.images

    def stretches(self) -> Iterator[dict[str, Any]]:
        """Learn what is left; yield the curve's entries as they come."""
        run = self.run
        endless = stretches(
            self.network.training, count=len(self.data.train_x), seed=run.seed, epochs=run.epochs,
            images=run.images, done=self.done,
        )  # fmt: skip
        while self.done < self.total:
            self._learn(*next(endless))
            yield self.curve[-1]

    def accuracy(self, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> float:
        """Fraction of images that the core classifies as labelled."""
        right = 0
        for start in range(0, len(images), INFERENCE_IMAGES):
            part = images[start : start + INFERENCE_IMAGES]
            found = classes(self.network, self._learner.infer(part))
            right += int(np.count_nonzero(found == labels[start : start + INFERENCE_IMAGES]))
        return right / len(images)

    def save(self, path: Path) -> None:
        """Write everything that :meth:`resume` needs to go on as if never stopped."""
        state = self._learner.state()
        state |= {f"twin.{i}": weights for i, weights in enumerate(self.twin.weights)}
        checkpoints.save(
            path, inputs=self.inputs, done=self.done, curve=self.curve, grown=self.grown,
            state=state,
        )  # fmt: skip

    def resume(self, path: Path) -> None:
        """Take the state of a checkpoint of the same run, or of one that had fewer epochs."""
        stored = checkpoints.load(path)
        stored.check(self.inputs)
        twin = stored.twin(self.twin.weights)
        try:
            self._learner.restore(stored.state)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        self.twin.weights = twin
        self.done, self.curve, self.grown = stored.done, stored.curve, stored.grown
        epochs = stored.inputs["epochs"]
        if epochs < self.run.epochs:
            self.grown.append([self.done, epochs])
            log.info("%s: the run grows from %d to %d epochs", path, epochs, self.run.epochs)

    def _learn(self, chosen: NDArray[np.int64], eta: float) -> None:
        began = time.perf_counter()
        images, labels = self.data.train_x[chosen], self.data.train_y[chosen]
        self._learner.set_rate(eta)
        outputs = self._learner.learn(images, labels)
        seconds = time.perf_counter() - began
        self.twin.train(images, labels, [eta] * len(chosen))
        self.done += len(chosen)
        loss, online = online_figures(self.network, outputs, labels)
        self.curve.append(
            {
                "images": self.done,
                "eta": round(eta, 6),
                "loss": round(loss, 6),
                "online_accuracy": round(online, 4),
                "seconds": round(seconds, 3),
            }
        )


def _twin_class(engine: str) -> type[FloatTwin]:
    """Float twin of an engine: its own figures differ by the rounding of sums only."""
    if engine == "reference":
        return FloatTwin
    from phasecore.models.training.float_engine import CompiledFloatTwin

    return CompiledFloatTwin


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "train",
        help="train a network in the golden model",
        description=(
            "Train a network in the golden model, next to plain SGD in floating point from the"
            " same initial weights. --out names the folder of the JSON result and the learning"
            " curve (default: build/train). Without --preset or --config the network's own"
            f" configuration is taken. {', '.join(CHIP_NETWORKS)} run on a chip of several cores,"
            f" all of that configuration; {', '.join(CONV_NETWORKS)} on cores with im2col between"
            " them, which no RTL has yet (docs/contract/convolution.md)."
        ),
    )
    parser.add_argument("--network", choices=ALL_NETWORKS, default="mlp-64-50-10")
    add_profile(parser)
    parser.add_argument("--name", help="name of the result files (default: of network and devices)")
    parser.add_argument("--epochs", type=positive, help="times each image is seen")
    parser.add_argument(
        "--images", type=positive, metavar="N", help="images per epoch (default: all)"
    )
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
    parser.add_argument(
        "--engine", choices=ALL_ENGINES, default=ENGINES[0],
        help=f"what runs the programs, with the same results (default: {ENGINES[0]})",
    )  # fmt: skip
    add_data(parser)
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE",
        help=f"write the state here every {CHECKPOINT_SECONDS} seconds and at the end",
    )  # fmt: skip
    parser.add_argument("--resume", type=Path, metavar="FILE", help="go on from a checkpoint")
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    network = ALL_NETWORKS[args.network]
    config = _config(network, args)
    if args.devices:
        config = config.replace(devices_per_polarity=args.devices)
    folder: Path = args.out or Path("build") / "train"
    name = args.name or f"train-{network.name}-{args.profile.name}-{config.devices_per_polarity}"
    growing = ("epochs",) if args.resume else ()
    path = results.destination(args, folder, name, ".png", growing=growing)
    data = load_data(args, network)
    if args.with_validation:
        data = data.merged()
    first = Run(
        network=network.name, config=config, profile=args.profile, seed=args.seed,
        epochs=args.epochs or network.training.epochs,
        images=at_most(
            "--images", args.images, len(data.train_x), f"training images of {data.name}"
        ),
        eta=args.eta, eta_end=args.eta_end, with_validation=args.with_validation,
    )  # fmt: skip
    todo = [replace(first, seed=seed) for seed in range(args.seed, args.seed + args.seeds)]
    checkpoint: Path = args.checkpoint or path.with_suffix(".npz")
    _check_checkpoints(todo, data, checkpoint, args)
    runs: list[dict[str, Any]] = []
    for one in todo:
        trainer = Trainer(one, data, args.engine)
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
        "pulses_per_weight_per_image", "set_pulses", "reset_pulses", "refreshed_pairs",
        "chi_saturations", "images_per_second", "endurance",
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


def _config(network: Network, args: argparse.Namespace) -> CoreConfig:
    """Configuration of the core, or of every core of the chip: the one asked for, or its own."""
    config: CoreConfig = args.config
    if args.config_path is not None:
        return config
    if args.preset is None:
        return network.config
    return CHIPS[args.preset].core if isinstance(network, ChipNetwork) else config


def report(result: dict[str, Any]) -> str:
    devices = result["config"]["devices_per_polarity"]
    each = [f"{100 * accuracy:.2f}" for accuracy in result.get("accuracies", [])]
    seeds = f", mean of {', '.join(each)}" if each else ""
    worn = result["endurance"]
    return "\n".join(
        [
            f"network                    {result['network']}, {result['weights']} weights",
            f"devices                    {devices} per polarity, {result['profile']}",
            f"images learnt              {result['images']}",
            f"test accuracy              {100 * result['accuracy_model']:.2f} %{seeds}",
            f"float twin                 {100 * result['accuracy_float']:.2f} %",
            f"pulses per weight, image   {result['pulses_per_weight_per_image']:.1e}",
            f"pulses per device          mean {worn['pulses_mean']:.1f}, most {worn['pulses_max']}",
            f"RESETs per device          mean {worn['resets_mean']:.2f}, most {worn['resets_max']}",
            f"written                    {result['out']}",
        ]
    )


def _train(trainer: Trainer, stop: interrupts.Stop, checkpoint: Path, *, regularly: bool) -> None:
    """Learn what is left; save to ``checkpoint`` when told to stop, and perhaps regularly."""
    saved = time.monotonic()
    for point in trainer.stretches():
        validate(trainer, point)
        log.info(_progress(trainer, point))
        is_last = point["images"] == trainer.total
        if stop.number and not is_last:
            trainer.save(checkpoint)
            done = f"{point['images']} of {trainer.total} images"
            stop.check(f"stopped after {done}, saved in {checkpoint}")
        if regularly and (is_last or time.monotonic() - saved > CHECKPOINT_SECONDS):
            try:
                trainer.save(checkpoint)
            except OSError as error:
                # The one before is still there, and the disk may have room by the next.
                log.warning("warning: no checkpoint: %s: %s", checkpoint, error.strerror)
            saved = time.monotonic()


def validate(trainer: Trainer, point: dict[str, Any]) -> None:
    """Add accuracies on the validation images, if there are any, to some points of the curve."""
    data, done = trainer.data, point["images"]
    is_due = done == EARLY_IMAGES or done % VALIDATION_IMAGES == 0
    # Without validation images: they are being trained on.
    if (is_due or done % trainer.run.images == 0) and len(data.validation_x):
        part = data.validation_x, data.validation_y
        point["validation_accuracy"] = trainer.accuracy(*part)
        point["validation_accuracy_float"] = trainer.twin.accuracy(*part)


def _progress(trainer: Trainer, point: Mapping[str, Any]) -> str:
    line = (
        f"{point['images']}/{trainer.total} images, eta {point['eta']:.3f},"
        f" loss {point['loss']:.4f}, online {100 * point['online_accuracy']:.1f} %"
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
    weights = sum(layer.rows * layer.outputs for layer in trainer.network.layers)
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
        **trainer.rates,
        dataset=data.name,
        data_sha256=trainer.inputs["data_sha256"],
        with_validation=run.with_validation,
        accuracy_model=trainer.accuracy(data.test_x, data.test_y),
        accuracy_float=trainer.twin.accuracy(data.test_x, data.test_y),
        pulses_per_weight_per_image=sum(set_pulses) / weights / trainer.done,
        set_pulses=sum(set_pulses),
        set_pulses_by_core=set_pulses,
        reset_pulses=sum(programmer.reset_pulses for programmer in programmers),
        refreshed_pairs=sum(programmer.refreshed for programmer in programmers),
        endurance=_endurance(trainer.cores),
        chi_saturations=sum(core.update.chi_saturations for core in trainer.cores),
        images_per_second=round(trainer.done / seconds, 1),
        curve=_thinned(trainer.curve),
    )


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
