# SPDX-License-Identifier: Apache-2.0
"""What ``phasecore simulate`` shows of a result: a table in words, and pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phasecore.scripts.report.pictures import COLORS, averaged, layered, number_axis, picture

__all__ = ["plot", "report"]


def report(result: dict[str, Any]) -> str:
    if "runs" in result:
        return _inferred(result)
    accuracy = f"{100 * result['accuracy_rtl']:.2f} % / {100 * result['accuracy_model']:.2f} %"
    cores = "a core" if result["cores"] == 1 else f"{result['cores']} cores"
    rows = [
        ("network", f"{result['network']} on {cores}, {result['profile']} devices"),
        ("data set, simulator", f"{result['dataset']}, {result['simulator']}"),
        ("images trained", _trained(result)),
        ("mismatches", f"{result['mismatches']} in {result['values_compared']} values"),
        ("", "and all chi words and devices after every batch"),
        ("loss, RTL / model", f"{result['loss_rtl']:.4f} / {result['loss_model']:.4f}"),
        ("test accuracy, RTL / model", f"{accuracy} of {result['test_images']} images"),
        ("  float twin", f"{100 * result['accuracy_float']:.2f} %"),
        *_cycle_rows(result),
        ("SET / RESET pulses", f"{result['set_pulses']} / {result['reset_pulses']}"),
        ("simulation speed", f"{result['images_per_second']} training images per CPU second"),
        *_shown(result),
        ("written", result["out"]),
    ]  # fmt: skip
    if "waves" in result:
        rows.append(("waveforms", result["waves"]))
    return "\n".join(f"{name:28s}{value}" for name, value in rows)


def _inferred(result: Mapping[str, Any]) -> str:
    """Of inference: a line for every run."""
    lines = [
        f"{result['network']}, {result['layers']} layers on {result['topology']}",
        f"{result['images']} images of {result['dataset']}, {result['simulator']}",
        f"{result['mismatches']} mismatches in {result['values_compared']} values",
    ]
    for one in result["runs"]:
        accuracy = ""
        if "accuracy_rtl" in one:
            accuracy = (
                f", accuracy {100 * one['accuracy_rtl']:.1f} % (float"
                f" {100 * one['accuracy_float']:.1f} %)"
            )
        lines.append(
            f"{one['profile']}, {one['order']}: {one['cycles_per_image']:.0f} cycles per image,"
            f" first core busy {100 * one['busy']:.1f} %{accuracy},"
            f" {one['signal_to_noise_db']:.1f} dB"
        )
    return "\n".join([*lines, f"written {result['out']}"])


def _trained(result: Mapping[str, Any]) -> str:
    """Images learnt, and what they are; results of before ``--epochs`` do not say it."""
    images, epochs = result["images"], result.get("epochs", 1)
    if result.get("resumed_after"):
        return f"{images}, after {result['resumed_after']} in the golden model"
    if epochs > 1:
        return f"{images}: {epochs} times the same {images // epochs}"
    available = result.get("images_available", images)
    return f"{images}" if images == available else f"{images} of {available}, each once"


def _shown(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """In words what the figures of a run from its beginning, without mismatches, say.

    Results of before ``--epochs`` do not know of what they are a part.
    """
    if "training" not in result or result["resumed_after"] or result["mismatches"]:
        return []
    below = 100 * (result["accuracy_float"] - result["accuracy_rtl"])
    gap = f"{abs(below):.2f} points {'below' if below > 0 else 'above'}" if below else "level with"
    rows = [
        ("this shows", "the RTL trained, with every bit of the golden model;"),
        ("", f"it classifies {gap} plain SGD in floating point"),
    ]
    if result["images"] < result["training"]["epochs"] * result["images_available"]:
        rows.append(("", "after a short run: more --images or --epochs train further"))
    return rows


def _cycle_rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Cycles per image: phases that add up with their bounds, or busy units."""
    cycles = dict(result["cycles_per_image"])
    total = cycles.pop("total")
    rows = [("cycles per image", f"{total:.0f}")]
    if not result["phases_add_up"]:
        busy = ", ".join(f"{name} {value:.0f}" for name, value in cycles.items())
        return [*rows, ("  of which busy (overlap)", busy)]
    for name, value in cycles.items():
        bound = result["bounds"].get(name)
        text = f"{value:7.1f}" if bound is None else f"{value:7.1f}  (bound {bound:.1f})"
        rows.append((f"  {name.replace('_', ' ')}", text))
    return rows


def plot(result: Mapping[str, Any], path: Path) -> None:
    """Learning curve of RTL and model (they lie on each other) and, of a chip, its cycles."""
    stacked = result["phases_add_up"]
    curve = result["curve"]
    with picture(
        path, 1, 3 if stacked else 2, size=(11 if stacked else 8.5, 3.4),
        width_ratios=[3, 3, 1.4] if stacked else None,
    ) as (figure, (panels,)):  # fmt: skip
        for axes, key, scale, label in (
            (panels[0], "loss", 1, "squared error per image"),
            (panels[1], "online_accuracy", 100, "accuracy on the next images, %"),
        ):
            for number, (machine, name) in enumerate([("rtl", "RTL"), ("model", "golden model")]):
                values = [scale * point[f"{key}_{machine}"] for point in curve]
                images, means = averaged([point["images"] for point in curve], values)
                axes.plot(images, means, label=name, **layered(number, 2, len(means)))
            axes.set_ylabel(label)
            number_axis(axes.xaxis, "training images")
            axes.legend()
        if stacked:
            _plot_phases(panels[2], result)
        figure.suptitle(
            f"{result['network']}, {result['profile']} devices: {result['mismatches']} mismatches,"
            f" test accuracy {100 * result['accuracy_rtl']:.1f} %"
            f" (float twin {100 * result['accuracy_float']:.1f} %)"
        )


def _plot_phases(axes: Any, result: Mapping[str, Any]) -> None:
    """Stacked bar of the cycles of an image, beside it the bounds."""
    phases = {n: c for n, c in result["cycles_per_image"].items() if n != "total"}
    tops = dict.fromkeys(("measured", "bound"), 0.0)
    for color, (name, cycles) in zip(COLORS, phases.items(), strict=False):
        for bar, value in (("measured", cycles), ("bound", result["bounds"].get(name, 0))):
            label = f"{name.replace('_', ' ')}, {cycles:.0f}" if bar == "measured" else None
            axes.bar(bar, value, bottom=tops[bar], color=color, label=label, width=0.7)
            tops[bar] += value
    for bar, top in tops.items():
        axes.text(bar, top, f"{top:.0f}", ha="center", va="bottom")
    axes.set_ylabel("cycles per image")
    axes.margins(y=0.1)
    axes.grid(visible=False, axis="x")
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1, 0.5))
