# SPDX-License-Identifier: Apache-2.0
"""Command-line options that several sub-commands share."""

import argparse
import math
from pathlib import Path

from phasecore.models.compiler.network import Network
from phasecore.models.golden.device import PROFILES, DeviceProfile
from phasecore.models.training.datasets import NAMES, Dataset
from phasecore.models.training.own_data import ACCEPTED, load_for

__all__ = [
    "add_data", "add_devices", "add_profile", "add_validation", "at_most", "load_data", "positive",
    "rate",
]  # fmt: skip


def positive(text: str) -> int:
    """Argument type of a positive integer."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a positive integer, not {text!r}")
    return int(text)


def rate(text: str) -> float:
    """Argument type of a learning rate: above 0, at most 100."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"must be a number above 0, at most 100, not {text!r}")
    return value


def add_profile(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Add ``--profile``: a ``DeviceProfile``, or with ``several`` a list of them or None."""
    parser.add_argument(
        "--profile", type=_profile, metavar="NAME|FILE.json",
        nargs="+" if several else None, default=None if several else "pcm",
        help=f"device profile: {', '.join(PROFILES)}, or a JSON file with fields of"
        f" models/golden/device.py (default: {'all but ideal' if several else 'pcm'})",
    )  # fmt: skip


def _profile(text: str) -> DeviceProfile:
    try:
        return DeviceProfile.load(text, text if text.endswith(".json") else None)
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_devices(parser: argparse.ArgumentParser) -> None:
    """Add ``--devices``."""
    parser.add_argument(
        "--devices", type=positive, metavar="N",
        help="devices per polarity of a weight: 1, 2, 4 or 8",
    )  # fmt: skip


def add_validation(parser: argparse.ArgumentParser) -> None:
    """Add ``--with-validation``."""
    parser.add_argument(
        "--with-validation", action="store_true",
        help="train on the validation images, too, e.g. on all 60,000 of MNIST: for results, not"
        " for choosing hyper-parameters",
    )  # fmt: skip


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add ``--data`` and ``--dataset``."""
    parser.add_argument(
        "--dataset", type=_dataset, metavar="NAME|PATH",
        help=f"data set in place of the network's, with as many inputs: {', '.join(NAMES)}; or of"
        f" one's own: {ACCEPTED}",
    )  # fmt: skip
    parser.add_argument(
        "--data", type=Path, metavar="DIR",
        help="folder of the MNIST files (default: the environment variable PHASECORE_DATA)",
    )  # fmt: skip


def load_data(args: argparse.Namespace, network: Network) -> Dataset:
    """Data set that the options of :func:`add_data` name for a network."""
    return load_for(network, args.dataset, args.data)


def at_most(option: str, wanted: int | None, available: int, what: str) -> int:
    """What an option asked for, which must be there, or all of it."""
    if wanted is not None and wanted > available:
        raise ValueError(f"{option} must be at most {available} ({what}), not {wanted}")
    return available if wanted is None else wanted


def _dataset(text: str) -> str | Path:
    path = Path(text)
    if text in NAMES:
        return text
    if not path.exists():
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither one of {', '.join(NAMES)}, nor {ACCEPTED}"
        )
    return path
