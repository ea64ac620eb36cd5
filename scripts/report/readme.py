# SPDX-License-Identifier: Apache-2.0
"""Writes what commands measured into README.md and docs/results, tables of registers
and instructions into docs/reference, and tables of ports into docs/contract.

``python -m phasecore.scripts.report.readme``; a test checks that all are fresh.
"""

import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from phasecore import files
from phasecore.models.golden.arithmetic import ARITHMETIC
from phasecore.models.golden.device import DeviceProfile
from phasecore.rtl.spec.chip import CHIPS, ChipConfig
from phasecore.rtl.spec.core import DEFAULT, CoreConfig
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.parameters import Parameters
from phasecore.rtl.spec.registers import chip as registers
from phasecore.rtl.spec.registers import core as csr
from phasecore.scripts.commands import bench_aihwkit, bench_core, energy, networks, simulate
from phasecore.scripts.report.ports import with_ports
from phasecore.scripts.report.reference import instructions
from phasecore.scripts.report.results import RESULTS, ROOT, read

__all__ = ["documents"]

CONTRACT, REFERENCE = ROOT / "docs" / "contract", ROOT / "docs" / "reference"

EPOCH, TRAINING = "mlp-784-250-10-epoch", "simulate-mlp-196-50-10"
DEMO = "simulate-mlp-64-50-10"
INFERENCE = (
    "mnist-conv-rtl", "lenet-5-rtl", "lenet-5-packed-rtl", "resnet-block-rtl",
    "resnet-block-prism-rtl",
)  # fmt: skip
SEEDS, REPLAY = "mnist-accuracy-seeds", "replay-mlp-784-250-10"
ABLATIONS = {
    "base=recipe": "the recipe, 2 devices per polarity",
    "chi=off-x1": "without chi (the best of seven thresholds)",
    "error-format=fixed-9": "errors of a fixed scale, shift 9 (the best of five: 95.5 %)",
    "rounding=nearest-4": "chi of 4 counts per pulse (float reference), rounded to nearest",
    "rounding=stochastic-4": "... rounded by chance",
    "converter-bits=5": "5-bit converters",
    "devices=1": "1 device per polarity",
    "devices=8": "8 devices per polarity",
    "stuck=1%": "1 % of the devices stuck",
    "dead-lines=cols-3%": "3 % of the columns dead",
    "retention=1y": "a year after training (drift of `pcm_drift`)",
    "retention=compensated-1y": "... with drift compensation",
    "retention=projected-1y": "... with projected devices (assumed figures)",
}
"""Cases of the ablation that the README shows."""


def _load(name: str) -> dict[str, Any]:
    return read(RESULTS / f"{name}.json")


LENET = "lenet-5-accuracy"
SPEED, AIHWKIT = "speed-mlp-784-250-10", "speed-aihwkit-mlp-784-250-10"
CONVOLUTIONS, RESUMED = "lenet-5-training-rtl", "lenet-5-training-rtl-resumed"

DRAWN = (
    SEEDS, REPLAY, EPOCH, TRAINING, DEMO, "ablation", LENET, SPEED, AIHWKIT,
)  # fmt: skip
"""Results whose bits come from the arithmetic."""

EARLIER = (
    "† Recorded before version 2 of the arithmetic, which changed the read noise and the widths of"
    " the\nconverters ([CHANGELOG]({})): the same command gives other bits now."
)


def _mark(name: str) -> str:
    """A dagger if a result's bits are those of another arithmetic than the tree's."""
    return " †" if name in DRAWN and _load(name).get("arithmetic") != ARITHMETIC else ""


