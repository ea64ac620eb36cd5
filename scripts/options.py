# SPDX-License-Identifier: Apache-2.0
"""Command-line options that several sub-commands share."""

import argparse
from pathlib import Path

__all__ = ["add_data", "positive"]


def positive(text: str) -> int:
    """Argument type of a positive integer."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a positive integer, not {text!r}")
    return int(text)


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add ``--data``."""
    parser.add_argument(
        "--data", type=Path, metavar="DIR",
        help="folder of the MNIST files (default: the environment variable PHASECORE_DATA)",
    )  # fmt: skip
