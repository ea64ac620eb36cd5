# SPDX-License-Identifier: Apache-2.0
"""``phasecore run``: a trained network infers in the golden model, as the hardware would.

Whole layers at once, with the bits of the programs: ``models/engine/layers.py``.
"""

import argparse
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.graph import Graph, decibels
from phasecore.models.compiler.mapping.inference import InferenceMapping
from phasecore.models.compiler.onnx_graph import load_graph
from phasecore.models.compiler.quantise import blank
from phasecore.models.compiler.schedule import schedule
from phasecore.models.compiler.tile import row_tiles
from phasecore.models.engine.layers import Layers
from phasecore.models.golden.device import IDEAL, PCM, DeviceProfile
from phasecore.models.training.datasets import NAMES
from phasecore.models.training.model import Model
from phasecore.models.training.programmed import Programmed, program
from phasecore.models.training.samples import (
    CALIBRATION,
    Preprocessing,
    Samples,
    read_samples,
)
from phasecore.progress import counted, working
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.scripts.commands.inference import simulated
from phasecore.scripts.commands.map import energy, energy_line
from phasecore.scripts.commands.options import (
    TIMELINE,
    add_devices,
    add_folder,
    add_model,
    add_profile,
    add_timeline,
    at_most,
    fitted,
    positive,
)
from phasecore.scripts.report import results
from phasecore.scripts.report.pictures import COLORS, layered, picture
from phasecore.verification.cosim.host_script import write_host_script
from phasecore.verification.cosim.inference import Inference

__all__ = [
    "COMPENSATIONS", "accuracy", "add_parser", "all_outputs", "in_rtl", "plot", "plot_times",
    "report", "run",
]  # fmt: skip

MEMORY = 1 << 26
"""Bytes of the windows of a layer that are there at once."""

HOST_SCRIPT = ".host.json"
"""Suffix of the file that ``--host-script`` writes."""

COMPARED = 32
"""Images by which layers are compared with floating point."""

TIMED = 3
"""Images that follow one another in the run without data."""

STYLES = {"tables": "o-", "gains": "s--", "none": "x:"}
"""Lines of what drift is compensated by, best first."""

