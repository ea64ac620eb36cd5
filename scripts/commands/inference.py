# SPDX-License-Identifier: Apache-2.0
"""``phasecore simulate --infer``: a trained network infers in the RTL, beside the golden model.

The run itself is ``verification/cosim/inference.py``.
"""

import argparse
import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from phasecore.models.compiler.convolution import CONV_NETWORKS
from phasecore.models.compiler.graph import Graph
from phasecore.models.compiler.onnx_graph import load_graph
from phasecore.models.golden.device import IDEAL, PCM
from phasecore.models.training import checkpoint as checkpoints
from phasecore.models.training.datasets import Dataset, load
from phasecore.models.training.own_data import load_own
from phasecore.models.training.programmed import program, trained_graph
from phasecore.models.training.samples import CALIBRATION
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.scripts import interrupts
from phasecore.scripts.commands.options import (
    TIMELINE,
    add_layers,
    add_topology,
    at_most,
    fitted,
)
from phasecore.scripts.report import results
from phasecore.verification.cosim.inference import Inference

__all__ = ["MODELS", "add_options", "run", "simulated"]

MODELS = {"mnist-conv": ("mnist", 1.0), "resnet-8": ("cifar10", 255.0)}
"""Networks of ONNX files: data set, and value of the input that is a fully bright pixel."""

PACKAGED = {"mnist-conv": ("qonnx", "data/onnx/mnist-conv/model.onnx")}
"""Package that has a network's file, and where."""

TEST_IMAGES = 100

ORDERS = ("pipelined", "one by one")
"""Images without a gap, or each when the one before is through."""

TRAINING = ("images", "epochs", "images_per_epoch", "with_validation", "waves")
"""Options that say nothing here."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--infer`` and what belongs to it."""
    group = parser.add_argument_group(
        "inference",
        f"with --infer a trained network of {', '.join((*CONV_NETWORKS, *MODELS))} infers; --resume"
        " or --model names its weights. Every profile (default: ideal and pcm) is programmed, then"
        f" images are inferred {' and '.join(ORDERS)}.",
    )
    group.add_argument("--infer", action="store_true", help="infer, do not train")
    group.add_argument(
        "--model", type=Path, metavar="FILE",
        help=f"ONNX file of {' or '.join(MODELS)} (default: that of the package qonnx, if it has"
        " one)",
    )  # fmt: skip
    add_layers(group)
    group.add_argument(
        "--packed", action="store_true",
        help="all positions of a row of the first layer in one window, as a banded matrix",
    )  # fmt: skip
    group.add_argument(
        "--program", action="store_true",
        help="the RTL programs its devices itself, with every pulse compared, before each run:"
        " tens of millions of cycles for cores of 256 x 256 (default: it takes those that the"
        " golden model has programmed)",
    )  # fmt: skip
    add_topology(group)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Infer in RTL as the options say; the result."""
    for name in TRAINING:
        if getattr(args, name):
            raise ValueError(
                f"--{name.replace('_', '-')} is of training, not of --infer; --test-images N says"
                " how many images are inferred"
            )
    graph = _graph(args)
    graph = graph.with_packed_first() if args.packed else graph
    data = _data(args, graph)
    graph, chip = fitted(args, graph, topology=args.topology)
    available = len(data.test_x)
    wanted = args.test_images or min(TEST_IMAGES, available)
    count = at_most("--test-images", wanted, available, f"test images of {data.name}")
    folder: Path = args.out or Path("build") / "simulate"
    others = (TIMELINE,) if args.timeline else ()
    path = results.destination(args, folder, args.name or f"{graph.name}-rtl", *others)
    timeline = path.with_suffix(TIMELINE) if args.timeline else None
    runs = list(_runs(args, graph, chip, data, count, timeline))
    result = results.record(
        command=args.command, config=chip, seed=args.seed, network=graph.name, dataset=data.name,
        simulator=args.sim, topology=args.topology, layers=len(graph.layers), images=count,
        mismatches=sum(one["mismatches"] for one in runs),
        values_compared=sum(one["values_compared"] for one in runs),
        packed=args.packed, programmed="rtl" if args.program else "model", runs=runs,
        **_headline(runs),
    )  # fmt: skip
    results.write(path, result, args)
    return {**result, "ok": not result["mismatches"], "out": str(path)}


def _headline(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures of the whole result: those of the last profile's images without a gap."""
    (*_, chosen) = (one for one in runs if one["order"] == ORDERS[0])
    accuracies = {name: chosen.get(name) for name in ("accuracy_rtl", "accuracy_model")}
    return {
        **accuracies,
        "cycles_per_image": {"total": chosen["cycles_per_image"]},
        "busy": chosen["busy"],
        "images_per_second": chosen["images_per_second"],
    }