def _summary() -> str:
    """The table of the front page: at most eight rows, each with what it was read from."""
    seeds, epoch, lenet = _load(SEEDS), _load(EPOCH), _load(LENET)
    speed, aihwkit = _load(SPEED), _load(AIHWKIT)
    convolutions, area = _load(CONVOLUTIONS), _load("synth-default")["blocks"]
    joules = _load("energy")["nanojoules_total"]
    operations = {row["name"]: row["value"] for row in _load("bench")["rows"]}
    networks = {row["name"]: row for row in _load("networks")["rows"]}
    whole = [networks["resnet8-cifar10"], networks["dscnn-kws"]]
    rows = {
        f"MNIST, 784-250-10, online, `{seeds['profile']}` devices, {len(seeds['seeds'])} seeds": (
            f"**{100 * seeds['mean_accuracy']:.2f} %**, {100 * seeds['gap_to_float']:.2f} points"
            " below floating point; IBM with PCM hardware in the loop 97.73 %, 0.57"
        ),
        "an epoch of it in RTL against the golden model": (
            f"**{epoch['mismatches']} mismatches** in {epoch['values_compared'] / 1e6:,.0f} million"
            f" values of {epoch['images']:,} images on {epoch['cores']} cores"
        ),
        "cycles of a training image, of a product": (
            f"{epoch['cycles_per_image']['total']:,.0f} on {epoch['cores']} cores,"
            f" {operations['MVM, first window cycle to codes']:.0f} of 256 x 256 at 8 bit"
            " (HERMES core: 130)"
        ),
        f"LeNet-5 on MNIST, {len(lenet['seeds'])} seeds; images of it that learn in RTL": (
            f"**{100 * lenet['mean_accuracy']:.2f} %**, float twin"
            f" {100 * lenet['mean_accuracy_float']:.2f} %; {convolutions['images']:,} with"
            f" {convolutions['mismatches']} mismatches,"
            f" {convolutions['cycles_per_image']['total']:,.0f} cycles each"
        ),
        "MLPerf Tiny's ResNet-8 and DS-CNN, trained weights, whole in RTL": (
            f"**{sum(row['mismatches'] for row in whole)} mismatches** in"
            f" {sum(row['values_compared'] for row in whole) / 1e6:.1f} million values on"
            f" {' and '.join(str(row['crossbars']) for row in whole)} cores; accuracies"
            f" {' and '.join(_beside(row) for row in whole)}, on PCM devices after 25 s"
            f" {' and '.join(_on_devices(row['name']) for row in whole)}"
        ),
        "speed of the golden model, one CPU core": (
            f"{speed['images_per_second']:,.0f} training images per second,"
            f" {aihwkit['ratios'][aihwkit['fastest']]['median']:.1f} times aihwkit's fastest"
            " setting in the same run"
        ),
        "area of a core, pre-layout": (
            f"{area['core']['nand2'] / 1e6:.2f} million NAND2 in generic gates, besides SRAM"
            " and crossbar"
        ),
        "energy of a training image, modelled": (
            f"{joules['nominal']:.0f} nJ ({joules['low']:.0f} to {joules['high']:.0f}; IBM's model:"
            " 83 nJ)"
        ),
    }
    sources = (
        SEEDS, EPOCH, EPOCH, LENET, "networks", AIHWKIT, "synth-default", "energy",
    )  # fmt: skip
    lines = ["| what | measured | |", "|---|---|---|"]
    lines += [
        f"| {what}{_mark(source)} | {found} | [from](docs/results/{source}.json) |"
        for (what, found), source in zip(rows.items(), sources, strict=True)
    ]
    return "\n".join([*lines, "", EARLIER.format("CHANGELOG.md")])


def _on_devices(network: str) -> str:
    """Accuracy of a network 25 s after its devices were programmed."""
    one = next(
        one for one in _load("networks")["accuracies"]
        if (one["name"], one["profile"]) == (network, "pcm_inference")
        and (one["time_s"], one["compensated"]) == (25, "tables")
    )  # fmt: skip
    return f"{100 * one['accuracy']:.2f} % (float {100 * one['accuracy_float']:.2f} %)"


def _beside(row: dict[str, Any]) -> str:
    """Accuracy of a network's integers, and in floating point."""
    return f"{100 * row['accuracy_chip']:.2f} % (float {100 * row['accuracy_float']:.2f} %)"


