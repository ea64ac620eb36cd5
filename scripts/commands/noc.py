# SPDX-License-Identifier: Apache-2.0
"""``phasecore noc``: latency, load curves and saturation of a NoC, measured on the RTL."""

import argparse
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from phasecore.progress import counted
from phasecore.rtl.spec.noc import ARBITERS, NocConfig
from phasecore.scripts.commands.options import positive
from phasecore.scripts.report import results
from phasecore.scripts.report.pictures import COLORS, layered, picture
from phasecore.verification.noc.traffic import (
    ORDERS,
    PATTERNS,
    bound,
    build,
    ideal_latency,
    point_of,
    saturation,
    traffic,
)

__all__ = ["MEASURES", "REFERENCE", "add_parser", "report", "run"]

OPTIONS = ("seed", "out", "overwrite")

PLOT_COLUMNS = 2
"""Panels of the picture side by side, ..."""

PLOT_LATENCY = 60
"""... and cycles to which they go."""

LOADED = {"mesh": PATTERNS[:4], "prism": ("uniform", "forward")}
"""Patterns whose saturation is measured."""

MEASURES = ("pairs", "saturation", "overload", "broadcast", "account")
"""What can be measured; ``account``: many flits with stalls and multicasts, all accounted for."""

REFERENCE = {
    (4, 1, "uniform", 1): 0.623, (4, 2, "uniform", 1): 0.697,
    (8, 1, "uniform", 1): 0.348, (8, 2, "uniform", 1): 0.386,
    (4, 2, "transpose", 1): 0.63, (8, 2, "transpose", 1): 0.27,
}  # fmt: skip
"""Saturation by (side, virtual channels, pattern, flits per packet), all with four buffers: uniform
of an idealised one-cycle BookSim2; transpose what XY and YX together must reach. For orientation:
targets of this project, not figures of the papers it follows."""

REFERENCE_WORST = 0.10
"""What the worst node of an overloaded 8x8 transpose must get; round robin alone gives 0.016."""

REFERENCE_BROADCAST = 0.87
"""Part of the ejection bound, one flit per node and cycle, that broadcasts must reach."""

log = logging.getLogger("phasecore")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "noc",
        help="measure latency and saturation of the NoC on the RTL",
        description=(
            "Measure zero-load latency of every pair, load-latency curves, saturation, fairness,"
            " broadcasts and the accounting of many flits, of a mesh or of direct links, in RTL"
            " simulation. --out names the folder of the JSON result and the plot (default:"
            " build/noc)."
        ),
    )
    parser.add_argument(
        "--topology", choices=list(LOADED), default="mesh",
        help="mesh of routers, or prism of direct links (default mesh)",
    )  # fmt: skip
    parser.add_argument(
        "--side", type=positive, nargs="+", default=[4], metavar="N",
        help="meshes of N x N (default 4)",
    )  # fmt: skip
    parser.add_argument(
        "--columns", type=positive, default=4, metavar="N", help="columns of a prism (default 4)"
    )
    parser.add_argument(
        "--cores", type=positive, nargs="+", default=[2], metavar="M",
        help="cores in each column of a prism (default 2)",
    )  # fmt: skip
    parser.add_argument(
        "--virtual-channels", type=positive, nargs="+", default=[1, 2], metavar="V",
        help="virtual channels of a link (default 1 2)",
    )  # fmt: skip
    parser.add_argument(
        "--depth", type=positive, default=4, metavar="D",
        help="buffers per virtual channel (default 4)",
    )  # fmt: skip
    parser.add_argument("--arbiter", choices=ARBITERS, default="round_robin")
    parser.add_argument(
        "--pattern", choices=[*LOADED["mesh"], "forward"], nargs="+",
        help="traffic patterns (default all of the topology)",
    )  # fmt: skip
    parser.add_argument(
        "--length", type=positive, nargs="+", default=[1, 4, 8], metavar="L",
        help="flits per packet (default 1 4 8)",
    )  # fmt: skip
    parser.add_argument(
        "--measure", choices=MEASURES, nargs="+", default=list(MEASURES),
        help="what to measure (default all)",
    )  # fmt: skip
    parser.add_argument(
        "--flits", type=positive, default=1_000_000, metavar="N",
        help="flits to account for (default 1000000)",
    )  # fmt: skip
    parser.add_argument("--name", default="noc", help="name of the result files")
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    for length in args.length:
        if not 1 <= length <= 255:
            raise ValueError(f"a packet has 1..255 flits, not {length}")
    known = LOADED[args.topology]
    args.pattern = args.pattern or list(known)
    for pattern in args.pattern:
        if pattern not in known:
            raise ValueError(f"patterns of a {args.topology} are {', '.join(known)}, not {pattern}")
    configs = list(_configs(args))
    path = results.destination(args, args.out or Path("build") / "noc", args.name, ".png")
    parts = {
        "pairs": _pairs, "saturation": _points, "overload": _overload, "broadcast": _broadcasts,
        "account": _account,
    }  # fmt: skip
    measured: dict[str, Any] = {name: [] for name in parts if name in args.measure}
    with counted("noc", len(measured) * len(configs), "measurements") as line:
        for name, entries in measured.items():
            for config in configs:
                entries += [{**_name(config), **entry} for entry in parts[name](config, args)]
                line.step(name)
    result = results.record(
        command=args.command, seed=args.seed, noc=[asdict(config) for config in configs],
        **measured,
    )  # fmt: skip
    results.write(path, result, args)
    if result.get("saturation"):
        plot(result, path.with_suffix(".png"))
    return {**result, "out": str(path)}