def _runs(
    args: argparse.Namespace, graph: Graph, chip: ChipConfig, data: Dataset, count: int,
    timeline: Path | None,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Figures of every profile and order; the timeline is of the first."""
    images, labels = data.test_x[:count], data.test_y[:count]
    for profile in (args.profile,) if args.profile else (IDEAL, PCM):
        programmed = program(graph, chip, profile, data.train_x[:CALIBRATION], args.seed)
        for order in ORDERS:
            at_once = count if order == ORDERS[0] else 1
            inference = Inference(
                programmed, images, labels, seed=args.seed, at_once=at_once, in_rtl=args.program
            )
            what = f", {profile.name}, {order}"
            figures = simulated(inference, args.sim, what, timeline)
            timeline = None
            yield {"profile": profile.name, "order": order, **figures}


def simulated(
    inference: Inference, sim: str, what: str, timeline: Path | None = None
) -> dict[str, Any]:
    """Figures of an inference in a simulator, in a folder that is there as long as it runs.

    ``timeline``: file that takes what the cores did.
    """
    observed = inference.observe() if timeline else None
    with tempfile.TemporaryDirectory(prefix="phasecore-") as scratch:
        try:
            with interrupts.deferred() as stop:
                figures: dict[str, Any] = inference.run(
                    Path(scratch), sim=sim, check=stop.check, what=what
                )
        finally:
            inference.stop()
    if observed and timeline:
        observed.write(timeline)
    return figures


def _graph(args: argparse.Namespace) -> Graph:
    """The trained network that the options name."""
    if args.network in CONV_NETWORKS:
        if args.model or args.layers or not args.resume:
            raise ValueError(f"{args.network} is of a checkpoint: --resume FILE, nothing else")
        found = checkpoints.load(args.resume)
        if (name := found.run().network.name) != args.network:
            raise ValueError(f"{args.resume} is of {name}, not {args.network}")
        return trained_graph(found)
    if args.network not in MODELS:
        known = ", ".join((*CONV_NETWORKS, *MODELS))
        raise ValueError(f"--infer needs --network, one of {known}, not {args.network}")
    if args.resume:
        raise ValueError(f"{args.network} is of an ONNX file: --model FILE, not --resume")
    dataset, largest = MODELS[args.network]
    path = args.model or _packaged(args.network)
    return load_graph(path, name=args.network, dataset=dataset, largest=largest, layers=args.layers)


def _packaged(network: str) -> Path:
    """The file that a package has of a network."""
    package, inside = PACKAGED.get(network, ("", ""))
    found = importlib.util.find_spec(package) if package else None
    if found is None or found.origin is None:
        hint = f" (the package {package} has it)" if package else ""
        raise ValueError(f"--model FILE is needed for {network}{hint}")
    return Path(found.origin).parent / inside


def _data(args: argparse.Namespace, graph: Graph) -> Dataset:
    if isinstance(args.dataset, Path):
        data = load_own(args.dataset, graph.inputs, colour=graph.shape[2] == 3)
    elif args.dataset is None and graph.dataset == MODELS["resnet-8"][0]:
        raise ValueError(
            f"--dataset FOLDER or FILE.npz is needed for {graph.name}: pictures of CIFAR-10 in"
            " folders train and test by class, or x_train, y_train, x_test, y_test, an image being"
            f" {graph.inputs} bytes by row, column and colour"
        )
    else:
        data = load(args.dataset or graph.dataset, args.data)
    if data.inputs != graph.inputs:
        raise ValueError(f"{graph.name} needs {graph.inputs} inputs; {data.name} has {data.inputs}")
    return data
