# SPDX-License-Identifier: Apache-2.0
"""``phasecore fabric``: latency, load curves and saturation of the mesh, measured on the RTL."""

import argparse
import hashlib
import importlib
import json
import logging
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rtl.noc.config import ARBITERS, FabricConfig
from rtl.verilog import MACRO_SOURCES
from scripts import results

__all__ = [
    "ORDERS", "PATTERNS", "REFERENCE", "add_parser", "build", "curve", "destinations",
    "ideal_latency", "latency", "report", "run", "saturation", "traffic",
]  # fmt: skip

OPTIONS = ("seed", "out")

PATTERNS = ("uniform", "transpose", "tornado", "neighbour", "broadcast", "pairs", "forward")
"""Traffic patterns, in the numbering of the simulation top."""

ORDERS = ("xy", "yx", "alternate", "stream")
"""Virtual network of a packet: always one, in turn, or chosen by source and destination."""

REFERENCE = {
    (4, 1, "uniform", 1): 0.623, (4, 2, "uniform", 1): 0.697,
    (8, 1, "uniform", 1): 0.348, (8, 2, "uniform", 1): 0.386,
    (4, 2, "transpose", 1): 0.63, (8, 2, "transpose", 1): 0.27,
}  # fmt: skip
"""Saturation by (side, virtual channels, pattern, flits per packet), all with four buffers: uniform
of an idealised one-cycle BookSim2; transpose what XY and YX together must reach."""

REFERENCE_WORST = 0.10
"""What the worst node of an overloaded 8x8 transpose must get; round robin alone gives 0.016."""

REFERENCE_BROADCAST = 0.87
"""Part of the ejection bound, one flit per node and cycle, that broadcasts must reach."""

TOP = Path(__file__).resolve().parents[1] / "verification" / "tops" / "fabric_top.sv"
VERILATOR = [
    "--binary", "--timing", "-O3", "-fno-inline", "--unroll-count", "1",
    "--x-assign", "fast", "--x-initial", "fast",
    "-Wno-lint", "-Wno-style", "--top-module", "fabric_top",
]  # fmt: skip

log = logging.getLogger("phasecore")


def build(config: FabricConfig) -> Path:
    """Executable of the fabric under traffic, built once per content."""
    from verification.harness import BUILD_ROOT, verilator_environment

    if config.flit_bits != 64:
        raise ValueError(f"traffic is made of flits of 64 bits, not {config.flit_bits}")
    text, arguments = _design(config)
    macros = [path for path in MACRO_SOURCES if f"phasecore_{path.stem}" in text]
    sources = [path.read_text() for path in (TOP, *macros)]
    content = "\0".join([text, *sources, *VERILATOR, *arguments])
    name = f"fabric-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    executable: Path = BUILD_ROOT / name / "fabric_top"
    if executable.exists():
        return executable
    log.info(
        "building the %d x %d %s, %d virtual channels, %s (kept for the next run)",
        config.width, config.height, config.topology, config.virtual_channels, config.arbiter,
    )  # fmt: skip
    executable.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=executable.parent) as scratch:
        source = Path(scratch) / "fabric.v"
        source.write_text(text)
        command = [
            "verilator", *VERILATOR, *arguments, "-Mdir", scratch, "-o", "fabric_top",
            str(source), str(TOP), *map(str, macros),
        ]  # fmt: skip
        done = subprocess.run(
            command, env={**os.environ, **verilator_environment()}, check=False,
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"Verilator cannot build the fabric: {done.stderr[-2000:]}")
        # Atomic: another process may build the same.
        (Path(scratch) / "fabric_top").rename(executable)
    return executable


def _design(config: FabricConfig) -> tuple[str, list[str]]:
    """Verilog of the fabric; arguments that fit the simulation top to it."""
    n = config.nodes
    if config.direct:
        text: str = importlib.import_module("rtl.noc.direct").direct_verilog(config)
        module = "phasecore_direct"
        near = sum(
            1 << node * n + other
            for node, others in enumerate(config.neighbours) for other in (node, *others)
        )  # fmt: skip
    else:
        text = importlib.import_module("rtl.noc.mesh").mesh_verilog(config)
        module, near = "phasecore_mesh", (1 << n * n) - 1
    forward = sum(1 << source * n + target for source, target in config.edges)
    return text, [
        f"-GWIDTH={config.width}", f"-GHEIGHT={config.height}",
        f"-GVCS={config.virtual_channels}", f"-GXY={config.xy_channels}",
        f"-GDEPTH={config.depth}", f"-GDIRECT={int(config.direct)}",
        f"-DFABRIC={module}", f"-DNEAR={n * n}'h{near:x}", f"-DFORWARD={n * n}'h{forward:x}",
    ]  # fmt: skip


