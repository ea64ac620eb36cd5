# SPDX-License-Identifier: Apache-2.0
"""Command-line options that several sub-commands share."""

import argparse
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from phasecore.models.compiler.flits import message_flits
from phasecore.models.compiler.graph import Graph, GraphLayer
from phasecore.models.compiler.mapping import map_network
from phasecore.models.compiler.network import Network
from phasecore.models.compiler.networks import CORE_NETWORKS, NETWORKS
from phasecore.models.compiler.onnx_graph import DROPPED
from phasecore.models.compiler.placement import MOST_CORES, MOST_PLANNED, graph_chip
from phasecore.models.compiler.tile import long_input, row_tiles, split_columns
from phasecore.models.compiler.trainable import named_network
from phasecore.models.golden.device import IDEAL, PROFILES, DeviceProfile
from phasecore.models.training.datasets import DATA_VARIABLE, NAMES, Dataset, load
from phasecore.models.training.own_data import ACCEPTED, load_for
from phasecore.rtl.spec.chip import CHIPS, ChipConfig
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.noc import TOPOLOGIES

__all__ = [
    "TIMELINE",
    "add_data",
    "add_devices",
    "add_folder",
    "add_layers",
    "add_model",
    "add_network",
    "add_profile",
    "add_size",
    "add_timeline",
    "add_topology",
    "add_validation",
    "at_most",
    "choose_network",
    "core_config",
    "fit",
    "fitted",
    "load_data",
    "positive",
    "rate",
]  # fmt: skip


TIMELINE = ".timeline.json"
"""Suffix of the file that ``--timeline`` writes."""


def positive(text: str) -> int:
    """Argument type of a positive integer."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a positive integer, not {text!r}")
    return int(text)


def copies(text: str) -> tuple[str, int]:
    """Argument type of a number for all layers, or of LAYER=N."""
    layer, _, number = text.rpartition("=")
    return layer, positive(number)


def rate(text: str) -> float:
    """Argument type of a learning rate: above 0, at most 100."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"must be a number above 0, at most 100, not {text!r}")
    return value


def add_profile(
    parser: argparse.ArgumentParser, *, default: str | None = "pcm", several: bool = False
) -> None:
    """Add ``--profile``: a ``DeviceProfile``, or with ``several`` a list of them or None."""
    parser.add_argument(
        "--profile", type=_profile, metavar="NAME|FILE",
        nargs="+" if several else None, default=None if several else default,
        help=f"device profile: {', '.join(PROFILES)}, or a JSON file with fields of"
        f" models/golden/device/profiles.py (default: {'all but ideal' if several else 'pcm'})",
    )  # fmt: skip


def _profile(text: str) -> DeviceProfile:
    try:
        return DeviceProfile.load(text)
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_size(
    parser: argparse.ArgumentParser, *, epochs: str = "the network's", images: str | None = None
) -> None:
    """Add ``--images``, ``--epochs`` and ``--images-per-epoch``; the texts are the defaults."""
    default = images or "all, in every epoch"
    parser.add_argument(
        "--images", type=positive, metavar="N",
        help=f"training images of the whole run (default: {default})",
    )  # fmt: skip
    parser.add_argument(
        "--epochs", type=positive, metavar="N", help=f"times each is seen (default: {epochs})"
    )
    parser.add_argument(
        "--images-per-epoch", type=positive, metavar="N",
        help="training images of an epoch (default: all)",
    )  # fmt: skip


def core_config(args: argparse.Namespace, network: Network) -> CoreConfig:
    """Configuration of the core, or of every core, of a network: what ``--config`` and
    ``--devices`` say, or its own."""
    name = args.config_name
    config: CoreConfig = network.config if name is None else network.presets.get(name, args.config)
    devices = getattr(args, "devices", None)
    return config.replace(devices_per_polarity=devices) if devices else config


def choose_network(args: argparse.Namespace) -> Network:
    """The network asked for, or the largest of one core that fits ``--config`` and whose data are
    there.

    A folder of MNIST files that was named, but is not usable, is an error.
    """
    if getattr(args, "network", None):
        return named_network(args.network)
    reason = ""
    for network in CORE_NETWORKS.values():
        try:
            map_network(network, core_config(args, network), IDEAL)
        except ValueError as error:
            reason = str(error)
            continue
        try:
            load(network.dataset, args.data)
        except (ValueError, OSError) as error:
            if args.data is not None or os.environ.get(DATA_VARIABLE):
                raise
            reason = str(error)
            continue
        return network
    raise ValueError(f"no network fits this configuration: {reason}")


