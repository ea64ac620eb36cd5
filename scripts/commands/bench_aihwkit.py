# SPDX-License-Identifier: Apache-2.0
"""``phasecore bench aihwkit``: training speed beside IBM's aihwkit, in turns, on one thread.

Both train the same network on the same images, one at a time, with mixed precision on PCM devices.
CPU times of one run are compared, so the ratios hold on a busy machine; the absolute numbers
belong to the machine. aihwkit is the optional extra ``aihwkit`` of pyproject.toml.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.mapping import map_network
from phasecore.models.compiler.network import Network, classes
from phasecore.models.compiler.networks import CHIP_NETWORKS, CORE_NETWORKS, NETWORKS
from phasecore.models.golden.device import DeviceProfile
from phasecore.models.training.datasets import Dataset, order
from phasecore.models.training.learner import Learner
from phasecore.scripts.commands.options import add_data, add_profile, load_data, positive
from phasecore.scripts.report import results

__all__ = [
    "OURS", "SETTINGS", "Contestant", "InTorch", "Ours", "add_parser", "one_thread", "report",
    "run", "table", "take_turns",
]  # fmt: skip

OPTIONS = ("seed", "out", "overwrite")

OURS = "phasecore"
TARGET = 10
"""Least ratio to the fastest setting of aihwkit."""

WARM_UP = 50
"""Images that are learnt before: machine code is loaded, caches are filled."""

INFERENCE_IMAGES = 500
"""Images classified at a time."""

LEARNING_RATE = 0.04
"""Of aihwkit: of 0.003 to 1 the one with which it learnt best in all settings tried, on the first
5,000 images of MNIST; with 0.1 and more its sigmoids saturate. Not tuned further."""

SAME = """\
network, its sigmoids and its squared error
images and their order, one image per update
mixed precision: gradients in a digital chi, whole thresholds as blind pulses on PCM pairs
one thread, CPU time, turns in one process""".splitlines()

DIFFERENT = """\
phasecore computes what its RTL computes, bit for bit: 8-bit codes through windows of five \
crossbars, calibrated converters, integer post-processing, 16-bit chi, packets on a NoC
aihwkit rounds at its converters, too; scales, activations, errors and chi are 32-bit floats
phasecore has two devices per polarity that follow Nandakumar et al., 2018; aihwkit's preset is \
its own fit to the same kind of device, with one per polarity and spread between devices
both have read noise per line of a product; aihwkit with ideal products has none
phasecore is refreshed and verified every 100 images (mlp-784-250-10); aihwkit as \
the setting says
phasecore learns at the rate its recipe begins with; aihwkit at one rate for all settings
aihwkit is driven through PyTorch, as its users do; it is made for batches and GPUs, too\
""".splitlines()

_MISSING = (
    "aihwkit is not installed here: pip install -e '.[aihwkit]' (Python 3.12 or later; README.md,"
    " section 'Beside aihwkit', says what Python 3.11 needs)"
)

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_VERSIONS = ("numpy", "numba", "torch", "aihwkit")

Images = NDArray[np.uint8]


class Contestant(Protocol):
    """A network that learns."""

    def learn(self, images: Images, labels: Images) -> object:
        """Learn images one at a time, in order."""

    def infer(self, images: Images) -> NDArray[np.int64]:
        """Classes of images."""


def _every(interval: int) -> Callable[[Any], None]:
    """Check pairs for a refresh after every ``interval`` updates, 0: never."""

    def change(config: Any) -> None:
        config.device.device.refresh_every = interval

    return change


def _ideal(config: Any) -> None:
    _every(0)(config)
    config.forward.is_perfect = config.backward.is_perfect = True


SETTINGS: Mapping[str, Callable[[Any], None]] = {
    "preset as it is": lambda config: None,
    "refresh every 100 images": _every(100),
    "no refresh": _every(0),
    "no refresh, ideal products": _ideal,
}
"""Changes of aihwkit's MixedPrecisionPCMPreset, by name."""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "bench aihwkit",
        help="measure training speed beside IBM's aihwkit",
        description=(
            "Train with the golden model and with aihwkit's MixedPrecisionPCMPreset in several"
            " settings, taking turns, and compare CPU times per image. Needs aihwkit (pip install"
            f" -e '.[aihwkit]'). Fails if the ratio to its fastest setting is below {TARGET}. --out"
            " names the folder of speed-aihwkit.json (default: build/speed)."
        ),
    )
    parser.add_argument(
        "--network", choices=[*CORE_NETWORKS, *CHIP_NETWORKS], default="mlp-784-250-10"
    )
    add_profile(parser)
    parser.add_argument(
        "--images", type=positive, default=5000, metavar="N",
        help="images that each learns, in all turns (default: 5000)",
    )  # fmt: skip
    parser.add_argument(
        "--repeats", type=positive, default=5, metavar="N", help="turns of each (default: 5)"
    )
    add_data(parser)
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    if find_spec("aihwkit") is None:
        raise RuntimeError(_MISSING)
    network = NETWORKS[args.network]
    images, rest = divmod(args.images, args.repeats)
    if rest or not images:
        raise ValueError(
            f"--images must be a multiple of --repeats {args.repeats}, not {args.images}"
        )
    path = results.destination(args, args.out or Path("build") / "speed", "speed-aihwkit")
    data = load_data(args, network)
    contestants: dict[str, Contestant] = {OURS: Ours(network, args.profile, args.seed)}
    contestants |= {name: Aihwkit(network, name, args.seed) for name in SETTINGS}
    chosen = order(len(data.train_x), args.seed, 0)
    seconds = take_turns(contestants, data, chosen, images=images, repeats=args.repeats)
    rates = {name: images / statistics.median(spent) for name, spent in seconds.items()}
    fastest = max(SETTINGS, key=rates.__getitem__)
    ratios = {name: _ratios(seconds[name], seconds[OURS]) for name in SETTINGS}
    result = results.record(
        command=args.command,
        config=network.config,
        seed=args.seed,
        network=network.name,
        dataset=data.name,
        profile=args.profile.name,
        images=args.images,
        repeats=args.repeats,
        images_per_second=round(rates[OURS], 1),
        images_per_second_by_contestant={name: round(rate, 1) for name, rate in rates.items()},
        milliseconds_per_image={
            name: [round(1e3 * spent / images, 5) for spent in of] for name, of in seconds.items()
        },
        ratios=ratios,
        fastest=fastest,
        target=TARGET,
        validation_accuracy={
            name: _accuracy(contestant, data) for name, contestant in contestants.items()
        },
        accuracy_note="after these images, not tuned",
        same=SAME,
        different=DIFFERENT,
        versions={"python": platform.python_version(), **{n: version(n) for n in _VERSIONS}},
        ok=ratios[fastest]["median"] >= TARGET,
    )
    results.write(path, result, args)
    return {**result, "out": str(path)}


