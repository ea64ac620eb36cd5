# SPDX-License-Identifier: Apache-2.0
"""``phasecore bench model``: training images per second of the golden model.

The images are learnt with refreshes. Times are CPU times of one thread; they belong to the machine,
and only ratios of one run can be compared.
"""

import argparse
import resource
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from phasecore.models.compiler.networks import NETWORKS
from phasecore.models.engine.jit import COMPILED
from phasecore.scripts.commands.contestants import OURS, Contestant, Ours, Torch, take_turns
from phasecore.scripts.commands.options import add_data, add_profile, load_data, positive
from phasecore.scripts.report import results

__all__ = ["add_parser", "report", "run"]

OPTIONS = ("seed", "out", "overwrite")

TORCH = "torch, floating point"


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
    parser.add_argument(
        "--torch", action="store_true",
        help="beside it the same network in PyTorch, if that is installed: floating point, one"
        " image at a time, one thread",
    )  # fmt: skip
    parser.add_argument(
        "--before", type=Path, metavar="FILE",
        help="result of an earlier version, from the same machine in the same hour",
    )  # fmt: skip
    add_data(parser)
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    network = NETWORKS[args.network]
    folder: Path = args.out or Path("build") / "speed"
    path = results.destination(args, folder, f"speed-{network.name}")
    if args.torch and find_spec("torch") is None:
        raise RuntimeError("--torch needs PyTorch, which is not installed here: pip install torch")
    before = _earlier(args.before, network.name) if args.before else None
    data = load_data(args, network)
    contestants: dict[str, Contestant] = {OURS: Ours(network, args.profile, args.seed)}
    if args.torch:
        contestants[TORCH] = Torch(network, args.seed)
    chosen = np.arange(len(data.train_x))
    seconds = take_turns(contestants, data, chosen, images=args.images, repeats=1)
    rates = {name: round(args.images / spent[0], 1) for name, spent in seconds.items()}
    result = results.record(
        command=args.command,
        config=network.config,
        seed=args.seed,
        network=network.name,
        dataset=data.name,
        profile=args.profile.name,
        images=args.images,
        compiled=COMPILED,
        images_per_second=rates.pop(OURS),
        images_per_second_beside=rates,
        before=before,
        peak_memory_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        ok=True,
    )
    results.write(path, result, args)
    return {**result, "out": str(path)}


def _earlier(path: Path, network: str) -> dict[str, Any]:
    """Commit and rate of an earlier version's result."""
    try:
        found = results.read(path)
        if found["network"] != network:
            raise ValueError(f"it is of {found['network']}")
        return {"commit": str(found["commit"]), "rate": float(found["images_per_second"])}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"--before {path} is no result of bench model --network {network}: {error}"
        ) from error


def report(result: Mapping[str, Any]) -> str:
    kernels = "machine code" if result["compiled"] else "plain Python"
    rate, beside = result["images_per_second"], dict(result["images_per_second_beside"])
    if result["before"]:
        beside[result["before"]["commit"][:7]] = result["before"]["rate"]
    return "\n".join(
        [
            f"network                    {result['network']}, {result['profile']}, {kernels}",
            f"images/s                   {rate:,.0f}",
            *(
                f"    {name:<23}{other:,.0f}, {rate / other:.2f} times"
                for name, other in beside.items()
            ),
            f"peak memory                {result['peak_memory_mib']} MiB",
            f"written                    {result['out']}",
        ]
    )
