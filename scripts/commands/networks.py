# SPDX-License-Identifier: Apache-2.0
"""``phasecore networks``: results of ``map`` and ``run`` side by side, a row per network."""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from phasecore.scripts.commands import command_of
from phasecore.scripts.commands.run import COMPENSATIONS, plot_times
from phasecore.scripts.report import results
from phasecore.scripts.report.pictures import picture

__all__ = ["add_parser", "plot", "report", "run", "table"]

OPTIONS = ("out", "overwrite")

MAPPED = (
    "crossbars", "cores", "planned_chips", "weights", "utilisation", "window_slots_per_image",
    "cycles_per_image", "cycles_of_one_image", "images_per_second_at_1_ghz",
    "descriptor_bytes_per_core", "single_hop", "link_bytes_most", "ring_bytes_most",
    "mapping_seconds", "mapping_megabytes",
)  # fmt: skip
"""What a row takes from a result of ``map``."""

FABRICS = ("prism", "mesh", "torus", "hypercube")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "networks",
        help="put results of map and run side by side, a row per network",
        description=(
            "Read results of `phasecore map` and `phasecore run`, and write one row per network:"
            " crossbars, cycles, accuracies by devices and time, mismatches in RTL. Writes"
            " networks.json, and networks.png if there are times, into --out (default:"
            " build/results)."
        ),
    )
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULT.json")
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    path = results.destination(args, args.out or Path("build") / "results", "networks", ".png")
    rows: dict[str, dict[str, Any]] = {}
    accuracies: list[dict[str, Any]] = []
    for source in args.results:
        found = results.read(source)
        command = command_of(str(found.get("command", "")))
        if command not in ("map", "run"):
            raise ValueError(f"{source} is no result of phasecore map or run")
        try:
            row = rows.setdefault(found["network"], {"name": found["network"], "commands": ""})
            if command == "map":
                _add_map(row, found)
            else:
                accuracies += _add_run(row, found)
        except (KeyError, IndexError) as error:
            raise ValueError(f"{source} is not a whole result: no {error}") from error
        row["commands"] += f"{'; ' if row['commands'] else ''}{found['command']}"
    result = results.record(
        command=args.command, config=None, seed=None,
        rows=sorted(rows.values(), key=lambda row: row["name"]),
        accuracies=sorted(accuracies, key=lambda one: one["name"]),
    )  # fmt: skip
    results.write(path, result, args)
    if any(one["time_s"] for one in accuracies):
        plot(result, path.with_suffix(".png"))
    return {**result, "out": str(path)}


def _add_map(row: dict[str, Any], found: Mapping[str, Any]) -> None:
    if found["topology"] == "mesh":
        row |= {name: found[name] for name in MAPPED}
        if "fabrics" in found:
            row["fabrics"] = found["fabrics"]
    else:
        row[f"single_hop_{found['topology']}"] = found["single_hop"]


