# SPDX-License-Identifier: Apache-2.0
"""``phasecore bench aihwkit``: training speed beside IBM's aihwkit, in turns, on one thread.

Both train the same network on the same images, one at a time, with mixed precision on PCM devices.
CPU times of one run are compared, so the ratios hold on a busy machine; the absolute numbers
belong to the machine. aihwkit is the optional extra ``aihwkit`` of pyproject.toml.
"""

import argparse
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from phasecore.models.compiler.network import Network
from phasecore.models.compiler.networks import NETWORKS
from phasecore.models.training.datasets import Dataset, order
from phasecore.scripts.commands.contestants import (
    OURS,
    Contestant,
    InTorch,
    Ours,
    layers,
    one_thread,
    take_turns,
)
from phasecore.scripts.commands.options import add_data, add_profile, load_data, positive
from phasecore.scripts.report import results

__all__ = ["SETTINGS", "add_parser", "report", "run", "table"]
OPTIONS = ("seed", "out", "overwrite")

TARGET = 10
"""Least ratio to the fastest setting of aihwkit, unless said otherwise."""

INFERENCE_IMAGES = 500
"""Images classified at a time."""

LEARNING_RATE = 0.04
"""Of aihwkit: of 0.003 to 1 the one with which it learnt best in all settings tried, on the first
5,000 images of MNIST; with 0.1 and more its sigmoids saturate. Not tuned further."""

SAME = """\
network, its activations and its squared error
images and their order, one image per update
mixed precision: gradients in a digital chi, whole thresholds as blind pulses on PCM pairs
one thread, CPU time, turns in one process""".splitlines()

DIFFERENT = """\
phasecore computes what its RTL computes, bit for bit: 8-bit codes through windows of \
crossbars, calibrated converters, integer post-processing, 16-bit chi, packets on a NoC
aihwkit rounds at its converters, too; scales, activations, errors and chi are 32-bit floats
phasecore has {devices} devices per polarity that follow Nandakumar et al., 2018; aihwkit's preset \
is its own fit to the same kind of device, with one per polarity and spread between devices
both have read noise per line of a product; aihwkit with ideal products has none
phasecore is refreshed and verified every {interval} images; aihwkit as the setting says
phasecore learns at the rate its recipe begins with; aihwkit at one rate for all settings
aihwkit is driven through PyTorch, as its users do; it is made for batches and GPUs, too\
""".splitlines()

_MISSING = (
    "aihwkit is not installed here: pip install -e '.[aihwkit]' (Python 3.12 or later; README.md,"
    " section 'Beside aihwkit', says what Python 3.11 needs)"
)

_VERSIONS = ("numpy", "numba", "torch", "aihwkit")


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
            " -e '.[aihwkit]'). Fails if the ratio to its fastest setting is below --target."
            " --out names the folder of speed-aihwkit-NETWORK.json (default: build/speed)."
        ),
    )
    parser.add_argument("--network", choices=NETWORKS, default="mlp-784-250-10")
    add_profile(parser)
    parser.add_argument(
        "--images", type=positive, default=5000, metavar="N",
        help="images that each learns, in all turns (default: 5000)",
    )  # fmt: skip
    parser.add_argument(
        "--repeats", type=positive, default=5, metavar="N", help="turns of each (default: 5)"
    )
    parser.add_argument(
        "--target", type=float, default=TARGET, metavar="RATIO",
        help=f"least ratio to the fastest setting (default: {TARGET})",
    )  # fmt: skip
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
    folder: Path = args.out or Path("build") / "speed"
    path = results.destination(args, folder, f"speed-aihwkit-{network.name}")
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
        target=args.target,
        validation_accuracy={
            name: _accuracy(contestant, data) for name, contestant in contestants.items()
        },
        accuracy_note="after these images, not tuned",
        same=SAME,
        different=_different(network),
        versions={"python": platform.python_version(), **{n: version(n) for n in _VERSIONS}},
        ok=ratios[fastest]["median"] >= args.target,
    )
    results.write(path, result, args)
    return {**result, "out": str(path)}


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


class Aihwkit(InTorch):
    """Analog layers of aihwkit in one of ``SETTINGS``; imports it."""

    def __init__(self, network: Network, setting: str, seed: int):
        torch = one_thread(seed)
        from aihwkit.nn import AnalogConv2d, AnalogLinear, AnalogSequential
        from aihwkit.optim import AnalogSGD
        from aihwkit.simulator.presets import MixedPrecisionPCMPreset

        def analog(kind: Callable[..., Any]) -> Callable[..., Any]:
            config = MixedPrecisionPCMPreset()
            SETTINGS[setting](config)
            return partial(kind, rpu_config=config)

        of = layers(
            network, torch.nn, linear=analog(AnalogLinear), convolution=analog(AnalogConv2d)
        )
        model = AnalogSequential(*of)
        optimizer = AnalogSGD(model.parameters(), lr=LEARNING_RATE)
        optimizer.regroup_param_groups(model)
        super().__init__(torch, model, optimizer, network)


def _different(network: Network) -> list[str]:
    return [
        text.format(
            devices=network.config.devices_per_polarity,
            interval=network.training.refresh_interval,
        )
        for text in DIFFERENT
    ]


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