def _training() -> str:
    """What the recorded training runs in RTL gave, on a chip and on one core."""
    runs = [_load(EPOCH), _load(TRAINING)]
    rows: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("cores of 256 x 256", lambda run: f"{run['cores']}"),
        ("training images, one epoch, all in RTL", lambda run: f"{run['images']:,}"),
        ("**mismatches against the golden model**", lambda run: f"**{run['mismatches']}**"),
        ("values compared (and all chi words and devices after every batch)",
         lambda run: f"{run['values_compared']:,}"),
        ("test accuracy on 10,000 images, RTL / golden model",
         lambda run: f"{100 * run['accuracy_rtl']:.2f} % / {100 * run['accuracy_model']:.2f} %"),
        ("test accuracy of its float twin (plain SGD, same images and rates)",
         lambda run: f"{100 * run['accuracy_float']:.2f} %"),
        ("cycles per training image", lambda run: f"{run['cycles_per_image']['total']:,.0f}"),
        ("SET pulses per weight and image",
         lambda run: f"{run['set_pulses'] / run['weights'] / run['images']:.1e}"),
        ("simulation speed, training images per CPU second",
         lambda run: f"{run['images_per_second']:.0f}"),
    ]  # fmt: skip
    names = " | ".join(f"{run['network']} on {run['dataset']}" for run in runs)
    commands = " and\n".join(f"`{run['command']}`" for run in runs)
    lines = [
        "**Training on MNIST in RTL**, online (batch 1), `pcm` devices with noise, in Verilator:",
        f"{commands}", "", f"| | {names} |", "|---|--:|--:|",
    ]  # fmt: skip
    lines += [f"| {name} | {' | '.join(map(value, runs))} |" for name, value in rows]
    return "\n".join(lines)


def _accuracy() -> str:
    """The recorded training of several seeds, and its stretch in RTL."""
    run, replay = _load(SEEDS), _load(REPLAY)
    worn = run["endurance_by_seed"]
    most = {name: max(one[name] for one in worn) for name in worn[0]}
    pulses = max(run["pulses_per_weight_per_image_by_seed"])
    each = ", ".join(f"{100 * accuracy:.2f}" for accuracy in run["accuracies"])
    rows = [
        ("phasecore, golden model (the bits of the RTL)", f"**{100 * run['mean_accuracy']:.2f} %**",
         f"**{100 * run['gap_to_float']:.2f}**"),
        ("its float twin: plain SGD, same images and rates",
         f"{100 * run['mean_accuracy_float']:.2f} %", ""),
        ("IBM, PCM hardware in the loop (Nandakumar et al., 2020)", "97.73 %", "0.57"),
    ]  # fmt: skip
    lines = [
        (
            f"**{run['network']} on MNIST**, `{run['profile']}` devices,"
            f" {run['config']['devices_per_polarity']} per polarity, batch 1,"
            f" {run['epochs']} epochs of {run['images'] // run['epochs']:,} images,"
            f" every product and update\nin the hardware's integers; mean of"
            f" {len(run['seeds'])} seeds ({each} %):\n"
            f"`{run['command']}`"
        ),
        "",
        "| | test accuracy | points below float |",
        "|---|--:|--:|",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        (
            f"{pulses:.1e} SET pulses per weight and image at most; a device sees"
            f" {most['pulses_mean']:.1f} pulses and {most['resets_mean']:.2f} RESETs in the whole"
            f" run on average over all devices of the arrays, {most['pulses_max']} and"
            f" {most['resets_max']} at most.\n"
            "IBM's figures: found in the abstract, and in summaries of the paper (gap). Rates were"
            " chosen on 10,000 validation images with one seed.\n"
            f"**In RTL:** the run of seed {replay['seed']}, killed after"
            f" {replay['resumed_after']:,} images, goes on for {replay['images']} images on"
            f" {replay['cores']} cores with its devices, chi\nand selection counters:"
            f" {replay['counters']['set_pulses']} SET and {replay['counters']['reset_pulses']}"
            f" RESET pulses, {replay['mismatches']} mismatches in {replay['values_compared']:,}"
            " values and all chi words and devices,\ntest accuracy RTL ="
            f" model = {100 * replay['accuracy_rtl']:.2f} % of {replay['test_images']:,} images\n"
            f"(`{replay['command']}`)."
        ),
    ]
    return "\n".join(lines)