def traffic(
    config: FabricConfig, *, load: float = 0.0, pattern: str = "uniform", length: int = 1,
    order: str = "xy", multicast: int = 0, stall: int = 0, warmup: int = 2000,
    measure: int = 6000, limit: int = 6000, seed: int = 1, trace: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Run traffic of ``load`` flits per node and cycle; what the simulation top reports.

    Raises ``RuntimeError`` if a flit, a credit or an order is wrong.
    """
    values = {
        "rate": min(round(load / length * 2**32), 2**32 - 1),
        "pattern": PATTERNS.index(pattern), "length": length, "order": ORDERS.index(order),
        "multicast": multicast, "stall": stall, "warmup": warmup, "measure": measure,
        "limit": limit, "seed": seed,
    }  # fmt: skip
    arguments = [f"+{name}={value}" for name, value in values.items()]
    if trace is not None:
        arguments.append(f"+trace={trace}")
    done = subprocess.run(
        [build(config), *arguments], capture_output=True, text=True, check=False
    )
    line = next((x for x in done.stdout.splitlines() if x.startswith("RESULT ")), None)
    if line is None:
        raise RuntimeError(f"the simulation ended early: {done.stdout[-1000:]}{done.stderr[-500:]}")
    result: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    if result["bad"]:
        errors = [x for x in done.stdout.splitlines() if x.startswith("ERROR")]
        raise RuntimeError(f"{result['bad']} violations in the fabric: {'; '.join(errors)}")
    return result


def destinations(config: FabricConfig, pattern: str, node: int) -> list[int]:
    """Nodes to which ``node`` sends, all equally often."""
    x, y = node % config.width, node // config.width
    if pattern == "transpose":
        return [x * config.width + y]
    if pattern in ("tornado", "neighbour"):
        half = pattern == "tornado"
        to_x = (x + ((config.width + 1) // 2 - 1 if half else 1)) % config.width
        to_y = (y + ((config.height + 1) // 2 - 1 if half else 1)) % config.height
        return [to_y * config.width + to_x]
    return list(range(config.nodes))


def ideal_latency(config: FabricConfig, pattern: str, length: int) -> float:
    """Mean zero-load latency in cycles, R + 1 + (L - 1) averaged over the pattern."""
    values = [
        1 + abs(to % config.width - node % config.width)
        + abs(to // config.width - node // config.width) + length
        for node in range(config.nodes)
        for to in destinations(config, pattern, node)
    ]  # fmt: skip
    return sum(values) / len(values)


def latency(result: dict[str, Any]) -> float:
    """Mean latency from creation to the last flit, in cycles; infinite if packets were left."""
    if result["overdue"] or not result["received"]:
        return float("inf")
    return float(result["latency_sum"] / result["received"])


def saturation(config: FabricConfig, *, pattern: str, length: int, **options: Any) -> float:
    """Offered load, flits per node and cycle, at which latency is three times the zero-load one."""
    bound = 3 * ideal_latency(config, pattern, length)

    def below(load: float) -> bool:
        return (
            latency(traffic(config, load=load, pattern=pattern, length=length, **options)) < bound
        )

    return 1.0 if below(1.0) else _bisect(below, 0.02, 1.0)


def _bisect(below: Callable[[float], bool], low: float, high: float) -> float:
    while high - low > 0.002:
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return round((low + high) / 2, 3)


def curve(config: FabricConfig, loads: list[float], **options: Any) -> Iterator[dict[str, Any]]:
    """Latency and throughput at several offered loads, up to the first that saturates."""
    for load in loads:
        result = traffic(config, load=load, **options)
        accepted = [count / options.get("measure", 6000) for count in result["ejected"]]
        mean = latency(result)
        yield {
            "load": load,
            "latency": round(mean, 2) if mean < float("inf") else None,
            "accepted": round(sum(accepted) / len(accepted), 4),
            "worst_node": round(min(accepted), 4),
        }
        if mean == float("inf"):
            return


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "fabric",
        help="measure latency and saturation of the fabric on the RTL",
        description=(
            "Measure zero-load latency of every pair, load-latency curves, saturation and fairness"
            " of the mesh in RTL simulation. --out names the folder of the JSON result and the"
            " plot (default: build/fabric)."
        ),
    )
    parser.add_argument(
        "--side", type=int, nargs="+", default=[4], metavar="N", help="meshes of N x N (default 4)"
    )
    parser.add_argument(
        "--virtual-channels", type=int, nargs="+", default=[1, 2], metavar="V",
        help="virtual channels of a link (default 1 2)",
    )  # fmt: skip
    parser.add_argument(
        "--depth", type=int, default=4, metavar="D", help="buffers per virtual channel (default 4)"
    )
    parser.add_argument("--arbiter", choices=ARBITERS, default="round_robin")
    parser.add_argument(
        "--pattern", choices=PATTERNS[:4], nargs="+", default=list(PATTERNS[:4]),
        help="traffic patterns (default all)",
    )  # fmt: skip
    parser.add_argument(
        "--length", type=int, nargs="+", default=[1, 4, 8], metavar="L",
        help="flits per packet (default 1 4 8)",
    )  # fmt: skip
    parser.add_argument("--name", default="fabric", help="name of the result files")
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    for length in args.length:
        if not 1 <= length <= 255:
            raise ValueError(f"a packet has 1..255 flits, not {length}")
    points: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    worst: list[dict[str, Any]] = []
    broadcasts: list[dict[str, Any]] = []
    for side in args.side:
        for channels in args.virtual_channels:
            config = FabricConfig(
                width=side, height=side, virtual_channels=channels, depth=args.depth,
                arbiter=args.arbiter,
            )  # fmt: skip
            pairs += _pairs(config, args)
            points += _points(config, args)
            if channels > 1:
                worst += _overload(config, args)
                broadcasts += _broadcasts(config, args)
    result = results.record(
        command=args.command, seed=args.seed,
        fabric=asdict(FabricConfig(depth=args.depth, arbiter=args.arbiter)),
        zero_load=pairs, saturation=points, overload=worst, broadcast=broadcasts,
    )  # fmt: skip
    folder: Path = args.out or Path("build") / "fabric"
    path = results.write(args.name, result, folder)
    plot(result, path.with_suffix(".png"))
    return {**result, "out": str(path)}


def _pairs(config: FabricConfig, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Zero-load latency of every pair; the simulation top compares each with R + 1 + (L - 1)."""
    for length in args.length:
        for order in ORDERS[: min(config.virtual_channels, 2)]:
            result = traffic(
                config, pattern="pairs", length=length, order=order, warmup=0, measure=1 << 30
            )
            yield {
                "side": config.width, "virtual_channels": config.virtual_channels, "order": order,
                "length": length, "pairs": result["received"], "exact": result["bad"] == 0,
                "longest": result["latency_max"],
            }  # fmt: skip
            log.info("%d x %d, %s: %d pairs exact", config.width, config.height, order,
                     result["received"])  # fmt: skip


def _points(config: FabricConfig, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    orders = ("xy", "alternate") if config.virtual_channels > 1 else ("xy",)
    for pattern in args.pattern:
        for length in args.length:
            for order in orders:
                load = saturation(
                    config, pattern=pattern, length=length, order=order, seed=args.seed
                )
                steps = [round(load * k, 4) for k in (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)]
                points = list(curve(
                    config, [*steps, 1.0], pattern=pattern, length=length, order=order,
                    seed=args.seed,
                ))  # fmt: skip
                key = (config.width, config.virtual_channels, pattern, length)
                known = config.depth == 4 and (pattern != "transpose" or order == "alternate")
                yield {
                    "side": config.width, "virtual_channels": config.virtual_channels,
                    "pattern": pattern, "length": length, "order": order, "saturation": load,
                    "reference": REFERENCE.get(key) if known else None,
                    "zero_load_latency": ideal_latency(config, pattern, length), "curve": points,
                }  # fmt: skip
                log.info("%d x %d, %d VC, %s, %d flits, %s: %.3f", config.width, config.height,
                         config.virtual_channels, pattern, length, order, load)  # fmt: skip


def _overload(config: FabricConfig, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Throughput of the worst node when all want to send all the time."""
    for arbiter in ARBITERS:
        machine = config.replace(arbiter=arbiter)
        (point,) = curve(
            machine, [1.0], pattern="transpose", length=1, order="alternate", seed=args.seed,
            warmup=6000, measure=12000, limit=0,
        )  # fmt: skip
        yield {
            "side": config.width, "virtual_channels": config.virtual_channels, "arbiter": arbiter,
            "accepted": point["accepted"], "worst_node": point["worst_node"],
            "reference": REFERENCE_WORST if config.width == 8 and arbiter == "age" else None,
        }  # fmt: skip


def _broadcasts(config: FabricConfig, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Use of the outputs when every node sends as many broadcasts as the outputs can take."""
    for length in args.length:
        if length > config.depth:
            continue
        result = traffic(
            config, load=1 / config.nodes, pattern="broadcast", length=length, seed=args.seed,
            warmup=2000, measure=4000, limit=0,
        )  # fmt: skip
        used = [count / 4000 for count in result["ejected"]]
        yield {
            "side": config.width, "virtual_channels": config.virtual_channels, "length": length,
            "of_bound": round(sum(used) / len(used), 3), "worst_node": round(min(used), 3),
            "reference": REFERENCE_BROADCAST,
        }  # fmt: skip


def report(result: dict[str, Any]) -> str:
    pairs = sum(p["pairs"] for p in result["zero_load"])
    lines = [
        f"zero load: {pairs} pairs, every latency exactly R + 1 + (L - 1)",
        "",
        "saturation, flits/node/cycle at three times the zero-load latency",
        f"{'mesh':6}{'VC':>3} {'pattern':11}{'flits':>5} {'order':10}{'RTL':>7}{'reference':>11}",
    ]
    for p in result["saturation"]:
        reference = "" if p["reference"] is None else f"{p['reference']:.3f}"
        lines.append(
            f"{p['side']}x{p['side']:<4}{p['virtual_channels']:>3} {p['pattern']:11}"
            f"{p['length']:>5} {p['order']:10}{p['saturation']:7.3f}{reference:>11}"
        )
    if result["overload"]:
        lines += ["", "overloaded transpose, flits/node/cycle: mean, worst node"]
    for p in result["overload"]:
        reference = "" if p["reference"] is None else f"  (reference {p['reference']:.2f})"
        lines.append(
            f"{p['side']}x{p['side']:<4}{p['virtual_channels']:>3} {p['arbiter']:11}"
            f"{p['accepted']:8.3f}{p['worst_node']:8.3f}{reference}"
        )
    if result["broadcast"]:
        lines += ["", "broadcast from every node, part of the ejection bound: mean, worst node"]
    for p in result["broadcast"]:
        lines.append(
            f"{p['side']}x{p['side']:<4}{p['virtual_channels']:>3} {p['length']:>2} flits"
            f"{p['of_bound']:8.3f}{p['worst_node']:8.3f}  (reference {p['reference']:.2f})"
        )
    return "\n".join([*lines, "", f"written: {result['out']}"])


def plot(result: dict[str, Any], path: Path) -> None:
    """Load-latency curves, one panel per mesh and pattern; references as vertical lines."""
    import matplotlib

    matplotlib.use("Agg")
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    from matplotlib import pyplot

    panels = sorted({(p["side"], p["pattern"]) for p in result["saturation"]})
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(4 * columns, 3.2 * rows), squeeze=False, layout="constrained"
    )
    for axis, (side, pattern) in zip(axes.flat, panels, strict=False):
        for p in result["saturation"]:
            if (p["side"], p["pattern"]) != (side, pattern):
                continue
            points = [q for q in p["curve"] if q["latency"] is not None]
            label = f"{p['virtual_channels']} VC, {p['length']} flits, {p['order']}"
            (line,) = axis.plot(
                [q["load"] for q in points], [q["latency"] for q in points], ".-", label=label
            )
            if p["reference"] is not None:
                axis.axvline(p["reference"], color=line.get_color(), linestyle=":")
        axis.set(
            title=f"{side}x{side} {pattern}", xlabel="offered, flits/node/cycle",
            ylabel="mean latency, cycles", ylim=(0, 60), xlim=(0, 1),
        )  # fmt: skip
        axis.legend(fontsize=6)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
