# SPDX-License-Identifier: Apache-2.0
"""``phasecore map``: a trained network on cores, without its data: places, programs, cycles."""

import argparse
import resource
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from phasecore.models.compiler.fabrics import compared
from phasecore.models.compiler.graph import Graph
from phasecore.models.compiler.mapping.inference import InferenceMapping
from phasecore.models.compiler.onnx_graph import load_graph
from phasecore.models.compiler.placement import PlannedMesh
from phasecore.models.compiler.quantise import blank
from phasecore.models.compiler.schedule import Timing, schedule
from phasecore.models.compiler.traffic import (
    bytes_passed,
    descriptor_bytes,
    hops,
    link_flits,
    ring_bytes,
)
from phasecore.models.golden.device import IDEAL
from phasecore.models.studies.energy import CASES, inferred
from phasecore.progress import working
from phasecore.scripts.commands.options import add_devices, add_model, add_topology, fitted
from phasecore.scripts.report import results
from phasecore.scripts.report.pictures import COLORS, picture

__all__ = ["add_parser", "energy", "energy_line", "plot", "report", "run"]

IMAGES = 5
"""Images of the run without data, which follow one another."""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "map",
        help="map a trained ONNX network on cores: places, programs, cycles",
        description=(
            "Cut a network into tiles, place them, write programs and descriptors, and interpret"
            " these without data: that they come to an end with every timing, cycles per image and"
            " how busy each core is. Writes NAME.json and NAME.png into --out (default: build/map)."
            " `phasecore run` infers with it."
        ),
    )
    add_model(parser)
    add_topology(parser)
    parser.add_argument(
        "--fabrics", action="store_true",
        help="also place the layers, a node each, on the prism with the fewest cores a column on"
        " which every way is one link, proven by CP-SAT (pip install 'phasecore[place]'), and on"
        " a mesh, a torus and a hypercube: bytes on the busiest link (up to a minute)",
    )  # fmt: skip
    add_devices(parser)
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    name = args.name or args.model.stem
    path = results.destination(args, args.out or Path("build") / "map", name, ".png")
    started = time.perf_counter()
    graph = load_graph(
        args.model, name=args.model.stem, dataset="none", largest=1, layers=args.layers,
        drop=args.allow_drop,
    )  # fmt: skip
    whole = graph
    graph, chip = fitted(args, graph, topology=args.topology, planned=True)
    with working(f"mapping {graph.name}"):
        mapping = InferenceMapping(graph, blank(graph, chip.core), chip, IDEAL)
        timing, alone = schedule(mapping, IMAGES), schedule(mapping, 1)
    seconds = time.perf_counter() - started
    result = results.record(
        command=args.command, config=chip, seed=args.seed, network=graph.name,
        topology=args.topology, **_sizes(graph, mapping), **_times(mapping, timing, alone),
        **_traffic(mapping, timing), energy_nj=energy(mapping, timing),
        mapping_seconds=round(seconds, 1),
        mapping_megabytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    )  # fmt: skip
    if args.fabrics:
        with working(f"placing the layers of {graph.name}, and proving"):
            result["fabrics"] = compared(whole)
    results.write(path, result, args)
    plot(result, path.with_suffix(".png"))
    return {**result, "out": str(path)}


def _sizes(graph: Graph, mapping: InferenceMapping) -> dict[str, Any]:
    """Crossbars, and what the cores hold beside them."""
    core, stages = mapping.config, mapping.stages
    weights = sum(int(np.count_nonzero(layer.weights)) for layer in graph.layers)
    texts, rings = descriptor_bytes(mapping).values(), ring_bytes(mapping).values()
    products = [stage for stage in stages if not stage.layer.only_pools]
    cells = len(products) * core.rows * core.cols
    noc = mapping.hardware.noc
    return {
        "crossbars": len(products),
        "cores": len(stages),
        "planned_chips": noc.chips if isinstance(noc, PlannedMesh) else None,
        "weights": weights,
        "utilisation": round(weights / cells, 4),
        "utilisation_with_copies": round(
            sum(
                stage.tile.copies * int(np.count_nonzero(
                    stage.layer.weights[stage.tile.index(stage.layer)]
                ))
                for stage in products
            ) / cells, 4,
        ),
        "descriptor_bytes_per_core": round(sum(texts) / len(stages), 1),
        "descriptor_bytes_most": max(texts),
        "ring_bytes_per_core": round(sum(rings) / len(stages), 1),
        "ring_bytes_most": max(rings),
        "ring_bytes_available": (core.memory_words - core.slot_words) * core.post_lanes,
    }  # fmt: skip