def _add_run(row: dict[str, Any], found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Accuracies; to the row that in floating point and with ideal devices, of the most images, and
    what RTL has shown."""
    is_largest = found["images"] >= row.get("images", 0)
    if is_largest:
        row |= {"images": found["images"], "accuracy_float": found["accuracy_float"]}
    added = []
    for one in found["runs"]:
        added.append({
            "name": row["name"], "profile": one["profile"],
            "devices_per_polarity": found["config"]["core"]["devices_per_polarity"],
            "crossbars": found["crossbars"], "time_s": one.get("time_s"),
            "compensated": one.get("compensated"), "images": found["images"],
            "accuracy": one["accuracy"], "accuracy_float": found["accuracy_float"],
        })  # fmt: skip
        if one["profile"] == "ideal" and is_largest:
            row["accuracy_chip"] = one["accuracy"]
        if "rtl" in one and one["rtl"]["images"] >= row.get("rtl_images", 0):
            rtl = one["rtl"]
            row |= {
                "rtl_images": rtl["images"],
                "mismatches": row.get("mismatches", 0) + rtl["mismatches"],
                "values_compared": row.get("values_compared", 0) + rtl["values_compared"],
                "cycles_per_image_rtl": rtl["cycles_per_image"],
                "cycles_per_image_modelled": rtl["cycles_modelled"],
            }
    return added


def report(result: Mapping[str, Any]) -> str:
    return "\n".join([*table(result), f"written {result['out']}"])


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """Markdown: networks, then accuracies with devices."""
    yield "| network | crossbars | cycles an image | RTL: images, mismatches | float | ideal |"
    yield "|---|--:|--:|---|--:|--:|"
    for row in result["rows"]:
        rtl = "-"
        if "rtl_images" in row:
            rtl = f"{row['rtl_images']}, {row['mismatches']} in {row['values_compared']:,} values"
        cycles = _number(row.get("cycles_per_image"))
        accuracies = [_percent(row.get(f"accuracy_{name}")) for name in ("float", "chip")]
        yield (
            f"| {row['name']} | {row.get('crossbars', '-')} | {cycles} | {rtl} |"
            f" {' | '.join(accuracies)} |"
        )
    yield from _fabrics(result["rows"])
    yield ""
    yield "| network | devices | crossbars | after | images | float | tables | gains | none |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|--:|"
    for one in result["accuracies"]:
        if one["profile"] == "ideal" or one["compensated"] not in (None, COMPENSATIONS[0]):
            continue
        found = {like["compensated"]: like["accuracy"] for like in _alike(result, one)}
        # At once there is nothing to make up for but what programming has left, by tables.
        found.setdefault(COMPENSATIONS[0], found.get(None))
        yield (
            f"| {one['name']} | {one['profile']}, {one['devices_per_polarity']} per polarity |"
            f" {one['crossbars']} | {_time(one['time_s'])} | {one['images']:,} |"
            f" {_percent(one['accuracy_float'])} |"
            f" {' | '.join(_percent(found.get(means)) for means in COMPENSATIONS)} |"
        )


def _fabrics(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Layers as nodes: the prism on which every way is one link, links of other networks."""
    rows = [row for row in rows if "fabrics" in row]
    if not rows:
        return
    yield ""
    yield "| network | layers, ways | cores a column | busiest link: prism | mesh | torus | cube |"
    yield "|---|---|---|--:|--:|--:|--:|"
    for row in rows:
        found = row["fabrics"]
        prism = found["prism"]
        proven = "fewer proven impossible" if prism["fewer_proven_impossible"] else "fewer open"
        bytes_ = " | ".join(f"{found[name]['link_bytes_most']:,}" for name in FABRICS)
        yield (
            f"| {row['name']} | {found['layers']}, {found['ways']} |"
            f" {prism['cores_per_column']} ({proven}) | {bytes_} |"
        )


def _alike(result: Mapping[str, Any], like: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Accuracies of the same at the same time, whatever drift is compensated by."""
    same = ("name", "profile", "crossbars", "time_s", "images", "devices_per_polarity")
    return [
        one for one in result["accuracies"] if all(one[name] == like[name] for name in same)
    ]  # fmt: skip


def plot(result: Mapping[str, Any], path: Path) -> None:
    """Accuracy over the time after programming, a panel per network.

    Raises ``ValueError`` if there are no times.
    """
    timed = [one for one in result["accuracies"] if one["time_s"]]
    if not timed:
        raise ValueError("no network has run some time after programming: nothing to draw")
    names = list(dict.fromkeys(one["name"] for one in timed))
    profiles = list(dict.fromkeys(one["profile"] for one in timed))
    size = (3.4 * len(names) + 1.6, 3.6)
    with picture(path, 1, len(names), size=size) as (figure, (panels,)):
        for axes, name in zip(panels, names, strict=True):
            own = [one for one in timed if one["name"] == name]
            plot_times(axes, own, profiles)
            exact = 100 * own[0]["accuracy_float"]
            axes.axhline(exact, color="gray", linewidth=0.8, label="floating point")
            axes.set_title(name)
        panels[0].set_ylabel("accuracy, %")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _time(seconds: int | None) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600)):
        if seconds and seconds % length == 0:
            return f"{seconds // length} {unit}"
    return "programming" if seconds is None else f"{seconds} s"
