# SPDX-License-Identifier: Apache-2.0
"""``phasecore ablate``: train with one thing changed at a time; one table, one figure.

The cases are those of ``models/studies/ablation.py``. All accuracies are of the validation images;
the test images are not touched. Runs are stored as they come, so that ``--resume`` can go on.
"""

import argparse
import json
import logging
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from phasecore import files
from phasecore.models.compiler.network import classes
from phasecore.models.compiler.networks import NETWORKS
from phasecore.models.studies.ablation import GROUPS, Case, Group, Setup, chosen_cases
from phasecore.models.training.datasets import Dataset
from phasecore.models.training.learner import run_size
from phasecore.progress import counted
from phasecore.scripts import interrupts
from phasecore.scripts.commands.options import add_data, add_profile, add_size, load_data, positive
from phasecore.scripts.report import results
from phasecore.scripts.report.pictures import error_axis, layered, picture

__all__ = ["add_parser", "markdown", "plot", "report", "run"]

OPTIONS = ("seed", "out", "overwrite")

BASE = Case(group="base", value="recipe")

EPOCHS = 2
"""Times each image is seen unless said otherwise."""

ALL_CASES = tuple(case for group in GROUPS for case in group.cases)

SETTINGS = (
    "arithmetic", "network", "dataset", "data_sha256", "profile", "config", "training", "epochs",
    "images", "seed",
)  # fmt: skip
"""What stored runs must share with new ones."""

COLUMNS = 4
"""Panels of the figure side by side."""

LABELS = 26
"""Letters of all labels under a panel that stand beside one another."""

log = logging.getLogger("phasecore")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "ablate",
        help="train with one thing changed at a time",
        description=(
            "Train a network in the golden model as its recipe says and with one thing changed at a"
            " time; compare accuracies on the validation images. --out names the folder of the JSON"
            " result, the figure and the table (default: build/ablate)."
        ),
        epilog=f"groups of cases: {', '.join(group.name for group in GROUPS)}",
    )
    parser.add_argument("--network", choices=NETWORKS, default="mlp-784-250-10")
    add_profile(parser)
    parser.add_argument(
        "--cases", nargs="+", default=[], metavar="NAME",
        help="groups, or cases such as chi-width=8 (default: all, without rounding)",
    )  # fmt: skip
    add_size(parser, epochs=str(EPOCHS))
    parser.add_argument(
        "--seeds", type=positive, default=2, metavar="N",
        help="runs per case, of seeds --seed and up (default: 2)",
    )  # fmt: skip
    parser.add_argument(
        "--base-seeds", type=positive, default=3, metavar="N",
        help="runs of the recipe as it is (default: 3)",
    )  # fmt: skip
    add_data(parser)
    parser.add_argument(
        "--name", default="ablation", help="stem of the files written (default: ablation)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="keep the runs that the JSON result has already"
    )
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    network = NETWORKS[args.network]
    base = Setup(network=network, config=network.config, profile=args.profile)
    cases = {case: case.setup(base) for case in (BASE, *chosen_cases(args.cases))}
    for case, setup in cases.items():
        try:
            setup.check()
        except ValueError as error:
            raise ValueError(f"{case.name} is not possible here: {error}") from error
    folder: Path = args.out or Path("build") / "ablate"
    growing = ("cases", "seeds", "base_seeds") if args.resume else ()
    path = results.destination(args, folder, args.name, ".md", ".png", growing=growing)
    data = load_data(args, network)
    for case, setup in cases.items():
        results.warn(setup.mapping().recipe, f"{case.name}: ")
    result = _heading(args, base, data)
    kept = _stored(path, result) if args.resume else {}
    shown = {case: case.setup(base) for case in (BASE, *ALL_CASES) if case.name in kept}
    shown = {**shown, **cases}
    runs = _runs(shown, kept, base)
    named: dict[Setup, Case] = {}
    for case, setup in cases.items():
        named.setdefault(setup, case)
    todo = [
        (case, setup, seed)
        for setup, case in named.items()
        for seed in range(args.seed, args.seed + _seeds(args, setup == base))
        if not any(run["seed"] == seed for run in runs[setup])
    ]
    with counted("ablation", len(todo), "runs") as line:
        for number, (case, setup, seed) in enumerate(todo, 1):
            with interrupts.explained(f"the same command with --resume keeps the runs in {path}"):
                done = _train(setup, data, seed, result)
            runs[setup].append(done)
            log.info(
                f"{number}/{len(todo)} {case.name}, seed {seed}: {100 * done['accuracy']:.2f} %,"
                f" {done['seconds']:.0f} s"
            )
            result["cases"] = _summaries(shown, runs, base)
            results.write(path, result, args)
            line.step()
    result["cases"] = _summaries(shown, runs, base)
    results.write(path, result, args)
    files.write(path.with_suffix(".md"), markdown(result, path.with_suffix(".png").name))
    plot(result, path.with_suffix(".png"))
    return {**result, "out": str(path)}


def _seeds(args: argparse.Namespace, is_base: bool) -> int:
    return int(args.base_seeds if is_base else args.seeds)


