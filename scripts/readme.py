# SPDX-License-Identifier: Apache-2.0
"""Writes what commands measured into README.md and what tables say into docs/*registers.md.

``python -m scripts.readme``; a test checks that all are fresh.
"""

import json
import re
from pathlib import Path
from typing import Any

from rtl import csr
from rtl.chip import registers
from rtl.chip.config import CHIPS
from rtl.config import DEFAULT
from scripts import bench, simulate
from scripts.results import RESULTS, ROOT

__all__ = ["documents"]

TRAINING = "simulate-mlp-196-50-10"
DEMO = "simulate-mlp-64-50-10"


def _load(name: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return result


def _training() -> str:
    """What the recorded training run in RTL gave."""
    run = _load(TRAINING)
    rows = [
        ("training images, all in RTL (Verilator), `pcm` devices with noise", f"{run['images']:,}"),
        ("**mismatches against the golden model**", f"**{run['mismatches']}**"),
        ("values compared (and all chi words and devices after every batch)",
         f"{run['values_compared']:,}"),
        (f"test accuracy on {run['test_images']:,} images, RTL / golden model",
         f"{100 * run['accuracy_rtl']:.2f} % / {100 * run['accuracy_model']:.2f} %"),
        ("test accuracy of its float twin (plain SGD, same images and rates)",
         f"{100 * run['accuracy_float']:.2f} %"),
        ("cycles per training image", f"{run['cycles_per_image']['total']:,.0f}"),
        ("SET pulses per weight and image",
         f"{run['set_pulses'] / run['weights'] / run['images']:.1e}"),
    ]  # fmt: skip
    lines = [f"**{run['network']} on pooled MNIST**, online (batch 1), both layers on one crossbar"]
    lines += [f"(`{run['command']}`):", "", "| | |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in rows)])


def _bench() -> str:
    run = _load("bench")
    table = bench.table(run)
    return f"**Operations of the {run['preset']} core** (`{run['command']}`):\n\n{table}"


def _area() -> str:
    """The table that the last ``phasecore synth`` made of all presets."""
    text = (RESULTS / "area.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    heading = (
        "**Area** in NAND2 equivalents: generic two-input gates, pre-layout, no cell library"
        " (`phasecore synth`; [assumptions](docs/results/area.md)):"
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


def documents() -> dict[Path, str]:
    """Text of every document made here, by path."""
    readme = ROOT / "README.md"
    results = "\n\n".join([_training(), _bench(), _area()])
    text = _section(readme.read_text(), "results", results)
    printed = simulate.report({**_load(DEMO), "out": f"build/simulate/{DEMO}.json"})
    text = _section(text, "demo", f"```\n{printed}\n```")
    return {
        readme: text,
        ROOT / "docs" / "registers.md": csr.markdown(DEFAULT),
        ROOT / "docs" / "chip_registers.md": registers.markdown(CHIPS["default"]),
    }


if __name__ == "__main__":
    for path, content in documents().items():
        path.write_text(content)