def _ablation() -> str:
    """Some cases of the recorded ablations."""
    run = _load("ablation")
    found = {case["name"]: case for case in run["cases"]}
    rows = [
        f"| {text} | {100 * found[name]['accuracy']:.1f} % |" for name, text in ABLATIONS.items()
    ]
    heading = (
        f"**Ablations** after {run['epochs']} epochs of {run['images']:,} images, on validation"
        " images, mostly one seed\n([all cases](ablation.md), `phasecore ablate`):"
    )
    return "\n".join([heading, "", "| | accuracy |", "|---|--:|", *rows])


def _cycles() -> str:
    """Where the cycles of an image go on the chip."""
    run = _load(EPOCH)
    rows = [
        f"| {name.replace('_', ' ')} | {cycles:.1f} | {run['bounds'].get(name, '')} |"
        for name, cycles in run["cycles_per_image"].items()
        if name != "total"
    ]
    heading = (
        f"**Cycles per training image on the {run['cores']}-core chip**, each in the first phase of"
        " this list that\nany core is in; bound: the least cycles that the phase's work takes at"
        " full rate\n(what an earlier phase hides is counted there):"
    )
    total = f"| **all** | **{run['cycles_per_image']['total']:.1f}** | |"
    return "\n".join([heading, "", "| phase | cycles | bound |", "|---|--:|--:|", *rows, total])


def _speed() -> str:
    """Golden model."""
    run = _load(SPEED)
    return (
        f"**Golden model** of {run['network']} on its chip: {run['images_per_second']:,.0f}"
        f" training images per second of one CPU core\nas machine code (`{run['command']}`)."
        f" {_conv_speed()}"
    )


def _conv_speed() -> str:
    """Golden model of LeNet-5 beside others, on a busy machine."""
    run = _load("speed-lenet-5")
    others = {
        **run["images_per_second_beside"],
        f"commit {run['before']['commit'][:7]}": run["before"]["rate"],
    }
    beside = ", ".join(f"{name} {rate:,.0f}" for name, rate in others.items())
    return (
        f"Of {run['network']}, on a busy machine:\n{run['images_per_second']:,.0f} per second;"
        f" beside it {beside}\n([result](speed-lenet-5.json))."
    )


def _convolution() -> str:
    """The recorded training of LeNet-5."""
    run = _load(LENET)
    each = ", ".join(f"{100 * accuracy:.2f}" for accuracy in run["accuracies"])
    pulses = ", ".join(f"{max(of):.1e}" for of in zip(*run["pulses_by_layer_by_seed"], strict=True))
    text = (
        f"**LeNet-5 on MNIST** ({run['weights']:,} weights on five cores of 256 x 256,"
        f" {run['config']['devices_per_polarity']} `{run['profile']}` devices per"
        f" polarity, batch 1,\n{run['epochs']} epochs of {run['images'] // run['epochs']:,} images,"
        f" {len(run['seeds'])} seeds; `{run['command']}`):\ngolden model, test accuracy"
        f" **{100 * run['mean_accuracy']:.2f} %** ({each}), its float twin"
        f" {100 * run['mean_accuracy_float']:.2f} %, the same images and rates; SET pulses per"
        f" weight\nand image by layer, the most of the seeds, {pulses}."
        f" [Curve]({LENET}.png). Whole images learn\nin RTL, every"
        " instruction, accumulator, chi word, pulse and device beside the model"
        " ([how](../contract/convolution.md)):"
    )
    head = "| training images | mismatches | cycles per image | windows | post-processing"
    found = [text, "", f"{head} | update | other |", "|---|--:|--:|--:|--:|--:|--:|"]
    for name, what in ((CONVOLUTIONS, "from new devices"), (RESUMED, "of a trained network")):
        rtl = _load(name)
        phases = dict(rtl["cycles_per_image"])
        total = phases.pop("total")
        named = [phases.pop(key) for key in ("window", "post_processing", "update")]
        cells = [f"{count:,.0f}" for count in (total, *named, sum(phases.values()))]
        found.append(
            f"| [{rtl['images']} {what}]({name}.json) | {rtl['mismatches']} of"
            f" {rtl['values_compared']:,} | {' | '.join(cells)} |"
        )
    first, *others = _load("bench-chip")["rows"]
    speeds = [
        f"{row['cycles_per_cpu_second']:,} of {row['network']}, {row['of_the_first']:.2f} times as"
        " many" for row in others
    ]  # fmt: skip
    found += ["", (
        "Cycles that Verilator simulates in a CPU second, in one run on a busy machine:"
        f" {first['cycles_per_cpu_second']:,} of {first['network']}, {', '.join(speeds)}, as few"
        "\ncores work at a time ([`phasecore bench chip`](bench-chip.json))."
    )]  # fmt: skip
    return "\n".join(found)