def _heading(args: argparse.Namespace, base: Setup, data: Dataset) -> dict[str, Any]:
    """The result before the first run."""
    network, available = base.network, len(data.train_x)
    epochs, images = run_size(
        available, EPOCHS, images=args.images, images_per_epoch=args.images_per_epoch,
        epochs=args.epochs,
    )  # fmt: skip
    return results.record(
        command=args.command,
        config=base.config,
        seed=args.seed,
        network=network.name,
        dataset=data.name,
        data_sha256=data.checksum(),
        profile=args.profile.name,
        weights=network.weights,
        training=asdict(network.training),
        epochs=epochs,
        validation_images=len(data.validation_x),
        cases=[],
    ) | {"images": images}


def _train(setup: Setup, data: Dataset, seed: int, result: Mapping[str, Any]) -> dict[str, Any]:
    """One run."""
    began = time.process_time()
    size = {"epochs": result["epochs"], "images": result["images"]}
    train = _train_hardware if setup.rounding is None else _train_reference
    figures = train(setup, data, seed, size)
    learnt = result["weights"] * size["epochs"] * size["images"]
    return {
        "seed": seed,
        **figures,
        "pulses_per_weight_per_image": figures["set_pulses"] / learnt,
        "seconds": round(time.process_time() - began, 2),
        "commit": result["commit"],
    }


def _train_hardware(
    setup: Setup, data: Dataset, seed: int, size: Mapping[str, int]
) -> dict[str, Any]:
    learner = setup.learner(seed)
    setup.train(learner, data, seed, **size)
    setup.age(learner)
    found = classes(learner.infer(data.validation_x))
    programmers = [core.programmer for core in learner.cores]
    return {
        "accuracy": float(np.mean(found == data.validation_y)),
        "set_pulses": sum(programmer.set_pulses for programmer in programmers),
        "reset_pulses": sum(programmer.reset_pulses for programmer in programmers),
        "chi_saturations": sum(core.update.chi_saturations for core in learner.cores),
        "transfer_saturations": sum(core.update.transfer_saturations for core in learner.cores),
    }


def _train_reference(
    setup: Setup, data: Dataset, seed: int, size: Mapping[str, int]
) -> dict[str, Any]:
    mixed = setup.reference(seed)
    setup.train_reference(mixed, data, seed, **size)
    accuracy = mixed.accuracy(data.validation_x, data.validation_y)
    return {"accuracy": accuracy, "set_pulses": mixed.pulses, "reset_pulses": 2 * mixed.refreshed}


