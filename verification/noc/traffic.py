# SPDX-License-Identifier: Apache-2.0
"""Traffic on a network in Verilator: runs ``tops/noc_top.sv``, and says what to expect."""

import importlib
import json
import logging
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from phasecore.models.noc.cycle_model import LOCAL, STEP, Traffic, path
from phasecore.paths import PACKAGE
from phasecore.rtl.lib.verilog import MACRO_SOURCES
from phasecore.rtl.spec.noc import NocConfig
from phasecore.verification.support.build import build_program

__all__ = [
    "ORDERS",
    "PATTERNS",
    "bound",
    "build",
    "deliveries",
    "destinations",
    "ideal_latency",
    "latency",
    "point_of",
    "saturation",
    "traffic",
]

PATTERNS = ("uniform", "transpose", "tornado", "neighbour", "broadcast", "pairs", "forward")
"""Traffic patterns, in the numbering of the simulation top."""

ORDERS = ("xy", "yx", "alternate", "route")
"""Virtual network of a packet: always one, in turn, or chosen by source and destination."""

TOP = PACKAGE / "verification" / "cosim" / "tops" / "noc_top.sv"
VERILATOR = [
    "-O3", "-fno-inline", "--unroll-count", "1",
    "--x-assign", "fast", "--x-initial", "fast",
    "-Wno-lint", "-Wno-style",
]  # fmt: skip

log = logging.getLogger("phasecore")


def build(config: NocConfig) -> Path:
    """Executable of the NoC under traffic, built once per content."""
    if config.flit_bits != 64:
        raise ValueError(f"traffic is made of flits of 64 bits, not {config.flit_bits}")
    text, arguments = _design(config)
    macros = [path for path in MACRO_SOURCES if f"phasecore_{path.stem}" in text]
    return build_program(
        text, top="noc_top", sources=[TOP, *macros], arguments=[*VERILATOR, *arguments],
        news=f"building the {config.width} x {config.height} {config.topology},"
        f" {config.virtual_channels} virtual channels, {config.arbiter} (kept for the next run)",
    )  # fmt: skip


def _design(config: NocConfig) -> tuple[str, list[str]]:
    """Verilog of the NoC; arguments that fit the simulation top to it."""
    n = config.nodes
    if config.direct:
        text: str = importlib.import_module("phasecore.rtl.noc.direct").direct_verilog(config)
        module = "phasecore_direct"
        near = sum(
            1 << node * n + other
            for node, others in enumerate(config.neighbours) for other in (node, *others)
        )  # fmt: skip
    else:
        text = importlib.import_module("phasecore.rtl.noc.mesh").mesh_verilog(config)
        module, near = "phasecore_mesh", (1 << n * n) - 1
    forward = sum(1 << source * n + target for source, target in config.edges)
    return text, [
        f"-GWIDTH={config.width}", f"-GHEIGHT={config.height}",
        f"-GVCS={config.virtual_channels}", f"-GXY={config.xy_channels}",
        f"-GDEPTH={config.depth}", f"-GDIRECT={int(config.direct)}",
        f"-DNOC={module}", f"-DNEAR={n * n}'h{near:x}", f"-DFORWARD={n * n}'h{forward:x}",
    ]  # fmt: skip


def traffic(
    config: NocConfig, *, load: float = 0.0, pattern: str = "uniform", length: int = 1,
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
        [build(config), *arguments], capture_output=True, encoding="utf-8", check=False
    )
    line = next((x for x in done.stdout.splitlines() if x.startswith("RESULT ")), None)
    if line is None:
        raise RuntimeError(f"the simulation ended early: {done.stdout[-1000:]}{done.stderr[-500:]}")
    result: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    if result["bad"]:
        errors = [x for x in done.stdout.splitlines() if x.startswith("ERROR")]
        raise RuntimeError(f"{result['bad']} violations in the NoC: {'; '.join(errors)}")
    return result


def deliveries(
    config: NocConfig, drawn: Traffic, trace: Path, cycles: int
) -> list[tuple[int, ...]]:
    """Packets that arrive within ``cycles`` in RTL: (cycle, node, source, birth), sorted.

    ``trace`` is the file that the simulation top writes them to.
    """
    traffic(config, **asdict(drawn), warmup=0, measure=cycles, trace=trace)
    lines = trace.read_text(encoding="utf-8").splitlines()
    found = sorted(tuple(map(int, line.split())) for line in lines)
    return [packet for packet in found if packet[0] < cycles]


