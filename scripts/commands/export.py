# SPDX-License-Identifier: Apache-2.0
"""``phasecore export``: a network that was trained here leaves as an ONNX file."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from phasecore import files
from phasecore.models.compiler.onnx_file import store_graph
from phasecore.models.training import checkpoint as checkpoints
from phasecore.models.training.programmed import trained_graph

__all__ = ["add_parser", "report", "run"]

OPTIONS = ("out", "overwrite")

PREPROCESSING = """\
# What the network takes: brightest pixels are 1. Read by `phasecore run`.
scale = 0.00392156862745098
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "export",
        help="write a network that was trained here as an ONNX file",
        description=(
            "Write the network of a checkpoint of `phasecore train` with the weights that its"
            " devices hold, in floating point, as NAME.onnx into --out (default: the checkpoint's"
            " folder), and what its input is as NAME.toml beside it. `phasecore run` infers with"
            " it, and so does any ONNX runtime."
        ),
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT.npz")
    parser.add_argument("--name", help="name of the files (default: the checkpoint's)")
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    name = args.name or args.checkpoint.stem
    folder = args.out or args.checkpoint.parent
    paths = [folder / f"{name}{ending}" for ending in (".onnx", ".toml")]
    for path in paths:
        files.check_target(path)
        if path.exists() and not args.overwrite:
            raise ValueError(f"{path} exists; --overwrite replaces it")
    found = checkpoints.load(args.checkpoint)
    graph = trained_graph(found)
    store_graph(graph, paths[0])
    files.write(paths[1], PREPROCESSING.encode())
    return {
        "network": graph.name,
        "layers": len(graph.layers),
        "weights": int(sum(np.size(layer.weights) + np.size(layer.bias) for layer in graph.layers)),
        "images": found.done,
        "written": [str(path) for path in paths],
    }


def report(result: dict[str, Any]) -> str:
    return (
        f"{result['network']}: {result['layers']} layers, {result['weights']} weights, after"
        f" {result['images']} images\nwritten {', '.join(result['written'])}"
    )