def _times(mapping: InferenceMapping, timing: Timing, alone: Timing) -> dict[str, Any]:
    """Cycles by the model, and how busy each core is."""
    spans = {
        stage.name: np.array(timing.windows[stage.node]).reshape(IMAGES, -1)[:, [0, -1]].tolist()
        for stage in mapping.stages
    }
    return {
        "deadlock": False,
        "cycles_per_image": round(timing.cycles_per_image, 1),
        "cycles_of_one_image": alone.image_ends[0],
        "images_per_second_at_1_ghz": round(1e9 / timing.cycles_per_image, 1),
        "window_slots_per_image": max(alone.products.values()),
        "stages": [
            {
                "name": stage.name, "node": stage.node, "rows": len(stage.tile.rows),
                "columns": stage.columns, "copies": stage.tile.copies,
                "windows": len(alone.windows[stage.node]),
                "busy": round(timing.busy(stage.node), 4),
                "frame_vectors": mapping.tables[stage.node].objects[0].depth,
                "frame_vectors_used": timing.used[stage.node, 0],
                "spans": spans[stage.name],
            }
            for stage in mapping.stages
        ],
    }  # fmt: skip


def _traffic(mapping: InferenceMapping, timing: Timing) -> dict[str, Any]:
    """Ways of vectors and partial sums, and what links carry of an image."""
    ways, loads = hops(mapping), link_flits(mapping, timing)
    size = mapping.hardware.noc.flit_bits // 8
    return {
        "ways": len(ways),
        "hops_mean": round(float(np.mean(ways)), 2),
        "hops_most": max(ways),
        "single_hop": round(ways.count(1) / len(ways), 4),
        "link_bytes_most": round(size * max(loads.values())),
        "link_bytes_mean": round(size * float(np.mean(list(loads.values())))),
        "link_busy_most": round(max(loads.values()) / timing.cycles_per_image, 4),
        "links": [[one, other, round(size * flits)] for (one, other), flits in loads.items()],
    }


def energy(mapping: InferenceMapping, timing: Timing) -> dict[str, dict[str, float]]:
    """nJ of an image by part and case, modelled."""
    parts = inferred(sum(timing.products.values()), bytes_passed(mapping, timing), mapping.config)
    return {name: value.rounded(1) for name, value in parts.items()}


def energy_line(parts: Mapping[str, Mapping[str, float]]) -> str:
    """What :func:`energy` found, with what it leaves out."""
    low, nominal, high = (sum(part[case] for part in parts.values()) for case in CASES)
    shares = ", ".join(f"{name} {part['nominal']:,.0f}" for name, part in parts.items())
    return (
        f"energy an image, modelled  {nominal:,.0f} nJ ({low:,.0f} to {high:,.0f}): {shares};"
        " without gates, clocks, leakage (docs/results/energy.md)"
    )


def report(result: Mapping[str, Any]) -> str:
    return "\n".join(_lines(result))


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    core, noc = result["config"]["core"], result["config"]["noc"]
    yield (
        f"{result['network']}: {result['crossbars']} crossbars of {core['rows']} x {core['cols']}"
        f" on a {result['topology']} of {noc['width']} x {noc['height']} nodes,"
        f" {100 * result['utilisation']:.1f} % in use, with copies"
        f" {100 * result['utilisation_with_copies']:.1f} %"
    )
    if pools := result["cores"] - result["crossbars"]:
        yield f"cores that only pool       {pools}"
    if result["planned_chips"]:
        yield (
            f"planned                    {result['planned_chips']} chips of 8 x 8 nodes, as if"
            " links between them were links inside: nothing of that size is generated"
        )
    yield "programs                   come to an end, with every timing"
    yield (
        f"cycles per image           {result['cycles_per_image']:,.0f} without a gap, one alone"
        f" {result['cycles_of_one_image']:,}; {result['images_per_second_at_1_ghz']:,.0f} images"
        " per second if 1 GHz were reached"
    )
    yield (
        f"descriptors of a core      {result['descriptor_bytes_per_core']:.0f} bytes, at most"
        f" {result['descriptor_bytes_most']}"
    )
    yield (
        f"rings of a core            {result['ring_bytes_per_core']:,.0f} bytes, at most"
        f" {result['ring_bytes_most']:,} of {result['ring_bytes_available']:,}"
    )
    yield (
        f"ways                       {result['ways']}, {result['hops_mean']} links long, at most"
        f" {result['hops_most']}; {100 * result['single_hop']:.0f} % are one link"
    )
    yield (
        f"busiest link               {result['link_bytes_most']:,} bytes an image, a flit in"
        f" {100 * result['link_busy_most']:.1f} % of the cycles"
    )
    yield energy_line(result["energy_nj"])
    yield from _fabric_lines(result.get("fabrics"))
    yield f"{'tile':<14}{'node':>5}{'rows':>6}{'cols':>5}{'copies':>7}{'windows':>8}{'busy':>7}"
    for one in result["stages"]:
        yield (
            f"{one['name']:<14}{one['node']:>5}{one['rows']:>6}{one['columns']:>5}"
            f"{one['copies']:>7}{one['windows']:>8}{100 * one['busy']:>6.1f}%"
        )
    yield (
        f"mapped in {result['mapping_seconds']} s, {result['mapping_megabytes']} MB; written"
        f" {result['out']}"
    )


