# SPDX-License-Identifier: Apache-2.0
"""``phasecore energy``: energy per training image, modelled from the counters of a recorded run.

Windows, passes, chi words, pulses, flits and cycles are those that the RTL counted; gates and
memories are those of ``phasecore synth``; what each costs is in ``models/studies/energy.py``.
"""

import argparse
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phasecore.models.studies.energy import (
    CASES,
    CONSTANTS,
    PUBLISHED,
    PUBLISHED_NETWORK,
    Block,
    Constant,
    Range,
    active_share,
    activity,
    core_config,
    digital,
    estimate,
    layers,
)
from phasecore.rtl.spec.chip import CHIPS, ChipConfig
from phasecore.rtl.spec.core import PRESETS, CoreConfig
from phasecore.scripts.commands.synth import TOTAL
from phasecore.scripts.report import results
from phasecore.scripts.report.pictures import picture

__all__ = ["add_parser", "document", "report", "run"]

OPTIONS = ("out", "overwrite")

RUN = results.RESULTS / "mlp-784-250-10-epoch.json"

NOTE = """\
Modelled, not measured: events are counted in the RTL, what each costs is a constant with a source
or an assumption, gates are pre-layout. Not counted: host bridge and gates of routers beyond what a
byte costs there, program memory, clock generation, supplies, the host. The digital
design is an estimate of arithmetic and weight memory alone: activations, control, clocks and
leakage come on top of it. At this size of network nothing here says that the crossbar wins against
it."""

QUOTED = """\
IBM's figures are quoted; the body of the paper could not be read, so what they include is not known
here, and a comparison with them is one of orders of magnitude."""