def destinations(config: NocConfig, pattern: str, node: int) -> list[int]:
    """Nodes to which ``node`` sends, all equally often."""
    x, y = node % config.width, node // config.width
    if pattern == "transpose":
        return [x * config.width + y]
    if pattern in ("tornado", "neighbour"):
        half = pattern == "tornado"
        to_x = (x + ((config.width + 1) // 2 - 1 if half else 1)) % config.width
        to_y = (y + ((config.height + 1) // 2 - 1 if half else 1)) % config.height
        return [to_y * config.width + to_x]
    if pattern == "forward":
        return [target for source, target in config.edges if source == node]
    return list(config.neighbours[node]) if config.direct else list(range(config.nodes))


def _way(config: NocConfig, node: int, to: int, order: int) -> list[tuple[int, int]]:
    """(node, port) of every router on the way."""
    if config.direct:
        return [(node, 1 + config.neighbours[node].index(to)), (to, LOCAL)]
    width, way = config.width, []
    for port in path((node % width, node // width), (to % width, to // width), order):
        way.append((node, port))
        if port != LOCAL:
            node += STEP[port][0] + STEP[port][1] * width
    return way


def _ways(
    config: NocConfig, pattern: str, order: str
) -> Iterator[tuple[float, list[tuple[int, int]]]]:
    """Ways of a pattern, each with its part of what one node sends."""
    orders = {"xy": (0,), "yx": (1,)}.get(order, (0, 1) if config.networks == 2 else (0,))
    for node in range(config.nodes):
        ends = destinations(config, pattern, node)
        for to in ends:
            for way in orders:
                yield 1 / len(ends) / len(orders), _way(config, node, to, way)


def bound(config: NocConfig, pattern: str, order: str) -> float:
    """Load, flits per node and cycle, at which the busiest wire is busy all the time; at most 1."""
    busy: defaultdict[tuple[int, int], float] = defaultdict(float)
    for part, way in _ways(config, pattern, order):
        for wire in way:
            busy[wire] += part
    return min(1.0, round(1 / max(busy.values()), 9))


def ideal_latency(config: NocConfig, pattern: str, length: int) -> float:
    """Mean zero-load latency in cycles, R + 1 + (L - 1) averaged over the pattern."""
    ways = list(_ways(config, pattern, "xy"))
    return sum(part * (len(way) + length) for part, way in ways) / sum(part for part, _ in ways)


def latency(result: dict[str, Any]) -> float:
    """Mean latency from creation to the last flit, in cycles; infinite if packets were left."""
    if result["overdue"] or not result["received"]:
        return float("inf")
    return float(result["latency_sum"] / result["received"])


def saturation(
    config: NocConfig, *, pattern: str, length: int, order: str = "xy", **options: Any
) -> tuple[float, list[dict[str, Any]]]:
    """Offered load, flits per node and cycle, at which latency is three times the zero-load one.

    Also all points measured on the way, by load.
    """
    points: dict[float, dict[str, Any]] = {}
    tripled = 3 * ideal_latency(config, pattern, length)

    def below(load: float) -> bool:
        result = traffic(config, load=load, pattern=pattern, length=length, order=order, **options)
        mean = latency(result)
        points[load] = point_of(load, mean, result, options.get("measure", 6000))
        return mean < tripled

    most = bound(config, pattern, order)
    load = 1.0 if most == 1 and below(1.0) else _bisect(below, most)
    for part in (0.3, 0.7, 0.9):
        below(round(part * load, 4))
    return load, [points[load] for load in sorted(points)]


def _bisect(below: Callable[[float], bool], most: float) -> float:
    """Load between those below and the others, to 1 % of ``most`` or finer."""
    low, high = 0.0, most
    while high - low > 0.008 * most:
        # The upper part first: there it usually is.
        middle = round(low + (high - low) * (0.5 if low else 0.6), 4)
        low, high = (middle, high) if below(middle) else (low, middle)
    return round((low + high) / 2, 3)


def point_of(load: float, mean: float, result: dict[str, Any], measure: int) -> dict[str, Any]:
    """A point of a load curve: what was offered, mean latency, and what the nodes accepted."""
    accepted = [count / measure for count in result["ejected"]]
    return {
        "load": load,
        "latency": round(mean, 2) if mean < float("inf") else None,
        "accepted": round(sum(accepted) / len(accepted), 4),
        "worst_node": round(min(accepted), 4),
    }
