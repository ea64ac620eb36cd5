# SPDX-License-Identifier: Apache-2.0
"""``phasecore train``: train a network in the golden model, next to its float twin.

Every product runs in the crossbar model and every update through chi and pulses. The twin is
plain SGD from the same initial weights, on the same images at the same rates.
"""

import argparse
import io
import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.convolution import CONV_NETWORKS
from models.core import Core
from models.datasets import Dataset, order
from models.device import PROFILES, DeviceProfile
from models.float_convolution import make_twin
from models.learner import ENGINES, make_learner
from models.networks import (
    CHIP_NETWORKS,
    NETWORKS,
    ChipNetwork,
    Network,
    classes,
    online_figures,
)
from rtl.chip.config import CHIPS
from rtl.config import CoreConfig
from scripts import results
from scripts.options import add_data, load_data, positive

__all__ = ["Run", "Trainer", "add_parser", "report", "run"]

ALL_NETWORKS: Mapping[str, Network] = {**NETWORKS, **CHIP_NETWORKS, **CONV_NETWORKS}

EARLY_IMAGES = 2000
VALIDATION_IMAGES = 10_000
"""Validated points of the curve: one early, then at these intervals, besides one per epoch."""

SMOOTHED = 5
"""Stretches over which the plotted online error is averaged."""

CHECKPOINT_IMAGES = 5000
"""Images between checkpoints."""

INFERENCE_IMAGES = 500
"""Images per inference program."""