_DOCUMENT = """\
# Energy per training image

Written by `python -m phasecore.scripts.report.readme` from
[`models/studies/energy.py`](../../models/studies/energy.py) and the recorded result of `{command}`:
{network}, one image at a time, on {cores}.

{note}

{parts}

![Energy per training image by part](energy.png)

## For comparison

{compared}

IBM's figures are those of Nandakumar et al., *Mixed-precision deep learning based on computational
memory*, Front. Neurosci. 14:406, 2020, for the same network and batch 1. The digital design, at
14 nm with the constants below, does the same products and updates; weights are 8 bits forward and
backward, and 16 bits read and written by the update. With zero inputs skipped it does what our
update unit visits: {visited} of the chi words on this data.

## What was counted

Per training image, mean of {images} images, summed over the cores but for `cycles`
(run: `{run}`; areas: `{area}`).

{events}

A window's codes are taken once at most, which bounds the passes of the post-processing. The gates
of a block cost int8_mac / mac_gates each per cycle in which the block works: windows for `adc` and
`driver` (within mvm), passes for `post`, `chi_words_updated` for `update`, busy cycles for the
programmer and the streams, all cycles of a running core for controller, registers and vector
memory. On a chip the network interface works while it sends or receives. In other cycles
flip-flops cost clocked_flip_flop for the share idle_clocked.
Leakage is that of all gates and SRAM bits over the time of an image. A flit
passes two routers at least, the mean of all pairs of nodes, or corner to corner.

## Constants

Low / nominal / high, or one value. Published: printed there; derived: computed from published or
own figures; assumed: ours.

{constants}
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "energy",
        help="model the energy per training image of a recorded run",
        description=(
            "Model the energy per training image from the counters of a run that `phasecore"
            " simulate` recorded, by part, low, nominal and high, beside published figures and an"
            " int8 digital design. --out names the folder of energy.json and energy.png (default:"
            " build/energy)."
        ),
    )
    parser.add_argument(
        "result", nargs="?", type=Path, default=RUN, metavar="RESULT.json",
        help=f"the run (default: docs/results/{RUN.name})",
    )  # fmt: skip
    parser.add_argument(
        "--area", type=Path, metavar="FILE",
        help="result of `phasecore synth` (default: the recorded one with the run's core)",
    )  # fmt: skip
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    path = results.destination(args, args.out or Path("build") / "energy", "energy", ".png")
    source = results.read(args.result)
    done = activity(source)
    core, chip = core_config(source)
    area_file = args.area or _area_of(core, chip)
    area = results.read(area_file)
    network = layers(source)
    parts = estimate(done, core, chip, _blocks(area, area_file))
    total = sum(parts.values(), Range(0, 0, 0))
    share = active_share(done, core, network)
    result = results.record(
        command=args.command,
        config=chip or core,
        network=source["network"],
        profile=source.get("profile"),
        images=source["images"],
        cores=done.cores,
        run={"file": args.result.name, "commit": source.get("commit")},
        area={"file": area_file.name, "commit": area.get("commit")},
        events_per_image={
            "cycles": done.cycles,
            **{name: round(count, 4) for name, count in done.counts.items() if name != "cycles"},
            "core_cycles": round(done.counts["cycles"], 1),
        },
        nanojoules={name: energy.rounded() for name, energy in parts.items()},
        nanojoules_total=total.rounded(),
        published=PUBLISHED if source["network"] == PUBLISHED_NETWORK else {},
        digital={
            "dense": _rounded(digital(network)),
            "zero inputs skipped": _rounded(digital(network, share=share)),
        },
        chi_words_visited=round(share, 4),
    )
    results.write(path, result, args)
    plot(result, path.with_suffix(".png"))
    return {**result, "out": str(path)}


def report(result: dict[str, Any]) -> str:
    total = result["nanojoules_total"]
    lines = [
        f"{result['network']} on {_cores(result)}, {result['images']:,} images counted",
        "",
        _row("nJ per training image", CASES, "share"),
        *(
            _row(name, _numbers(energy), f"{100 * energy['nominal'] / total['nominal']:.1f} %")
            for name, energy in result["nanojoules"].items()
        ),
        _row("all", _numbers(total)),
        "",
        "for comparison",
        *(
            _row(f"int8 digital, {name}", _numbers(_total(energy)))
            for name, energy in result["digital"].items()
        ),
        *(_row(name, ["", f"{energy:,.1f}", ""]) for name, energy in result["published"].items()),
        "",
        NOTE,
        *([QUOTED] if result["published"] else []),
        "",
        f"written  {result['out']}",
    ]
    return "\n".join(line.rstrip() for line in lines)


def document(result: Mapping[str, Any]) -> str:
    """Markdown page of a result and of the constants behind it."""
    total = result["nanojoules_total"]
    parts = [
        (name, *_numbers(energy), f"{100 * energy['nominal'] / total['nominal']:.1f} %")
        for name, energy in result["nanojoules"].items()
    ]
    compared = [
        (f"int8 digital, {name}", *_numbers(_total(energy)), "derived")
        for name, energy in result["digital"].items()
    ]
    compared += [
        (name, "", f"{energy:,.1f}", "", "published")
        for name, energy in result["published"].items()
    ]
    events = [
        (name.replace("_", " "), f"{count:,.1f}")
        for name, count in result["events_per_image"].items()
    ]
    return _DOCUMENT.format(
        command=result["command"],
        network=result["network"],
        cores=_cores(result),
        note=f"{NOTE}\n\n{QUOTED}",
        parts=_table(
            ("nJ per training image", *CASES, "of nominal"),
            [*parts, ("**all**", *_numbers(total), "")],
        ),
        compared=_table(("nJ per training image", *CASES, "class"), compared),
        visited=f"{100 * result['chi_words_visited']:.1f} %",
        images=f"{result['images']:,}",
        run=result["run"]["file"],
        area=result["area"]["file"],
        events=_table(("event", "per image"), events),
        constants="\n\n".join(_explained(*item) for item in CONSTANTS.items()),
    )


def _explained(name: str, constant: Constant) -> str:
    """Entry of the list of constants."""
    value = constant.value
    amounts = [f"{getattr(value, case):.4g}" for case in CASES]
    shown = amounts[0] if len(set(amounts)) == 1 else " / ".join(amounts)
    unit = "" if constant.unit == "1" else f" {constant.unit}"
    text = (
        f"**{name}**, {constant.meaning}: {shown}{unit}"
        f" ({constant.kind}; {constant.node}; supply {constant.voltage}). {constant.reason}"
        f" Source: {constant.source}."
    )
    return textwrap.fill(text, 100, break_on_hyphens=False)


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    align = ("---", *["--:"] * (len(heads) - 1))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, align, *rows))


def _row(name: str, values: Sequence[str], last: str = "") -> str:
    return f"{name:<34}" + "".join(f"{value:>10}" for value in values) + f"{last:>10}"


def _numbers(energy: Mapping[str, float]) -> list[str]:
    return [f"{energy[case]:,.1f}" for case in CASES]


def _total(parts: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {case: sum(part[case] for part in parts.values()) for case in CASES}


def _rounded(parts: Mapping[str, Range]) -> dict[str, dict[str, float]]:
    return {name: energy.rounded() for name, energy in parts.items()}


def _cores(result: Mapping[str, Any]) -> str:
    core = result["config"].get("core", result["config"])
    count = "a core" if result["cores"] == 1 else f"{result['cores']} cores"
    return f"{count} of {core['rows']} x {core['cols']}"


def _area_of(core: CoreConfig, chip: ChipConfig | None) -> Path:
    """Recorded area of a preset's core, or of one of a chip."""
    kind = "synth-chip" if chip else "synth"
    presets = {name: of.core for name, of in CHIPS.items()} if chip else PRESETS
    for name, preset in presets.items():
        path = results.RESULTS / f"{kind}-{name}.json"
        if preset == core and path.exists():
            return path
    raise ValueError(
        "no area is recorded for the run's core: make one with `phasecore synth --config FILE` and"
        " name it with --area"
    )