def _fabric_lines(found: Mapping[str, Any] | None) -> Iterator[str]:
    """The layers on networks of other kinds."""
    if not found:
        return
    prism = found["prism"]
    fewer = "fewer proven impossible" if prism["fewer_proven_impossible"] else "fewer not excluded"
    yield (
        f"layers as nodes            {found['layers']}, {found['ways']} ways; on a prism of"
        f" {prism['columns']} columns of {prism['cores_per_column']} every way is one link"
        f" ({fewer}, {prism['seconds']} s)"
    )
    yield f"{'':<27}{'one link':>9}{'longest':>9}{'busiest link, bytes an image':>30}"
    for name in ("prism", "mesh", "torus", "hypercube"):
        one = found[name]
        yield (
            f"  {name:<25}{100 * one['single_hop']:>7.0f} %{one.get('hops_most', 1):>9}"
            f"{one['link_bytes_most']:>30,}"
        )


def plot(result: Mapping[str, Any], path: Path) -> None:
    """Places with the links' loads, and tiles over time for some images."""
    stages = result["stages"]
    height = max(3.6, 0.16 * len(stages) + 1)
    with picture(path, 1, 2, size=(11, height), width_ratios=[1, 1.3]) as (figure, (panels,)):
        _plot_places(panels[0], result)
        _plot_times(panels[1], stages)
        figure.suptitle(
            f"{result['network']}: {result['crossbars']} crossbars,"
            f" {result['cycles_per_image']:,.0f} cycles per image (modelled)"
        )


def _plot_places(axes: Any, result: Mapping[str, Any]) -> None:
    """Nodes, as dark as they are busy, and links, as thick as they are loaded."""
    chip = result["config"]
    width, host = chip["noc"]["width"], chip["host"]
    most = max(load for *_, load in result["links"])
    for one, other, load in result["links"]:
        (ay, ax), (by, bx) = divmod(one, width), divmod(other, width)
        # Both directions are seen beside each other.
        dx, dy = 0.06 * np.sign(by - ay), -0.06 * np.sign(bx - ax)
        axes.plot(
            [ax + dx, bx + dx], [ay + dy, by + dy], color=COLORS[0],
            linewidth=0.4 + 5 * load / most, zorder=1, solid_capstyle="butt",
        )  # fmt: skip
    busy = {stage["node"]: (stage["name"], stage["busy"]) for stage in result["stages"]}
    for node in range(width * chip["noc"]["height"]):
        y, x = divmod(node, width)
        name, part = busy.get(node, ("host" if node == host else "", 0.0))
        shade = 1 - 0.6 * min(1, part)
        axes.text(
            x, y, name, ha="center", va="center", fontsize=6,
            bbox={"boxstyle": "square", "facecolor": (1, shade, shade), "linewidth": 0.5},
        )  # fmt: skip
    axes.set_xlim(-0.6, width - 0.4)
    axes.set_ylim(-0.6, chip["noc"]["height"] - 0.4)
    axes.set_title("links by load, cores by work")
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])


def _plot_times(axes: Any, stages: list[dict[str, Any]]) -> None:
    """From the first to the last window of every image, by tile."""
    for row, stage in enumerate(stages):
        for image, (first, last) in enumerate(stage["spans"]):
            axes.barh(row, last - first + 128, left=first, color=COLORS[image], height=0.8)
    axes.set_yticks(range(len(stages)), [stage["name"] for stage in stages], fontsize=6)
    axes.invert_yaxis()
    axes.set_xlabel("cycles")
    axes.set_title("images by colour, from first to last window")