def _configs(args: argparse.Namespace) -> Iterator[NocConfig]:
    """NoCs to measure: with several channels as one virtual network and as two."""
    shapes = [(side, side) for side in args.side]
    if args.topology == "prism":
        shapes = [(args.columns, cores) for cores in args.cores]
    for width, height in shapes:
        for channels in args.virtual_channels:
            for networks in (1, 2) if channels > 1 and args.topology == "mesh" else (2,):
                yield NocConfig(
                    topology=args.topology, width=width, height=height, networks=networks,
                    virtual_channels=channels, depth=args.depth, arbiter=args.arbiter,
                )  # fmt: skip


def _name(config: NocConfig) -> dict[str, Any]:
    """What tells a NoC from the others of a run."""
    return {
        "topology": config.topology, "width": config.width, "height": config.height,
        "virtual_channels": config.virtual_channels, "networks": _networks(config),
        "depth": config.depth,
    }  # fmt: skip


def _networks(config: NocConfig) -> int:
    return min(config.networks, config.virtual_channels)


def _order(config: NocConfig) -> str:
    """All on XY, or packets on XY and YX in turn."""
    return "alternate" if _networks(config) == 2 else "xy"


def _pairs(config: NocConfig, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Zero-load latency of every pair; the simulation top compares each with R + 1 + (L - 1)."""
    for length in args.length:
        for order in ORDERS[: _networks(config)]:
            result = traffic(
                config, pattern="pairs", length=length, order=order, warmup=0, measure=1 << 30
            )
            log.info("%s, %s: %d pairs exact", _title(_name(config)), order, result["received"])
            yield {
                "order": order, "length": length, "pairs": result["received"],
                "exact": result["bad"] == 0, "longest": result["latency_max"],
            }  # fmt: skip


def _points(config: NocConfig, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    order = _order(config)

    def measured(point: tuple[str, int]) -> dict[str, Any]:
        pattern, length = point
        load, curve = saturation(
            config, pattern=pattern, length=length, order=order, seed=args.seed, warmup=1000,
            measure=3000, limit=2000,
        )  # fmt: skip
        log.info("%s, %s, %d flits: %.3f", _title(_name(config)), pattern, length, load)
        known = config.depth == 4 and config.width == config.height and not config.direct
        key = (config.width, config.virtual_channels, pattern, length)
        if pattern == "transpose" and order == "xy":
            known = False
        return {
            "pattern": pattern, "length": length, "order": order, "saturation": load,
            "reference": REFERENCE.get(key) if known else None,
            "bound": round(bound(config, pattern, order), 3),
            "zero_load_latency": round(ideal_latency(config, pattern, length), 3), "curve": curve,
        }  # fmt: skip

    build(config)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(measured, [(p, length) for p in args.pattern for length in args.length])


def _overload(config: NocConfig, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Throughput of the worst node when all want to send all the time."""
    if config.direct or _networks(config) == 1:
        return
    for arbiter in ARBITERS:
        result = traffic(
            config.replace(arbiter=arbiter), load=1.0, pattern="transpose", order="alternate",
            seed=args.seed, warmup=3000, measure=6000, limit=0,
        )  # fmt: skip
        point = point_of(1.0, float("inf"), result, 6000)
        yield {
            "arbiter": arbiter, "accepted": point["accepted"], "worst_node": point["worst_node"],
            "reference": REFERENCE_WORST if config.width == 8 and arbiter == "age" else None,
        }  # fmt: skip


def _broadcasts(config: NocConfig, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Use of the outputs when every node sends as many broadcasts as the outputs can take.

    A broadcast goes to all that a node reaches, itself included.
    """
    heard = Counter(
        end for node in range(config.nodes)
        for end in (node, *(config.neighbours[node] if config.direct else ()))
    )  # fmt: skip
    copies = max(heard.values()) if config.direct else config.nodes
    for length in args.length:
        if length > config.depth:
            continue
        result = traffic(
            config, load=1 / copies, pattern="broadcast", length=length, seed=args.seed,
            warmup=2000, measure=4000, limit=0,
        )  # fmt: skip
        ends = [1 + len(config.neighbours[node]) if config.direct else config.nodes
                for node in range(config.nodes)]  # fmt: skip
        used = [
            count / 4000 * copies / end for count, end in zip(result["ejected"], ends, strict=True)
        ]
        yield {
            "length": length, "of_bound": round(sum(used) / len(used), 3),
            "worst_node": round(min(used), 3),
            "reference": None if config.direct else REFERENCE_BROADCAST,
        }  # fmt: skip


def _account(config: NocConfig, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Overload with random stalls and multicasts until enough flits have arrived.

    The simulation top checks every flit, and at the end that all have arrived and all credits are
    back; ``traffic`` raises otherwise.
    """
    for length in args.length:
        arrived = runs = 0
        while arrived < args.flits:
            result = traffic(
                config, load=0.9, length=length, order=_order(config), stall=30,
                multicast=20 if length <= config.depth else 0, seed=args.seed + runs, warmup=0,
                measure=40_000, limit=0,
            )  # fmt: skip
            if result["hung"]:
                raise RuntimeError(f"the NoC hangs with packets of {length} flits")
            runs, arrived = runs + 1, arrived + result["flits_received"]
        log.info("%s, %d flits: %d flits accounted for", _title(_name(config)), length, arrived)
        yield {"length": length, "runs": runs, "flits": arrived, "lost": 0}


def _title(p: dict[str, Any]) -> str:
    """Name of a NoC in a line of a report."""
    networks = "direct" if p["topology"] == "prism" else {1: "XY", 2: "XY/YX"}[p["networks"]]
    return f"{_shape(p):6} {p['virtual_channels']} x {p['depth']:<2} {networks:6}"


def _shape(p: Mapping[str, Any]) -> str:
    if p["topology"] == "prism":
        return f"P{p['width']}xK{p['height']}"
    return f"{p['width']}x{p['height']}"


def report(result: dict[str, Any]) -> str:
    lines: list[str] = []
    if "pairs" in result:
        pairs = sum(p["pairs"] for p in result["pairs"])
        lines += [f"zero load: {pairs} pairs, every latency exactly R + 1 + (L - 1)", ""]
    tables = {
        "saturation": (
            "saturation, flits/node/cycle at three times the zero-load latency",
            ("pattern", "length", "saturation", "bound", "reference"),
        ),
        "overload": (
            "overloaded transpose, flits/node/cycle: mean, worst node",
            ("arbiter", "accepted", "worst_node", "reference"),
        ),
        "broadcast": (
            "broadcast from every node, part of the ejection bound: mean, worst node",
            ("length", "of_bound", "worst_node", "reference"),
        ),
        "account": (
            "random traffic with stalls and multicasts, all flits accounted for",
            ("length", "runs", "flits", "lost"),
        ),
    }
    for name, (title, columns) in tables.items():
        if not result.get(name):
            continue
        lines += [title, " " * 20 + "".join(f"{column:>12}" for column in columns)]
        for p in result[name]:
            cells = ("" if p[column] is None else p[column] for column in columns)
            lines.append(f"{_title(p):20}" + "".join(f"{cell:>12}" for cell in cells))
        lines.append("")
    return "\n".join([*lines, f"written: {result['out']}"])


def plot(result: Mapping[str, Any], path: Path) -> None:
    """Load-latency curves, one panel per noc and pattern; references as vertical lines."""
    panels: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for p in result.get("saturation", []):
        panels.setdefault((_shape(p), p["pattern"]), []).append(p)
    if not panels:
        raise ValueError("there is no picture of a NoC without measured saturation")
    lengths = sorted({p["length"] for p in result["saturation"]})
    kinds = sorted({_kind(p) for p in result["saturation"]})
    columns = min(PLOT_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    with picture(path, rows, columns, size=(3.2 * columns + 1.8, 2.7 * rows)) as (figure, grid):
        drawn: dict[str, Any] = {}
        for axes, (shape, pattern) in zip(grid.flat, sorted(panels), strict=False):
            for p in sorted(panels[shape, pattern], key=_kind):
                style = layered(kinds.index(_kind(p)), len(kinds), len(p["curve"]))
                style["color"] = COLORS[lengths.index(p["length"])]
                drawn |= _plot_curve(axes, p, style)
            axes.set(
                title=f"{shape} {pattern}", xlabel="offered, flits/node/cycle",
                ylabel="mean latency, cycles", ylim=(0, PLOT_LATENCY), xlim=(0, None),
            )  # fmt: skip
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        figure.legend(drawn.values(), drawn.keys(), loc="outside right center")


def _kind(p: Mapping[str, Any]) -> str:
    """Channels and networks of a NoC."""
    networks = "" if p["topology"] == "prism" else {1: ", XY", 2: ", XY/YX"}[p["networks"]]
    return f"{p['virtual_channels']} VC{networks}"


def _plot_curve(axes: Any, p: Mapping[str, Any], style: Mapping[str, Any]) -> dict[str, Any]:
    """Draw a curve as far as the panel goes; its lines by what the legend calls them."""
    points = [q for q in p["curve"] if q["latency"] is not None]
    inside = [q for q in points if q["latency"] <= PLOT_LATENCY]
    points = points[: len(inside) + 1]
    flits = "1 flit" if p["length"] == 1 else f"{p['length']} flits"
    (line,) = axes.plot([q["load"] for q in points], [q["latency"] for q in points], **style)
    drawn = {f"{_kind(p)}, {flits}": line}
    if p["reference"] is not None:
        name = f"{flits}: reference of saturation"
        drawn[name] = axes.axvline(p["reference"], color=style["color"], linestyle=":")
    return drawn
