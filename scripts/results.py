# SPDX-License-Identifier: Apache-2.0
"""Result files: what was measured, by which command, on which commit, with which configuration."""

import json
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rtl.chip.config import CHIPS, ChipConfig
from rtl.config import PRESETS, CoreConfig, file_text, to_object

__all__ = ["RESULTS", "ROOT", "commit", "preset_name", "read", "record", "write"]

ROOT = Path(__file__).resolve().parents[1]
FIGURES = (
    "images", "mismatches", "accuracy_rtl", "accuracy_model", "cycles_per_image",
    "images_per_second",
)  # fmt: skip
"""Keys that every result has, whatever was run."""

RESULTS = ROOT / "docs" / "results"
"""Committed results; a command writes there when told to with ``--out``."""


def commit() -> str:
    """Hash of the checked-out commit, ``-dirty`` after it if a tracked file differs.

    Result files do not count: writing the first of several must not taint the next.
    """
    head = _git("rev-parse", "HEAD")
    if head is None:
        return "unknown"
    changes = _git("status", "--porcelain", "--untracked-files=no", "--", ":!docs/results")
    return f"{head}-dirty" if changes else head


def _git(*arguments: str) -> str | None:
    """Output of a git command in this checkout, or ``None``."""
    try:
        result = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def preset_name(config: CoreConfig | ChipConfig) -> str:
    """Name of the preset (of a core or a chip) that equals ``config``, or ``custom``."""
    presets = [*PRESETS.items(), *CHIPS.items()]
    return next((name for name, preset in presets if preset == config), "custom")


def record(
    *,
    command: str,
    config: CoreConfig | ChipConfig | None = None,
    seed: int | None = None,
    **values: Any,
) -> dict[str, Any]:
    """One result with the keys that all have in common, then the measured ``values``.

    The figures of a training run are null where a command does not measure them.
    """
    return {
        "command": command,
        "commit": commit(),
        "preset": preset_name(config) if config else None,
        "config": asdict(config) if config else None,
        "seed": seed,
        **dict.fromkeys(FIGURES),
        **values,
    }


def write(name: str, result: dict[str, Any], folder: Path | None = None) -> Path:
    """Write ``folder/name.json`` (default ``docs/results``) and return its path."""
    folder = RESULTS if folder is None else folder
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return path


def read(path: Path) -> dict[str, Any]:
    """The result in a file."""
    return to_object(file_text(path, "result"), str(path))