def _stored(path: Path, result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Cases of a result file by name; none if there is no file."""
    if not path.exists():
        return {}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        cases = {case["name"]: case for case in stored["cases"]}
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a result of phasecore ablate: {error}") from error
    fresh = json.loads(json.dumps(result))
    for name in SETTINGS:
        if stored.get(name) != fresh[name]:
            raise ValueError(f"{path} is of runs with {name} {stored.get(name)}, not {fresh[name]}")
    return cases


def _runs(
    cases: Mapping[Case, Setup], kept: Mapping[str, Mapping[str, Any]], base: Setup
) -> dict[Setup, list[dict[str, Any]]]:
    """Runs that there are by setup; equal setups have theirs in common."""
    runs: dict[Setup, list[dict[str, Any]]] = {base: []}
    for case, setup in cases.items():
        found = runs.setdefault(setup, [])
        stored = kept.get(case.name)
        if stored and stored["changes"] == case.changes and not found:
            found += stored["runs"]
    return runs


def _summaries(
    cases: Mapping[Case, Setup], runs: Mapping[Setup, Sequence[Mapping[str, Any]]], base: Setup
) -> list[dict[str, Any]]:
    """Cases with at least one run, with their mean figures and differences to the base."""
    by_seed = {run["seed"]: run["accuracy"] for run in runs[base]}
    named = {case.name: case for case in cases}
    found = []
    for case in (named[one.name] for one in (BASE, *ALL_CASES) if one.name in named):
        setup = cases[case]
        done = sorted(runs[setup], key=lambda run: int(run["seed"]))
        if not done:
            continue
        accuracies = [run["accuracy"] for run in done]
        paired = [run["accuracy"] - by_seed[run["seed"]] for run in done if run["seed"] in by_seed]
        found.append(
            {
                "name": case.name,
                "group": case.group,
                "series": case.series,
                "value": case.value,
                "changes": case.changes,
                "is_base": setup == base,
                "warnings": setup.mapping().recipe.warnings(),
                "accuracy": statistics.mean(accuracies),
                "deviation": statistics.stdev(accuracies) if len(done) > 1 else None,
                "difference": statistics.mean(paired) if paired else None,
                "pulses_per_weight_per_image": statistics.mean(
                    run["pulses_per_weight_per_image"] for run in done
                ),
                "runs": done,
            }
        )
    return found


def report(result: dict[str, Any]) -> str:
    lines = [
        f"network                    {result['network']}, {result['profile']} devices",
        f"data set                   {result['dataset']}",
        f"images learnt              {result['epochs']} x {result['images']}",
        "",
        f"{'case':<26} {'accuracy, %':>16} {'difference':>11} {'pulses':>9}",
    ]
    for case in result["cases"]:
        accuracy, difference, pulses = _figures(case)
        lines.append(f"{case['name']:<26} {accuracy:>16} {difference:>11} {pulses:>9}")
    return "\n".join([*lines, "", f"written                    {result['out']}"])


def markdown(result: Mapping[str, Any], figure: str) -> str:
    """The table as a document, with the name of the figure beside it."""
    training = result["training"]
    heading = (
        f"Written by `{result['command']}` on commit {result['commit'][:10]}: {result['network']}"
        f" on {result['dataset']}, golden model, `{result['profile']}` devices,"
        f" {result['config']['devices_per_polarity']} per polarity; {result['epochs']} epochs of"
        f" {result['images']:,} images, rate {training['eta']:g} to {training['eta_end']:g}. Far"
        " fewer epochs than the recorded training: differences count here, not levels. Accuracy on"
        f" {result['validation_images']:,} validation images (the test images are not touched):"
        " mean and standard deviation over the runs, difference to the recipe as it is over the"
        " same seeds, in percentage points. Pulses are SET pulses per weight and image."
    )
    lines = [
        "# Ablations",
        "",
        heading,
        "",
        f"![Error by case]({figure})",
        "",
        "| case | runs | accuracy, % | difference | pulses |",
        "|---|--:|--:|--:|--:|",
        *_rows(result, "base"),
    ]
    for group in GROUPS:
        rows = _rows(result, group.name)
        if rows:
            lines += [f"| **{group.title}** | | | | |", *rows]
    lines += ["", "How each is done:", ""]
    shown = {case["group"] for case in result["cases"]}
    lines += [f"- **{g.title}** (`{g.name}`). {g.how}" for g in GROUPS if g.name in shown]
    return "\n".join([*lines, ""])


def _rows(result: Mapping[str, Any], group: str) -> list[str]:
    rows = []
    for case in result["cases"]:
        if case["group"] == group:
            name = f"{case['series']} {case['value']}".strip()
            if group == "base":
                name = "**the recipe**"
            elif case["is_base"]:
                name += " (the recipe)"
            rows.append(f"| {name} | {len(case['runs'])} | {' | '.join(_figures(case))} |")
    return rows


def _figures(case: Mapping[str, Any]) -> tuple[str, str, str]:
    """Accuracy, difference and pulses of a case."""
    accuracy = f"{100 * case['accuracy']:.2f}"
    if case["deviation"] is not None:
        accuracy += f" ± {100 * case['deviation']:.2f}"
    difference = "" if case["is_base"] or case["difference"] is None else case["difference"]
    if difference != "":
        difference = f"{100 * difference:+.2f}"
    return accuracy, difference, f"{case['pulses_per_weight_per_image']:.1e}"


def plot(result: Mapping[str, Any], path: Path) -> None:
    """One panel per group: error by case, every run a dot, the base a line."""
    cases = result["cases"]
    shown = [group for group in GROUPS if any(case["group"] == group.name for case in cases)]
    base = next(case for case in cases if case["group"] == "base")
    rows = max(1, -(-len(shown) // COLUMNS))
    columns = max(1, min(COLUMNS, len(shown)))
    with picture(path, rows, columns, size=(max(3.2 * columns, 5), 2.6 * rows), sharey=True) as (
        figure,
        grid,
    ):
        for axes, group in zip(grid.flat, shown, strict=False):
            axes.axhline(100 * (1 - base["accuracy"]), color="0.6", linewidth=0.8)
            _panel(axes, group, [case for case in cases if case["group"] == group.name])
            error_axis(axes)
            axes.set_xlabel(group.title)
        for axes in grid.flat[len(shown) :]:
            axes.set_visible(False)
        for axes in grid[:, 0]:
            axes.set_ylabel("validation error, %")
        figure.suptitle(
            f"{result['network']} on {result['dataset']}, {result['epochs']} epochs of"
            f" {result['images']:,} images"
            + ("; " if columns > 2 else "\n")
            + "line: the recipe as it is"
        )


def _panel(axes: Any, group: Group, cases: Sequence[Mapping[str, Any]]) -> None:
    """Errors of a group, a line per series."""
    values = list(dict.fromkeys(case["value"] for case in cases))
    names = list(dict.fromkeys(case["series"] for case in cases))
    for number, series in enumerate(names):
        members = [case for case in cases if case["series"] == series]
        places = [values.index(case["value"]) for case in members]
        errors = [100 * (1 - case["accuracy"]) for case in members]
        style = layered(number, len(names), len(members))
        axes.plot(places, errors, label=series or group.plain, **style)
        for place, case in zip(places, members, strict=True):
            dots = [100 * (1 - run["accuracy"]) for run in case["runs"]]
            axes.plot([place] * len(dots), dots, ".", color=style["color"], markersize=3)
    labels = [value.removeprefix("off-") for value in values]
    slanted = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(
        range(len(values)), labels, **(slanted if len("".join(labels)) > LABELS else {})
    )
    if any(names):
        axes.legend()
