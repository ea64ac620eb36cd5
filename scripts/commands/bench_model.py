# SPDX-License-Identifier: Apache-2.0
"""``phasecore bench model``: training images per second of the golden model.

The images are learnt with refreshes. Times are CPU times of one thread; they belong to the machine.
"""

import argparse
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from phasecore.models.compiler.mapping import map_network
from phasecore.models.compiler.networks import NETWORKS
from phasecore.models.engine.jit import COMPILED
from phasecore.models.training.learner import Learner
from phasecore.scripts.commands.options import add_data, add_profile, load_data, positive
from phasecore.scripts.report import results

__all__ = ["add_parser", "report", "run"]

OPTIONS = ("seed", "out", "overwrite")

WARM_UP = 50
"""Images that are learnt before: machine code is loaded, caches are filled."""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "bench model",
        help="measure training images per second of the golden model",
        description=(
            "Train and measure how long it takes. --out names the folder of the JSON result"
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
    learner = Learner(map_network(network, network.config, args.profile), args.seed)
    interval = network.training.refresh_interval
    stops = [*range(WARM_UP, WARM_UP + args.images, interval), WARM_UP + args.images]
    seconds = 0.0
    for start, stop in zip([0, *stops], stops, strict=False):
        chosen = np.arange(start, stop) % len(data.train_x)
        began = time.thread_time()
        learner.learn(data.train_x[chosen], data.train_y[chosen])
        seconds += (time.thread_time() - began) * (start > 0)
    result = results.record(
        command=args.command,
        config=network.config,
        seed=args.seed,
        network=network.name,
        dataset=data.name,
        profile=args.profile.name,
        images=args.images,
        compiled=COMPILED,
        images_per_second=round(args.images / seconds, 1),
        peak_memory_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        ok=True,
    )
    results.write(path, result, args)
    return {**result, "out": str(path)}


def report(result: dict[str, Any]) -> str:
    kernels = "machine code" if result["compiled"] else "plain Python"
    return "\n".join(
        [
            f"network                    {result['network']}, {result['profile']}, {kernels}",
            f"images/s                   {result['images_per_second']:,.0f}",
            f"peak memory                {result['peak_memory_mib']} MiB",
            f"written                    {result['out']}",
        ]
    )