log = logging.getLogger("phasecore")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is trained: the part of a checkpoint that a resumed run must share."""

    network: str
    config: CoreConfig
    profile: DeviceProfile
    seed: int
    epochs: int
    images: int
    """Images per epoch."""


class Trainer:
    """A core, or a chip, and a float twin that learn the same images.

    ``engine`` is one of ``models.learner.ENGINES``; a run may be resumed with another.

    Attributes
    ----------
    done : images learnt
    curve : one entry per stretch of images between two refreshes
    """

    def __init__(self, run: Run, data: Dataset, engine: str = ENGINES[0]):
        self.run = run
        self.data = data
        self.network: Network = ALL_NETWORKS[run.network]
        self._learner = make_learner(
            self.network, run.config, run.profile, run.seed, engine
        )
        self.twin = make_twin(self.network, self._learner.weights())
        self.done = 0
        self.curve: list[dict[str, Any]] = []

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
        while self.done < self.total:
            epoch, start = divmod(self.done, self.run.images)
            chosen = order(len(self.data.train_x), self.run.seed, epoch)[: self.run.images]
            count = min(self.network.training.refresh_interval, self.run.images - start)
            self._learn(chosen[start : start + count])
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
        meta = {"run": _described(self.run), "done": self.done, "curve": self.curve}
        buffer = io.BytesIO()
        state = self._learner.state()
        state |= {f"twin.{i}": weights for i, weights in enumerate(self.twin.weights)}
        np.savez_compressed(buffer, meta=np.array(json.dumps(meta)), **state)
        partial = path.with_name(f"{path.name}.part")
        partial.write_bytes(buffer.getvalue())
        partial.replace(path)

    def resume(self, path: Path) -> None:
        """Take the state of a checkpoint of the same run."""
        try:
            with np.load(path) as stored:
                meta = json.loads(str(stored["meta"]))
                state = {name: stored[name] for name in stored.files if name != "meta"}
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path} is not a checkpoint: {error}") from error
        for name, value in _described(self.run).items():
            if meta["run"].get(name) != value:
                raise ValueError(f"{path} is of a run with another {name}")
        self._learner.restore(state)
        self.twin.weights = [state[f"twin.{i}"] for i in range(len(self.twin.weights))]
        self.done, self.curve = meta["done"], meta["curve"]

    def _learn(self, chosen: NDArray[np.int64]) -> None:
        began = time.perf_counter()
        images, labels = self.data.train_x[chosen], self.data.train_y[chosen]
        eta = self.network.training.rate(self.done / self.total)
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
            " them, which no RTL has yet (docs/convolution.md)."
        ),
    )
    parser.add_argument("--network", choices=ALL_NETWORKS, default="mlp-64-50-10")
    parser.add_argument("--profile", choices=PROFILES, default="pcm", help="device profile")
    parser.add_argument("--epochs", type=positive, help="times each image is seen")
    parser.add_argument(
        "--images", type=positive, metavar="N", help="images per epoch (default: all)"
    )
    parser.add_argument(
        "--devices", type=positive, metavar="N",
        help="devices per polarity of a weight: 1, 2, 4 or 8",
    )
    parser.add_argument(
        "--engine", choices=ENGINES, default=ENGINES[0],
        help=f"what runs the programs, with the same results (default: {ENGINES[0]})",
    )  # fmt: skip
    add_data(parser)
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE",
        help=f"write the state here every {CHECKPOINT_IMAGES} images",
    )  # fmt: skip
    parser.add_argument("--resume", type=Path, metavar="FILE", help="go on from a checkpoint")
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    network = ALL_NETWORKS[args.network]
    config = _config(network, args)
    if args.devices:
        config = config.replace(devices_per_polarity=args.devices)
    data = load_data(args, network)
    trainer = Trainer(
        Run(
            network=network.name,
            config=config,
            profile=PROFILES[args.profile],
            seed=args.seed,
            epochs=args.epochs or network.training.epochs,
            images=min(args.images or len(data.train_x), len(data.train_x)),
        ),
        data,
        args.engine,
    )
    if args.resume:
        trainer.resume(args.resume)
    _train(trainer, args.checkpoint)
    result = _result(trainer, args.command)
    name = f"train-{network.name}-{args.profile}-{config.devices_per_polarity}"
    folder: Path = args.out or Path("build") / "train"
    path = results.write(name, result, folder)
    _plot(result, path.with_suffix(".png"))
    return {**result, "out": str(path)}


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
    return "\n".join(
        [
            f"network                    {result['network']}, {result['weights']} weights",
            f"devices                    {devices} per polarity, {result['profile']}",
            f"images learnt              {result['images']}",
            f"test accuracy              {100 * result['accuracy_model']:.2f} %",
            f"float twin                 {100 * result['accuracy_float']:.2f} %",
            f"pulses per weight, image   {result['pulses_per_weight_per_image']:.1e}",
            f"written                    {result['out']}",
        ]
    )


def _train(trainer: Trainer, checkpoint: Path | None) -> None:
    run, data = trainer.run, trainer.data
    for point in trainer.stretches():
        done = point["images"]
        if done == EARLY_IMAGES or done % run.images == 0 or done % VALIDATION_IMAGES == 0:
            point["validation_accuracy"] = trainer.accuracy(data.validation_x, data.validation_y)
            point["validation_accuracy_float"] = trainer.twin.accuracy(
                data.validation_x, data.validation_y
            )
        log.info(_progress(trainer, point))
        stretch = trainer.network.training.refresh_interval
        if checkpoint and (done % CHECKPOINT_IMAGES < stretch or done == trainer.total):
            trainer.save(checkpoint)


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


def _result(trainer: Trainer, command: str) -> dict[str, Any]:
    run, data = trainer.run, trainer.data
    programmers = [core.programmer for core in trainer.cores]
    set_pulses = [programmer.set_pulses for programmer in programmers]
    weights = sum(layer.rows * layer.outputs for layer in trainer.network.layers)
    seconds = sum(point["seconds"] for point in trainer.curve)
    return results.record(
        command=command,
        config=run.config,
        seed=run.seed,
        network=run.network,
        profile=run.profile.name,
        epochs=run.epochs,
        images=trainer.done,
        weights=weights,
        training=asdict(trainer.network.training),
        accuracy_model=trainer.accuracy(data.test_x, data.test_y),
        accuracy_float=trainer.twin.accuracy(data.test_x, data.test_y),
        pulses_per_weight_per_image=sum(set_pulses) / weights / trainer.done,
        set_pulses=sum(set_pulses),
        set_pulses_by_core=set_pulses,
        reset_pulses=sum(programmer.reset_pulses for programmer in programmers),
        refreshed_pairs=sum(programmer.refreshed for programmer in programmers),
        chi_saturations=sum(core.update.chi_saturations for core in trainer.cores),
        images_per_second=round(trainer.done / seconds, 1),
        curve=trainer.curve,
    )


def _plot(result: Mapping[str, Any], path: Path) -> None:
    """Learning curve: online and validation error against images."""
    import matplotlib

    matplotlib.use("Agg")
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    from matplotlib import pyplot, ticker

    curve = result["curve"]
    marked = [point for point in curve if "validation_accuracy" in point]
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    online = np.array([100 * (1 - point["online_accuracy"]) for point in curve])
    window = min(SMOOTHED, len(curve))
    smooth = np.convolve(online, np.full(window, 1 / window), mode="valid")
    images = [point["images"] for point in curve[window - 1 :]]
    axes.plot(images, smooth, color="0.75", linewidth=0.8, label="online")
    for key, label, style in [
        ("validation_accuracy", f"golden model, {result['profile']} devices", "o-"),
        ("validation_accuracy_float", "float twin", "s--"),
    ]:
        errors = [100 * (1 - point[key]) for point in marked]
        axes.plot([point["images"] for point in marked], errors, style, markersize=4, label=label)
    axes.set(
        yscale="log",
        xlabel="training images",
        ylabel="error, %",
        title=f"{result['network']}, test accuracy {100 * result['accuracy_model']:.2f} %"
        f" (float {100 * result['accuracy_float']:.2f} %)",
    )
    axes.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(ticker.FormatStrFormatter("%g"))
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _described(run: Run) -> dict[str, Any]:
    return {
        "network": run.network,
        "config": asdict(run.config),
        "profile": asdict(run.profile),
        "seed": run.seed,
        "epochs": run.epochs,
        "images": run.images,
    }