def _inference() -> str:
    """Trained networks that inferred in RTL, a line for every run."""
    rows = []
    for name in INFERENCE:
        result = _load(name)
        packed = ", packed" if result["packed"] else ""
        for run in result["runs"]:
            accuracy = ""
            if "accuracy_rtl" in run:
                accuracy = f"{100 * run['accuracy_rtl']:.1f} / {100 * run['accuracy_float']:.1f} %"
            rows.append(
                f"| [{result['network']}]({name}.json), {result['layers']} layers,"
                f" {result['topology']}{packed} | {run['profile']}, {run['order']} |"
                f" {run['images']} | {run['mismatches']} of {run['values_compared']:,} |"
                f" {run['cycles_per_image']:,.0f} | {100 * run['busy']:.1f} % | {accuracy} |"
                f" {run['signal_to_noise_db']:.1f} |"
            )
    return (
        "**Trained networks infer in RTL**, bit for bit as in the golden model"
        " ([how](../chip/inference.md)); busy is the part of the\ncycles in which the first core"
        " integrates windows, accuracy that of the RTL and of floating point on the same images,\n"
        "dB the outputs' signal to noise against floating point:\n\n"
        "| network | run | images | mismatches | cycles per image | busy | accuracy | dB |\n"
        "|---|---|--:|--:|--:|--:|--:|--:|\n" + "\n".join(rows)
    )


def _pipelines() -> str:
    """Random pipelines in RTL."""
    run = _load("random-pipelines")
    watched = sum(kind["windows_watched"] for kind in run["kinds"])
    return (
        f"**{run['runs']:,} random pipelines** of a small chip in RTL"
        f" ([result](random-pipelines.json)): shapes, strides, paddings, tiles,\ncursors,"
        f" multicast, joins and stalls are drawn. {run['mismatches']} mismatches in"
        f" {run['values_compared']:,} values; {watched:,} windows were watched, and no byte of them"
        " was\nread before or after its time."
    )


def _aihwkit() -> str:
    """Golden model beside aihwkit."""
    run = _load(AIHWKIT)
    return (
        f"**Beside aihwkit {run['versions']['aihwkit']}** (its MixedPrecisionPCMPreset, batch 1,"
        f" one thread), {run['network']} on\nthe same {run['images']:,} images in turns"
        f" (`{run['command']}`):\n\n{bench_aihwkit.table(run)}\n\n"
        "Equal: network, images, mixed precision with blind pulses on PCM devices. Not equal:"
        " phasecore gives the bits of its RTL;\naihwkit has its own device fit, rounds at its"
        " converters and computes the rest in 32-bit floating point\n([all"
        f" differences]({AIHWKIT}.json))."
    )


def _bench() -> str:
    run = _load("bench")
    table = bench_core.table(run)
    return f"**Operations of the {run['preset']} core** (`{run['command']}`):\n\n{table}"


def _area() -> str:
    """The table that the last ``phasecore synth`` made of all presets."""
    text = (RESULTS / "area.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    heading = (
        "**Area** in NAND2 equivalents: generic two-input gates, pre-layout, no cell library"
        " (`phasecore synth`; [assumptions](area.md)):"
    )
    return "\n".join([heading, "", *rows])