COMPENSATIONS = tuple(STYLES)


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "run",
        help="infer with a trained ONNX network in the hardware's arithmetic",
        description=(
            "Map a trained network on cores, program its weights into their devices, and infer"
            " with the bits of the hardware, whole layers at once. Says the accuracy beside that in"
            " floating point, and the signal to noise of every layer. Writes NAME.json and NAME.png"
            " into --out (default: build/run). With --rtl N also in RTL, beside the golden model."
        ),
    )
    add_model(parser)
    parser.add_argument(
        "--dataset", required=True, metavar="NAME|PATH",
        help=f"{', '.join(NAMES)}; an .npz file with x_test and y_test (or x and y) and perhaps"
        " x_train and y_train; IDX files; or folders of pictures by class, perhaps in folders train"
        " and test",
    )  # fmt: skip
    add_folder(parser)
    parser.add_argument(
        "--preprocessing", type=Path, metavar="FILE.toml",
        help="what makes the network's input of the data, (pixel * scale - mean) / std: any of"
        " scale, mean and std (a number, or one by channel), layout (HWC or CHW) (default: the"
        " model's name with .toml, if there is such a file, else pixels as they are)",
    )  # fmt: skip
    parser.add_argument(
        "--images", type=positive, metavar="N", help="images that are inferred (default: all)"
    )
    parser.add_argument(
        "--calibration", type=positive, default=CALIBRATION, metavar="N",
        help="images that choose ranges, from the training part if there is one (default:"
        " %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--time", type=positive, nargs="+", metavar="SECONDS",
        help="infer so many seconds after programming, each time with drift compensated for by"
        " tables (scales, biases and gains for what the devices have become), by gains alone (what"
        " the array has lost since the first of the times), and not at all (default: at once)",
    )  # fmt: skip
    parser.add_argument(
        "--pulses", action="store_true",
        help="program every device by the pulses of PROGRAM, as the RTL does (default: devices get"
        " what iterative programming leaves, the profile's error with it)",
    )  # fmt: skip
    parser.add_argument(
        "--rtl", type=positive, metavar="N",
        help="infer the first N images in RTL, too, with every code and byte compared, and their"
        " outputs with those of whole layers (builds the chip first: minutes)",
    )  # fmt: skip
    parser.add_argument("--sim", choices=["verilator", "icarus"], default="verilator")
    add_timeline(parser)
    parser.add_argument(
        "--host-script", type=positive, metavar="N",
        help=f"also write NAME{HOST_SCRIPT}: every register write and packet that programs the"
        " chip's devices and has it infer the first N images, and what comes back (of the first"
        " profile, with --pulses)",
    )  # fmt: skip
    add_profile(parser, several=True)
    add_devices(parser)
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    name = args.name or args.model.stem
    folder: Path = args.out or Path("build") / "run"
    if args.timeline and not args.rtl:
        raise ValueError("--timeline is of the RTL: --rtl N is needed")
    if args.host_script and not args.pulses:
        raise ValueError("--host-script programs by pulses: --pulses is needed")
    others = [".png", *[TIMELINE] * args.timeline, *[HOST_SCRIPT] * bool(args.host_script)]
    path = results.destination(args, folder, name, *others)
    graph = load_graph(
        args.model, name=args.model.stem, dataset=str(args.dataset), largest=1, layers=args.layers,
        drop=args.allow_drop,
    )  # fmt: skip
    samples = read_samples(
        args.dataset, graph.shape, _preprocessing(args), calibration=args.calibration,
        images=args.images, folder=args.data,
    )  # fmt: skip
    for option, count in (("--rtl", args.rtl), ("--host-script", args.host_script)):
        at_most(option, count, len(samples.images), "images that are inferred")
    graph = replace(graph, code=samples.code)
    graph, chip = fitted(args, graph)
    started = time.process_time()
    exact = all_outputs(graph, samples.images / samples.code, graph.outputs, "floating point")
    float_seconds = time.process_time() - started
    runs: list[dict[str, Any]] = []
    for profile in args.profile or (IDEAL, PCM):
        runs += _runs(graph, chip, profile, samples, args, None if runs else path)
    tiles = [len(row_tiles(graph, layer, chip.core)) for layer in graph.layers]
    crossbars = sum(
        count for layer, count in zip(graph.layers, tiles, strict=True) if not layer.only_pools
    )
    cells = sum(layer.weights.size for layer in graph.layers)
    with working(f"running the programs of {graph.name} without data"):
        mapping = InferenceMapping(graph, blank(graph, chip.core), chip, IDEAL)
        timing = schedule(mapping, TIMED)
    rtl = [one["rtl"] for one in runs if "rtl" in one]
    result = results.record(
        command=args.command, config=chip, seed=args.seed, network=graph.name,
        dataset=samples.name, images=len(samples.images), calibration=len(samples.calibration),
        crossbars=crossbars,
        utilisation=round(cells / (crossbars * chip.core.rows * chip.core.cols), 4),
        weights=int(sum(np.count_nonzero(layer.weights) for layer in graph.layers)),
        layers=[
            {"name": layer.name, "tiles": count, "rows": layer.reads.matrix_rows,
             "columns": layer.columns, "windows": layer.windows}
            for layer, count in zip(graph.layers, tiles, strict=True)
        ],
        accuracy_float=accuracy(exact, samples.labels),
        accuracy_model=runs[-1]["accuracy"],
        images_per_second=runs[-1]["images_per_second"],
        images_per_second_float=round(len(samples.images) / max(float_seconds, 1e-9), 1),
        cycles_modelled=round(timing.cycles_per_image, 1), energy_nj=energy(mapping, timing),
        busy_by_core={
            stage.name: round(timing.busy(stage.node), 4)
            for stage in mapping.stages if stage.node in timing.products
        },
        **({"mismatches": sum(one["mismatches"] for one in rtl)} if rtl else {}), runs=runs,
    )  # fmt: skip
    results.write(path, result, args)
    plot(result, path.with_suffix(".png"))
    return {**result, "ok": not any(one["mismatches"] for one in rtl), "out": str(path)}


def _preprocessing(args: argparse.Namespace) -> Preprocessing:
    beside = args.model.with_suffix(".toml")
    if args.preprocessing:
        return Preprocessing.load(args.preprocessing)
    return Preprocessing.load(beside) if beside.exists() else Preprocessing()


