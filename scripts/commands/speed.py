# SPDX-License-Identifier: Apache-2.0
"""``phasecore speed``: training images per second of the golden model's engines, in turns.

Both learn the same images one at a time, with refreshes, and are then compared. Times are CPU
times of one thread, so the ratio holds on a busy machine; the absolute numbers belong to the
machine.
"""

import argparse
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from phasecore.models.compiler.mapping import map_network
from phasecore.models.compiler.networks import NETWORKS
from phasecore.models.training.learner import Learner
from phasecore.models.training.model import ENGINES
from phasecore.scripts.commands.options import add_data, add_profile, load_data, positive
from phasecore.scripts.report import results

__all__ = ["add_parser", "report", "run"]

OPTIONS = ("seed", "out", "overwrite")

WARM_UP = 50
"""Images that are learnt before: machine code is loaded, caches are filled."""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "speed",
        help="measure training images per second of the golden model",
        description=(
            "Train with the compiled engine and with the plain numpy reference, taking turns, and"
            " compare what they have learnt. --out names the folder of the JSON result"
            " (default: build/speed)."
        ),
    )
    parser.add_argument("--network", choices=NETWORKS, default="mlp-784-250-10")
    add_profile(parser)
    parser.add_argument(
        "--images", type=positive, default=1000, metavar="N", help="images learnt (default: 1000)"
    )
    add_data(parser)
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    network = NETWORKS[args.network]
    folder: Path = args.out or Path("build") / "speed"
    path = results.destination(args, folder, f"speed-{network.name}")
    data = load_data(args, network)
    mapping = map_network(network, network.config, args.profile)
    learners = {engine: Learner(mapping, args.seed, engine) for engine in ENGINES}
    interval = network.training.refresh_interval
    stops = [*range(WARM_UP, WARM_UP + args.images, interval), WARM_UP + args.images]
    seconds = dict.fromkeys(ENGINES, 0.0)
    mismatches = 0
    for start, stop in zip([0, *stops], stops, strict=False):
        chosen = np.arange(start, stop) % len(data.train_x)
        outputs = []
        for engine, learner in learners.items():
            began = time.thread_time()
            outputs.append(learner.learn(data.train_x[chosen], data.train_y[chosen]))
            seconds[engine] += (time.thread_time() - began) * (start > 0)
        mismatches += sum(not np.array_equal(output, outputs[0]) for output in outputs)
    mismatches += _differences(list(learners.values()))
    rates = {engine: args.images / spent for engine, spent in seconds.items()}
    result = results.record(
        command=args.command,
        config=network.config,
        seed=args.seed,
        network=network.name,
        dataset=data.name,
        profile=args.profile.name,
        images=args.images,
        mismatches=mismatches,
        images_per_second=round(rates[ENGINES[0]], 1),
        images_per_second_by_engine={engine: round(rate, 1) for engine, rate in rates.items()},
        ratio=round(rates[ENGINES[0]] / rates["reference"], 1),
        peak_memory_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        ok=mismatches == 0,
    )
    results.write(path, result, args)
    return {**result, "out": str(path)}


def report(result: dict[str, Any]) -> str:
    lines = [f"network                    {result['network']}, {result['profile']}"]
    lines += [
        f"{f'{engine}, images/s':<27}{rate:,.0f}"
        for engine, rate in result["images_per_second_by_engine"].items()
    ]
    return "\n".join(
        [
            *lines,
            f"ratio                      {result['ratio']:.0f}",
            f"mismatches                 {result['mismatches']}",
            f"peak memory                {result['peak_memory_mib']} MiB",
            f"written                    {result['out']}",
        ]
    )


def _differences(learners: list[Learner]) -> int:
    """Arrays and counters of the learners' states that are not those of the first."""
    first, *others = (learner.state() for learner in learners)
    return sum(
        not np.array_equal(state[name], value) for state in others for name, value in first.items()
    )