def _section(text: str, name: str, content: str) -> str:
    pattern = rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end of {name} -->)"
    replaced, count = re.subn(
        pattern, lambda match: f"{match[1]}\n{content}\n\n{match[2]}", text, flags=re.DOTALL
    )
    if count != 1:
        raise ValueError(f"README.md has {count} sections {name!r}")
    return replaced


PARAMETERS: dict[str, type[Parameters]] = {
    "core": CoreConfig, "noc": NocConfig, "chip": ChipConfig, "device": DeviceProfile,
}  # fmt: skip
"""Kinds of parameters by the name of their schema."""


def _parameters() -> str:
    """Page of all parameters."""
    tables = [
        f"## {kind.TITLE.capitalize()}\n\n{inspect.getdoc(kind)}\n\n"
        f"[Schema]({name}.schema.json)\n\n{kind.markdown()}\n"
        for name, kind in PARAMETERS.items()
    ]
    head = (
        "# Parameters\n\nFields of JSON files, and of the classes of these names in Python. Fields"
        " that a file does\nnot name keep their defaults; names that are not in the tables are"
        " refused.\n"
    )
    return "\n".join([head, *tables])


def _networks() -> str:
    """Trained networks: places and cycles, accuracy with devices, and in RTL."""
    text = (
        "By `phasecore map` and `phasecore run`; cycles are those of the model without data, images"
        " following one\nanother. Layers as nodes: on a prism of so many cores a column every way"
        " is one link; bytes of an image\non the busiest link there, and on other networks."
        " Floating point sees the same files; devices are programmed\niteratively. Drift is"
        " compensated for by tables for what the devices have become, by gains, or not"
        "\n([how](../chip/inference.md#whole-data-sets))."
    )
    return "\n".join([
        "## Trained networks", "", text, "", *networks.table(_load("networks")), "",
        "[Recorded](networks.json) with all commands; [accuracy over time](networks.png).",
    ])  # fmt: skip


def documents() -> dict[Path, str]:
    """Text of every document made here, by path."""
    readme = ROOT / "README.md"
    sections: dict[Callable[[], str], tuple[str, ...]] = {
        _accuracy: (SEEDS, REPLAY), _training: (EPOCH, TRAINING), _cycles: (EPOCH,),
        _ablation: ("ablation",), _convolution: (LENET,), _inference: INFERENCE,
        _networks: (), _pipelines: (), _speed: (SPEED,), _aihwkit: (AIHWKIT,), _bench: (),
        _area: (),
    }  # fmt: skip
    results = "\n\n".join(
        f"{max(map(_mark, names), default='')} {section()}".strip()
        for section, names in sections.items()
    )
    text = _section(readme.read_text(encoding="utf-8"), "results", _summary())
    printed = simulate.report({**_load(DEMO), "out": f"build/simulate/{DEMO}.json"})
    text = _section(text, "demo", f"```\n{printed}\n```")
    return {
        readme: text,
        RESULTS / "README.md": (
            "# Recorded results\n\nWritten by `python -m phasecore.scripts.report.readme` from the"
            " files beside it,"
            " each of which names its command\nand commit; `phasecore record` says what has"
            " changed since and makes them again. A table of\nmany rows of numbers is an object"
            f" `columns` with a list per column.\n\n{results}\n\n"
            f"{EARLIER.format('../../CHANGELOG.md')}\n"
        ),
        RESULTS / "energy.md": energy.document(_load("energy")),
        REFERENCE / "instructions.md": instructions(),
        REFERENCE / "registers.md": csr.markdown(DEFAULT),
        REFERENCE / "chip_registers.md": registers.markdown(CHIPS["default"]),
        REFERENCE / "parameters.md": _parameters(),
        **{
            REFERENCE / f"{name}.schema.json": f"{json.dumps(kind.schema(), indent=2)}\n"
            for name, kind in PARAMETERS.items()
        },
        **{
            path: with_ports(path.read_text(encoding="utf-8"))
            for path in sorted(CONTRACT.glob("*.md"))
        },
    }


if __name__ == "__main__":
    for path, content in documents().items():
        files.write(path, content)