def _runs(
    graph: Graph, chip: ChipConfig, profile: DeviceProfile, samples: Samples,
    args: argparse.Namespace, path: Path | None,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Program devices of a profile and infer, at every time; other files go beside ``path``."""
    started = time.process_time()
    with working(f"programming {graph.name}, {profile.name}"):
        programmed = program(
            graph, chip, profile, samples.codes(samples.calibration), args.seed,
            iterative=not args.pulses,
        )  # fmt: skip
        model, mapping = programmed.model(), programmed.mapping
    common = {
        "profile": profile.name, "unverified": programmed.unverified,
        "programming_seconds": round(time.process_time() - started, 1),
    }  # fmt: skip
    if args.host_script and path:
        count = args.host_script
        images, labels = samples.codes(samples.images[:count]), samples.labels[:count]
        inference = Inference(programmed, images, labels, seed=args.seed, at_once=1, in_rtl=True)
        write_host_script(path.with_suffix(HOST_SCRIPT), inference)
    if args.rtl:
        timeline = path.with_suffix(TIMELINE) if args.timeline and path else None
        common["rtl"] = in_rtl(
            programmed, samples, args.rtl, seed=args.seed, sim=args.sim, what=f", {profile.name}",
            timeline=timeline,
        )  # fmt: skip
    if not args.time:
        yield common | _run(graph, Layers(mapping, model.cores), samples, profile.name)
        return
    baselines: dict[int, int] = {}
    for seconds in sorted(set(args.time)):
        for core in model.cores.values():
            core.crossbar.set_time(seconds)
        if not baselines:
            model.run(mapping.calibration("baseline"))
            baselines = {node: core.adc.drift_baseline for node, core in model.cores.items()}
        for means in COMPENSATIONS:
            layers = Layers(_compensated(programmed, model, means, baselines), model.cores)
            what = f"{profile.name} after {seconds} s{_compensation(means)}"
            one = {"time_s": seconds, "compensated": means}
            yield common | one | _run(graph, layers, samples, what)


def _compensated(
    programmed: Programmed, model: Model, means: str, baselines: dict[int, int]
) -> InferenceMapping:
    """Compensate a model's drift by tables or gains, or no more; the mapping that then holds."""
    if means == "tables":
        return programmed.recalibrated(model)
    for node, baseline in baselines.items():
        model.cores[node].adc.drift_baseline = baseline
    model.run(programmed.mapping.calibration("compensate" if means == "gains" else None))
    return programmed.mapping


def _compensation(means: str) -> str:
    return ", not compensated" if means == "none" else f", compensated by {means}"


def in_rtl(
    programmed: Programmed, samples: Samples, count: int, *, seed: int, sim: str, what: str,
    timeline: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Figures of the first images in RTL; whole layers with other outputs are mismatches, too."""
    images, labels = samples.codes(samples.images[:count]), samples.labels[:count]
    inference = Inference(programmed, images, labels, seed=seed, at_once=count)
    figures = simulated(inference, sim, what, timeline)
    exact = Layers(programmed.mapping, programmed.model().cores).outputs(inference.images)
    different = np.flatnonzero((exact != inference.codes).any(axis=1))
    figures["mismatches"] += len(different)
    figures["first_mismatches"] += [f"image {at}: outputs of whole layers" for at in different[:3]]
    return figures


def _run(graph: Graph, layers: Layers, samples: Samples, what: str) -> dict[str, Any]:
    """Infer all images; accuracy, signal to noise by layer and what was clipped."""
    started, before = time.process_time(), layers.counts()
    found = all_outputs(graph, samples.codes(samples.images), layers.outputs, what)
    seconds = max(time.process_time() - started, 1e-3)
    counts = {name: count - before[name] for name, count in layers.counts().items()}
    return {
        "accuracy": accuracy(found, samples.labels),
        **counts,
        "signal_to_noise_db": _signal_to_noise(graph, layers, samples),
        "images_per_second": round(len(found) / seconds, 1),
    }


def all_outputs(
    graph: Graph, images: NDArray[Any], outputs: Callable[[NDArray[Any]], NDArray[Any]], what: str
) -> NDArray[Any]:
    """Outputs of all images, some at a time."""
    largest = max(
        math.prod(layer.reads.positions) * layer.reads.matrix_rows for layer in graph.layers
    )
    at_once = max(1, min(256, MEMORY // (8 * largest)))
    found = []
    with counted(f"inference, {what}", len(images), "images") as line:
        for start in range(0, len(images), at_once):
            found.append(outputs(images[start : start + at_once]))
            line.to(start + len(found[-1]))
    return np.concatenate(found)


def accuracy(outputs: NDArray[Any], labels: NDArray[np.uint8]) -> float:
    """Fraction of the images whose largest output is that of their class."""
    return float(np.mean(outputs.argmax(axis=1) == labels))


def _signal_to_noise(graph: Graph, layers: Layers, samples: Samples) -> list[float | None]:
    """Of every layer's outputs, dB; of images that have been inferred, with other noise."""
    images = samples.images[:COMPARED]
    found = []
    for (one, codes), (_, _, _, exact) in zip(
        layers.run(samples.codes(images)), graph.run(images / samples.code), strict=True
    ):
        values = (codes.reshape(-1, one.layer.outputs) * one.code).reshape(exact.shape)
        level = decibels(values, exact) if exact.any() else math.inf
        found.append(round(level, 1) if math.isfinite(level) else None)
    return found


def report(result: Mapping[str, Any]) -> str:
    return "\n".join(_lines(result))


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    yield f"{result['network']}, {result['images']} images of {result['dataset']}"
    yield (
        f"crossbars                  {result['crossbars']} of {result['config']['core']['rows']} x"
        f" {result['config']['core']['cols']}, {100 * result['utilisation']:.0f} % in use"
    )
    yield (
        f"cycles per image, modelled {result['cycles_modelled']:,.0f} without a gap; crossbars are"
        f" busy {100 * np.mean(list(result['busy_by_core'].values())):.0f} % of them"
    )
    yield energy_line(result["energy_nj"])
    yield f"accuracy, floating point   {100 * result['accuracy_float']:.2f} %"
    for one in result["runs"]:
        after = ""
        if "time_s" in one:
            after = f" after {one['time_s']} s{_compensation(one['compensated'])}"
        yield (
            f"accuracy, {one['profile']:<16} {100 * one['accuracy']:.2f} %{after},"
            f" {one['images_per_second']:.3g} images per second"
        )
    for one in result["runs"]:
        if "rtl" in one:
            rtl = one["rtl"]
            yield (
                f"in RTL, {one['profile']:<18} {rtl['mismatches']} mismatches in"
                f" {rtl['values_compared']:,} values of {rtl['images']} images,"
                f" {rtl['cycles_per_image']:,.0f} cycles each (modelled"
                f" {rtl['cycles_modelled']:,.0f})"
            )
    first = _first_runs(result)
    yield f"{'layer':<18} {'rows':>6} {'cols':>5} {'tiles':>5}" + "".join(
        f" {one['profile']:>14}" for one in first
    )
    for number, layer in enumerate(result["layers"]):
        levels = [one["signal_to_noise_db"][number] for one in first]
        texts = [f" {'exact' if level is None else f'{level:.1f} dB':>14}" for level in levels]
        yield (
            f"{layer['name']:<18} {layer['rows']:>6} {layer['columns']:>5} {layer['tiles']:>5}"
            + "".join(texts)
        )
    yield f"written {result['out']}"


def _first_runs(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The first run of every profile."""
    found: dict[str, dict[str, Any]] = {}
    for one in result["runs"]:
        found.setdefault(one["profile"], one)
    return list(found.values())


def plot(result: Mapping[str, Any], path: Path) -> None:
    """Signal to noise of the layers by profile, and accuracy over time if there are times."""
    names, runs = [layer["name"] for layer in result["layers"]], _first_runs(result)
    width = max(5, 0.28 * len(names))
    timed = "time_s" in runs[0]
    with picture(
        path, 1, 2 if timed else 1, size=(width + (4 if timed else 0), 3.4),
        width_ratios=[width, 4] if timed else None,
    ) as (figure, (panels,)):  # fmt: skip
        axes = panels[0]
        if timed:
            plot_times(panels[1], result["runs"], [one["profile"] for one in runs])
            panels[1].set_ylabel("accuracy, %")
            panels[1].legend()
        for number, one in enumerate(runs):
            levels = [np.nan if level is None else level for level in one["signal_to_noise_db"]]
            label = f"{one['profile']}, {100 * one['accuracy']:.2f} %"
            axes.plot(names, levels, label=label, **layered(number, len(runs), len(names)))
        axes.tick_params(axis="x", rotation=90)
        axes.set_ylabel("signal to noise, dB")
        axes.set_ylim(bottom=0)
        axes.legend()
        figure.suptitle(
            f"{result['network']}: {result['crossbars']} crossbars, {result['images']} images,"
            f" float {100 * result['accuracy_float']:.2f} %"
        )


def plot_times(axes: Any, runs: Sequence[Mapping[str, Any]], profiles: Sequence[str]) -> None:
    """Accuracy by time after programming, a colour by profile; broken lines without the best
    compensation."""
    for profile, means in itertools.product(profiles, COMPENSATIONS):
        points = sorted(
            (one["time_s"], 100 * one["accuracy"]) for one in runs
            if (one["profile"], one["compensated"]) == (profile, means)
        )  # fmt: skip
        if points:
            axes.plot(
                *zip(*points, strict=True), STYLES[means], label=profile + _compensation(means),
                color=COLORS[profiles.index(profile)],
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel("seconds after programming")