def add_network(
    parser: argparse.ArgumentParser, *more: str, default: str | None = None, without: str = ""
) -> None:
    """Add ``--network``: what :func:`named_network` takes, or one of ``more``.

    ``without``: what is taken if neither it nor a ``default`` is given, in words.
    """
    known = [*NETWORKS, *more]

    def name(text: str) -> str:
        if text not in known and not Path(text).is_file():
            raise argparse.ArgumentTypeError(
                f"{text!r} is neither one of {', '.join(known)}, nor an ONNX file"
            )
        return text

    parser.add_argument(
        "--network", type=name, default=default, metavar="NAME|FILE.onnx",
        help=f"one of {', '.join(known)}; or the layers of an ONNX file, with random weights:"
        " fully connected ones with sigmoids, or convolutions with tanh, perhaps the mean of 2 x 2,"
        f" and fully connected ones (default: {default or without})",
    )  # fmt: skip


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
    add_folder(parser)


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Add ``--data``."""
    parser.add_argument(
        "--data", type=Path, metavar="DIR",
        help="folder of the MNIST files (default: the environment variable PHASECORE_DATA)",
    )  # fmt: skip


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add an ONNX file and how it is mapped: ``--layers``, ``--copies``, ``--name``."""
    parser.add_argument("model", type=Path, metavar="MODEL.onnx", help="the trained network")
    add_layers(parser)
    parser.add_argument("--name", help="name of the result (default: the model's)")
    parser.add_argument(
        "--allow-drop", nargs="+", choices=DROPPED, default=[], metavar="OPERATOR",
        help=f"leave out operators that cannot be mapped, of {', '.join(DROPPED)}, here and in"
        " floating point",
    )  # fmt: skip
    parser.add_argument(
        "--copies", type=copies, nargs="+", default=[], metavar="[LAYER=]N",
        help="at least so many copies of every weight, or of those of a layer (as map lists them):"
        " the devices' noise averages out, more crossbars are needed (default: 1, and what rows"
        " that are left have room for)",
    )  # fmt: skip


def add_layers(parser: argparse._ActionsContainer) -> None:
    """Add ``--layers``."""
    parser.add_argument(
        "--layers", type=positive, metavar="N", help="only the first N layers (default: all)"
    )


def add_topology(parser: argparse._ActionsContainer) -> None:
    """Add ``--topology``."""
    parser.add_argument(
        "--topology", choices=TOPOLOGIES[:2], default="mesh",
        help="what joins the cores: a mesh, or the direct links of a prism of two cores a column",
    )  # fmt: skip


def add_timeline(parser: argparse._ActionsContainer) -> None:
    """Add ``--timeline``; the file has the result's name and the suffix ``TIMELINE``."""
    parser.add_argument(
        "--timeline", action="store_true",
        help=f"also write NAME{TIMELINE}: what every unit of every core does in the RTL, cycle by"
        " cycle, for ui.perfetto.dev or chrome://tracing (some hundred kB an image; of several runs"
        " the first)",
    )  # fmt: skip


def fitted(
    args: argparse.Namespace, graph: Graph, *, topology: str = "mesh", planned: bool = False,
) -> tuple[Graph, ChipConfig]:  # fmt: skip
    """A graph and a chip for ``--config``, ``--devices`` and ``--copies``."""
    name = args.config_name
    core = CHIPS[name or "default"].core if name is None or name in CHIPS else args.config
    if args.devices:
        core = core.replace(devices_per_polarity=args.devices)
    layers = _copied(graph, dict(getattr(args, "copies", ())))
    return fit(replace(graph, layers=layers), core, topology=topology, planned=planned)


def fit(
    graph: Graph, core: CoreConfig, *, topology: str = "mesh", planned: bool = False
) -> tuple[Graph, ChipConfig]:
    """A graph in layers that fit crossbars, and as small a chip as has a core for every tile;
    ``planned``: there may be no chip of that size."""
    graph = split_columns(long_input(graph, core), core)
    cores = np.cumsum([len(row_tiles(graph, layer, core)) for layer in graph.layers])
    most = MOST_PLANNED if planned and topology == "mesh" else MOST_CORES[topology]
    if cores[-1] > most:
        fit = int(np.searchsorted(cores, most, side="right"))
        plans = "" if planned or topology != "mesh" else "; phasecore map plans all of them"
        raise ValueError(
            f"{graph.name} needs {cores[-1]} cores of {core.rows} x {core.cols}; a {topology}"
            f" has at most {most}: the first {fit} of {len(cores)} layers fit (--layers {fit})"
            f"{plans}"
        )
    flits = sum(message_flits(layer.outputs, core) for layer in graph.results)
    return graph, graph_chip(core, int(cores[-1]), topology, flits)


def _copied(graph: Graph, wanted: dict[str, int]) -> tuple[GraphLayer, ...]:
    """Layers with the copies that are asked for."""
    names = [layer.name for layer in graph.layers]
    if unknown := sorted({*wanted} - {"", *names}):
        raise ValueError(
            f"--copies: {graph.name} has no layer {', '.join(unknown)}; its layers are"
            f" {', '.join(names)}"
        )
    every = wanted.get("", 1)
    return tuple(replace(layer, copies=wanted.get(layer.name, every)) for layer in graph.layers)


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