def _blocks(area: Mapping[str, Any], path: Path) -> dict[str, Block]:
    """Blocks of a result of ``phasecore synth``, without their sum."""
    if "blocks" not in area:
        raise ValueError(f"{path} has no field 'blocks': it is not a result of `phasecore synth`")
    return {
        name: Block(values["nand2"], values["flip_flops"], values["sram_bits"])
        for name, values in area["blocks"].items()
        if name != TOTAL
    }


def plot(result: Mapping[str, Any], path: Path) -> None:
    """Stacked bars: this design in three cases, the digital design, the published figure."""
    with picture(path, size=(8, 4.2)) as (_, ((axes,),)):
        bottoms = [0.0] * len(CASES)
        for name, energy in result["nanojoules"].items():
            heights = [energy[case] for case in CASES]
            axes.bar(range(len(CASES)), heights, bottom=bottoms, label=name, width=0.7)
            bottoms = [bottom + height for bottom, height in zip(bottoms, heights, strict=True)]
        labels, tops = [f"modelled,\n{case}" for case in CASES], bottoms
        texts = [f"{top:,.0f}" for top in tops]
        for name, parts in result["digital"].items():
            energy = _total(parts)
            errors = [[energy["nominal"] - energy["low"]], [energy["high"] - energy["nominal"]]]
            axes.bar(len(labels), energy["nominal"], yerr=errors, width=0.7, color="0.6", capsize=4)
            labels.append("\n".join(["int8 digital,", *textwrap.wrap(name, 12)]))
            tops.append(energy["high"])
            spread = f"({energy['low']:,.0f} to {energy['high']:,.0f})"
            texts.append(f"{energy['nominal']:,.0f}\n{spread}")
        if result["published"]:
            published = next(iter(result["published"].values()))
            axes.bar(
                len(labels), published, width=0.7, color="white", edgecolor="black", hatch="//"
            )
            labels.append("IBM, mixed\nprecision,\npublished")
            tops.append(published)
            texts.append(f"{published:,.0f}")
        for place, (top, text) in enumerate(zip(tops, texts, strict=True)):
            axes.text(place, top, text, ha="center", va="bottom")
        axes.set_xticks(range(len(labels)), labels)
        axes.set(
            ylabel="nJ per training image",
            title=f"{result['network']}: modelled from counted events, not measured",
        )
        axes.margins(y=0.08)
        axes.grid(visible=False, axis="x")
        axes.legend()