def take_turns(
    contestants: Mapping[str, Contestant],
    data: Dataset,
    chosen: NDArray[np.int64],
    *,
    images: int,
    repeats: int,
) -> dict[str, list[float]]:
    """CPU seconds of every turn of ``images`` images, by contestant; a first short turn warms up.

    All learn the same images in the order of ``chosen``, around and around; who begins changes
    from turn to turn.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    stops = [WARM_UP + turn * images for turn in range(repeats + 1)]
    for turn, (start, stop) in enumerate(zip([0, *stops], stops, strict=False)):
        part = chosen[np.arange(start, stop) % len(chosen)]
        names = list(contestants)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            began = time.process_time()
            contestants[name].learn(data.train_x[part], data.train_y[part])
            if turn:
                seconds[name].append(time.process_time() - began)
    return seconds


def table(result: Mapping[str, Any]) -> str:
    """Markdown table of rates, ratios and accuracies."""
    rates, accuracies = result["images_per_second_by_contestant"], result["validation_accuracy"]
    rows = [
        "| | images per CPU second | phasecore is faster by | validation, not tuned |",
        "|---|--:|--:|--:|",
        f"| {OURS} | {rates[OURS]:,.0f} | | {100 * accuracies[OURS]:.1f} % |",
    ]
    rows += [
        f"| aihwkit, {name} | {rates[name]:,.0f} | {ratio['median']:.1f}"
        f" ({ratio['low']:.1f} to {ratio['high']:.1f}) | {100 * accuracies[name]:.1f} % |"
        for name, ratio in result["ratios"].items()
    ]
    return "\n".join(rows)


def report(result: dict[str, Any]) -> str:
    turns = f"{result['repeats']} turns of {result['images'] // result['repeats']} images"
    lines = [
        f"{result['network']} on {result['dataset']}, batch 1, one thread: {turns}",
        "",
        table(result),
        "",
        "equal:",
        *(f"- {text}" for text in result["same"]),
        "not equal:",
        *(f"- {text}" for text in result["different"]),
        "",
        ", ".join(f"{name} {number}" for name, number in result["versions"].items()),
        f"written  {result['out']}",
    ]
    return "\n".join(lines)


class Ours:
    """The golden model."""

    def __init__(self, network: Network, profile: DeviceProfile, seed: int):
        self._network = network
        self._learner = Learner(map_network(network, network.config, profile), seed)

    def learn(self, images: Images, labels: Images) -> None:
        interval = self._network.training.refresh_interval
        for start in range(0, len(images), interval):
            self._learner.learn(images[start : start + interval], labels[start : start + interval])

    def infer(self, images: Images) -> NDArray[np.int64]:
        return classes(self._learner.infer(images))


class InTorch:
    """A model of PyTorch that learns the squared error; importing it is left to those that make it.

    Parameters
    ----------
    torch, model, optimizer : the module; what it has made
    network : whose targets and inputs they are
    shape : of an image as the model takes it
    """

    def __init__(
        self, torch: Any, model: Any, optimizer: Any, network: Network, shape: Sequence[int]
    ):
        self._torch, self._model, self._optimizer = torch, model, optimizer
        self._targets = network.training.targets(network.layers[-1].outputs)
        self._shape = (-1, *shape)

    def learn(self, images: Images, labels: Images) -> None:
        targets = self._tensor(self._targets[labels])
        self._model.train()
        for image, target in zip(self._tensor(images), targets, strict=True):
            self._optimizer.zero_grad()
            output = self._model(image.reshape(self._shape))
            loss = 0.5 * ((output - target) ** 2).sum()
            loss.backward()
            self._optimizer.step()

    def infer(self, images: Images) -> NDArray[np.int64]:
        self._model.eval()
        with self._torch.no_grad():
            outputs = self._model(self._tensor(images).reshape(self._shape))
        found: NDArray[np.int64] = outputs.argmax(dim=1).numpy()
        return found

    def _tensor(self, codes: NDArray[Any]) -> Any:
        """Codes as numbers 0..1."""
        return self._torch.from_numpy(codes.astype(np.float32) / 127)


def one_thread(seed: int) -> Any:
    """PyTorch, on one thread."""
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    return torch


class Aihwkit(InTorch):
    """Analog layers of aihwkit in one of ``SETTINGS``; imports it."""

    def __init__(self, network: Network, setting: str, seed: int):
        torch = one_thread(seed)
        from aihwkit.nn import AnalogLinear, AnalogSequential
        from aihwkit.optim import AnalogSGD
        from aihwkit.simulator.presets import MixedPrecisionPCMPreset

        modules = []
        for layer in network.layers:
            config = MixedPrecisionPCMPreset()
            SETTINGS[setting](config)
            modules += [
                AnalogLinear(layer.inputs, layer.outputs, rpu_config=config), torch.nn.Sigmoid()
            ]  # fmt: skip
        model = AnalogSequential(*modules)
        optimizer = AnalogSGD(model.parameters(), lr=LEARNING_RATE)
        optimizer.regroup_param_groups(model)
        super().__init__(torch, model, optimizer, network, (network.inputs,))


def _accuracy(contestant: Contestant, data: Dataset) -> float:
    """Fraction of the validation images that are classified as labelled."""
    images, labels = data.validation_x, data.validation_y
    found = [
        contestant.infer(images[start : start + INFERENCE_IMAGES])
        for start in range(0, len(images), INFERENCE_IMAGES)
    ]
    return float(np.mean(np.concatenate(found) == labels))


def _ratios(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """Ratios of the same turns: smallest, median, largest."""
    ratios = sorted(a / b for a, b in zip(theirs, ours, strict=True))
    return {
        "low": round(ratios[0], 2),
        "median": round(statistics.median(ratios), 2),
        "high": round(ratios[-1], 2),
    }
